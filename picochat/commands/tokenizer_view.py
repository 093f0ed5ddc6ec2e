"""Tokens and vocabularies as coloured text and tables for the terminal."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from picochat.tokenizer.special import NUM_SPECIAL
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.tokenizer.visible import visible
from picochat.tokenizer.vocabulary import NUM_BYTES

SAMPLE_TEXT = """\
The old lighthouse keeper climbed the stairs every evening, and every evening there were more of them.
"It's the sea," he told the gulls; "she's adding steps." They didn't believe him, but they didn't laugh.

A baker fills 12 trays with 24 rolls each and sells 199 of them. How many are left? 12*24 = 288, 288-199 = 89.

def mean(values):
    return sum(values) / len(values)  # fails on []
"""

_COLOURS = ("on blue", "on dark_green", "on dark_magenta", "on dark_goldenrod", "on dark_cyan")
_NUM_ROWS = 12


def coloured_tokens(tokenizer: Tokenizer, ids: Sequence[int]) -> Text:
    """Each token on a background of its own, its id behind it; a line of text stays a line."""
    text = Text()
    for i, id in enumerate(ids):
        token = tokenizer.token_bytes(id)
        text.append(visible(token), style=f"white {_COLOURS[i % len(_COLOURS)]}")
        text.append(str(id), style="dim")
        text.append("\n" if token.endswith(b"\n") else " ")
    return text


def summary(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """One line: tokens, bytes, bytes per token."""
    num_bytes = sum(tokenizer.num_bytes[id] for id in ids)
    ratio = f", {num_bytes / len(ids):.2f} bytes per token" if ids else ""
    return f"{len(ids):,} tokens, {num_bytes:,} bytes{ratio}"


def tokenizer_tables(tokenizer: Tokenizer, name: str, text: str) -> list[Table]:
    """Facts, merges, longest tokens, and the compression of `text` (called `name`)."""
    return [
        _facts(tokenizer),
        _merges(tokenizer),
        _longest(tokenizer),
        _compression(tokenizer, name, text),
    ]


def _facts(tokenizer: Tokenizer) -> Table:
    table = Table(title="vocabulary", title_justify="left", show_header=False)
    first_special = tokenizer.vocab_size - NUM_SPECIAL
    first_unused = NUM_BYTES + len(tokenizer.merges)
    table.add_row("size", f"{tokenizer.vocab_size:,}")
    table.add_row("bytes", f"{NUM_BYTES} (ids 0 to {NUM_BYTES - 1})")
    table.add_row("merges", f"{len(tokenizer.merges):,} (ids from {NUM_BYTES})")
    if unused := first_special - first_unused:
        table.add_row("unused", f"{unused:,} (ids {first_unused} to {first_special - 1})")
    table.add_row("specials", f"{NUM_SPECIAL} (ids {first_special} to {tokenizer.vocab_size - 1})")
    table.add_row("fingerprint", tokenizer.fingerprint[:16])
    return table


def _merges(tokenizer: Tokenizer) -> Table:
    table = Table("id", "left", "right", "token", title="first and last merges", title_justify="left")
    rows = list(enumerate(tokenizer.merges, NUM_BYTES))
    if len(rows) > _NUM_ROWS:
        rows = rows[: _NUM_ROWS // 2] + rows[-_NUM_ROWS // 2 :]
    for id, (left, right) in rows:
        tokens = (Text(visible(tokenizer.token_bytes(part))) for part in (left, right, id))
        table.add_row(str(id), *tokens)
    return table


def _longest(tokenizer: Tokenizer) -> Table:
    table = Table("id", "bytes", "token", title="longest tokens", title_justify="left")
    order = sorted(
        range(NUM_BYTES, NUM_BYTES + len(tokenizer.merges)), key=lambda id: -tokenizer.num_bytes[id]
    )
    for id in order[:_NUM_ROWS]:
        table.add_row(str(id), str(tokenizer.num_bytes[id]), Text(visible(tokenizer.token_bytes(id))))
    return table


def _compression(tokenizer: Tokenizer, name: str, text: str) -> Table:
    table = Table("as", "tokens", "bytes per token", title=f"compression of {name}", title_justify="left")
    num_bytes = len(text.encode(errors="replace"))
    num_tokens = len(tokenizer.encode(text))
    table.add_row("raw bytes", f"{num_bytes:,}", "1.00")
    table.add_row("this vocabulary", f"{num_tokens:,}", f"{num_bytes / max(num_tokens, 1):.2f}")
    return table
