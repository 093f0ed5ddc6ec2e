"""Tokens of conversations and of answers with what is to be seen of them, for `tokens.token_html`."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from picochat.plots.tokens import Piece, pieces_of
from picochat.tokenizer.tokenizer import Tokenizer

LEARNED = 0
"""The palette's colour of learned tokens."""
MOST_LOSS = 4.0
"""Nats at which the colour of a loss is as strong as can be: a probability of 2 %."""
LEAST_CHANGE, MOST_CHANGE = 0.01, 1.0
"""Between these is the change of a log-probability whose colour is as strong as can be."""


def surprise_pieces(tokens: Sequence[str], losses: Sequence[float]) -> list[Piece]:
    """Return tokens with their loss in nats; the first was given, so it has none."""
    return [
        Piece(
            text=token,
            value=float(loss) if place else None,
            hover=f"loss {loss:.2f} nats\nprobability {math.exp(-loss):.2%}" if place else "given",
            is_special=place == 0,
        )
        for place, (token, loss) in enumerate(zip(tokens, losses, strict=True))
    ]


def conversation_pieces(
    tokenizer: Tokenizer,
    ids: Sequence[int],
    learned: Sequence[bool],
    losses: Sequence[float] | None = None,
) -> list[Piece]:
    """Return the tokens of a conversation, coloured where they are learned: all alike, or by their loss.

    losses: -log p of each token in nats, given the tokens before it; the scale ends at `MOST_LOSS`.
    """
    pieces = []
    for i, piece in enumerate(pieces_of(tokenizer, ids)):
        hover = f"{'learned' if learned[i] else 'only read'}\n{piece.hover}"
        if not learned[i]:
            pieces.append(replace(piece, hover=hover))
        elif losses is None:
            pieces.append(replace(piece, hover=hover, series=LEARNED))
        else:
            pieces.append(replace(piece, hover=f"loss {losses[i]:.2f}\n{hover}", value=losses[i]))
    return pieces


def answer_pieces(
    tokenizer: Tokenizer,
    ids: Sequence[int],
    values: Sequence[float | None],
    say: Callable[[float], str],
) -> list[Piece]:
    """Return the tokens of an answer, coloured by a value that `say` tells in words.

    Those without one were put there by the engine, and are underlined.
    """
    pieces = []
    for piece, value in zip(pieces_of(tokenizer, ids), values, strict=True):
        if value is None:
            hover = f"put there by the calculator\n{piece.hover}"
            pieces.append(replace(piece, is_marked=True, hover=hover))
        else:
            pieces.append(replace(piece, value=value, hover=f"{say(value)}\n{piece.hover}"))
    return pieces


def scale_of_changes(changes: Iterable[float | None]) -> float:
    """Return the change of a log-probability that has the strongest colour: the largest, within bounds."""
    largest = max((abs(change) for change in changes if change is not None), default=0.0)
    return float(f"{min(max(largest, LEAST_CHANGE), MOST_CHANGE):.2g}")  # it stands in the legend


def say_change(change: float) -> str:
    """Return a change of log-probability in words.

    >>> say_change(0.05), say_change(-0.05)
    ('1.05 times as likely as when it was drawn', '0.95 times as likely as when it was drawn')
    """
    return f"{math.exp(change):.2f} times as likely as when it was drawn"
