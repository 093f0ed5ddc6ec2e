"""Tokens with what is to be seen of them, as marks for `answers.tokens_html`."""

from collections.abc import Iterable, Sequence

from picochat.plots import style
from picochat.plots.answers import Mark, ratio_color
from picochat.tokenizer.tokenizer import Tokenizer

LEARNED = style.PALETTE[0]
LOSS, KL, ENTROPY = style.PALETTE[5], style.PALETTE[3], style.PALETTE[2]
MOST_LOSS = 4.0
"""Nats at which the colour of a loss is as strong as can be: a probability of 2 %."""
MOST_KL = 0.5
MOST_ENTROPY = 2.0
LEAST_LIMIT, MOST_LIMIT = 1.02, 2.0
"""Between these is the ratio whose colour is as strong as can be."""


def token_text(tokenizer: Tokenizer, id: int) -> str:
    """Return the text of one token; bytes that are only a part of a character as `\\xf0`."""
    return tokenizer.token_bytes(id).decode(errors="backslashreplace")


def conversation_marks(
    tokenizer: Tokenizer,
    ids: Sequence[int],
    learned: Sequence[bool],
    losses: Sequence[float] | None = None,
) -> list[Mark]:
    """Return the tokens of a conversation, coloured where they are learned: all alike, or by their loss.

    losses: -log p of each token in nats, given the tokens before it.
    """
    marks = []
    for i, (id, is_learned) in enumerate(zip(ids, learned, strict=True)):
        hint = f"token {id}, {'learned' if is_learned else 'only read'}"
        color, strength = (LEARNED, 1.0) if is_learned else (None, 1.0)
        if is_learned and losses is not None:
            hint += f", loss {losses[i]:.2f}"
            color, strength = LOSS, min(losses[i] / MOST_LOSS, 1.0)
        marks.append(_mark(tokenizer, id, color=color, strength=strength, is_pale=not is_learned, hint=hint))
    return marks


def plain_marks(tokenizer: Tokenizer, ids: Sequence[int], forced: Sequence[bool]) -> list[Mark]:
    """Return the tokens of an answer without colours; `forced` ones were put there by the engine."""
    return [
        _mark(tokenizer, id, is_forced=is_forced, hint=_origin(id, is_forced))
        for id, is_forced in zip(ids, forced, strict=True)
    ]


def ratio_limit(ratios: Iterable[float | None]) -> float:
    """Return the ratio whose colour should be the strongest: the farthest from 1 of all, within bounds."""
    sizes = (max(ratio, 1 / ratio) for ratio in ratios if ratio is not None)
    return min(max(LEAST_LIMIT, max(sizes, default=1.0)), MOST_LIMIT)


def ratio_marks(
    tokenizer: Tokenizer, ids: Sequence[int], ratios: Sequence[float | None], *, limit: float
) -> list[Mark]:
    """Return the tokens of an answer, blue where they have become likelier, vermilion where less likely.

    ratios: probability now over that when it was drawn; None of a token that the model did not choose.
    limit: see `ratio_color`.
    """
    marks = []
    for id, ratio in zip(ids, ratios, strict=True):
        hint = _origin(id, ratio is None)
        color, strength = (None, 1.0) if ratio is None else ratio_color(ratio, limit)
        if ratio is not None:
            hint += f", {ratio:.3f} times as likely as when it was drawn"
        marks.append(_mark(tokenizer, id, color=color, strength=strength, is_forced=ratio is None, hint=hint))
    return marks


def kl_marks(tokenizer: Tokenizer, ids: Sequence[int], kl: Sequence[float | None]) -> list[Mark]:
    """Return the tokens of an answer, coloured by their part in the divergence from the reference model."""
    return _amounts(tokenizer, ids, kl, name="divergence", color=KL, most=MOST_KL)


def entropy_marks(tokenizer: Tokenizer, ids: Sequence[int], entropy: Sequence[float | None]) -> list[Mark]:
    """Return the tokens of an answer, coloured by how open the choice was."""
    return _amounts(tokenizer, ids, entropy, name="entropy", color=ENTROPY, most=MOST_ENTROPY)


def _amounts(
    tokenizer: Tokenizer,
    ids: Sequence[int],
    amounts: Sequence[float | None],
    *,
    name: str,
    color: str,
    most: float,
) -> list[Mark]:
    """Return tokens the more strongly coloured the more they have of something, in nats."""
    marks = []
    for id, amount in zip(ids, amounts, strict=True):
        hint = _origin(id, amount is None)
        if amount is not None:
            hint += f", {name} {amount:.3f}"
        strength = min((amount or 0.0) / most, 1.0)
        used = None if amount is None else color
        marks.append(_mark(tokenizer, id, color=used, strength=strength, is_forced=amount is None, hint=hint))
    return marks


def _origin(id: int, is_forced: bool) -> str:
    return f"token {id}, {'put there by the engine' if is_forced else 'chosen by the model'}"


def _mark(
    tokenizer: Tokenizer,
    id: int,
    *,
    hint: str,
    color: str | None = None,
    strength: float = 1.0,
    is_forced: bool = False,
    is_pale: bool = False,
) -> Mark:
    return Mark(
        text=token_text(tokenizer, id),
        color=color,
        strength=strength,
        is_special=tokenizer.is_special(id),
        is_forced=is_forced,
        is_pale=is_pale,
        hint=hint,
    )
