"""An answer of practice token by token, coloured by one of the quantities of `picochat.train.policy_view`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from picochat.plots.token_pieces import answer_pieces, say_change, scale_of_changes
from picochat.plots.tokens import token_html

if TYPE_CHECKING:
    from picochat.tokenizer.tokenizer import Tokenizer
    from picochat.train.policy_view import TokenView

Quantity = Literal["change", "kl", "entropy"]
MOST_ENTROPY = 2.0
"""Nats at which the colour of an entropy is as strong as can be: as open as between seven tokens."""


def answer_tokens_html(
    tokenizer: "Tokenizer", views: "Sequence[Sequence[TokenView]]", number: int, by: Quantity
) -> str:
    """Return answer `number` (from 0) of a group as tokens; one scale holds for all answers of the group."""
    ids = [token.id for token in views[number]]
    if by == "entropy":
        values = [token.entropy for token in views[number]]
        pieces = answer_pieces(tokenizer, ids, values, "entropy {:.2f}".format)
        return token_html(pieces, high=MOST_ENTROPY, legend="entropy, nats")
    values = [token.change if by == "change" else token.kl for token in views[number]]
    high = scale_of_changes(
        token.change if by == "change" else token.kl for answer in views for token in answer
    )
    if by == "kl":
        pieces = answer_pieces(tokenizer, ids, values, "divergence {:.3f}".format)
        return token_html(pieces, high=high, legend="part in the divergence, nats")
    legend = "change of its log-probability by this step (0.01: 1 % likelier; the log of the ratio)"
    return token_html(answer_pieces(tokenizer, ids, values, say_change), high=high, legend=legend)
