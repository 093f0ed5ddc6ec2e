"""What became of the tokens of an answer: how probable each was when it was drawn, how probable it is now.

Computed when asked for, from the weights as they are then. For the group that was trained on last it shows
what the step did; the loss itself sees the same ratios one step earlier (see `policy_loss`).
"""

import math
from dataclasses import dataclass

import torch

from picochat.model.gpt import GPT
from picochat.train.groups import Group
from picochat.train.policy_loss import chosen_logprobs
from picochat.train.rollouts import ids_and_targets, rows_of


@dataclass(frozen=True, kw_only=True)
class TokenView:
    """One token of an answer. The numbers are None where the engine put it there: no choice, nothing to
    learn."""

    id: int
    logprob: float | None
    """Log-probability when it was drawn, in nats, at the temperature of the rollouts; so are the others."""
    change: float | None
    """How much its log-probability has changed since: the logarithm of the ratio in the policy loss."""
    kl: float | None
    """Its part in the divergence from the reference model (k3, see `policy_loss`); None without one."""
    entropy: float | None
    """How open the choice at this place is now, in nats."""


@torch.no_grad()
def view_group(
    model: GPT, reference: GPT | None, group: Group, *, temperature: float, pad_id: int
) -> list[list[TokenView]]:
    """Return the tokens of each answer of a group; two forward passes over its answers."""
    rows = rows_of(group)
    length = max(len(row.ids) for row in rows)
    ids_BT, targets_BT = (
        part.to(model.device) for part in ids_and_targets(rows, length=length, pad_id=pad_id)
    )
    now_N, entropy_N = chosen_logprobs(model, ids_BT, targets_BT, temperature)
    now, entropy = iter(now_N.tolist()), iter(entropy_N.tolist())
    reference_logprob = None
    if reference is not None:
        reference_logprob = iter(chosen_logprobs(reference, ids_BT, targets_BT, temperature)[0].tolist())
    views: list[list[TokenView]] = []
    for answer in group.answers:
        tokens = []
        for id, is_forced, logprob in zip(answer.ids, answer.forced, answer.logprobs, strict=True):
            if is_forced:
                tokens.append(TokenView(id=id, logprob=None, change=None, kl=None, entropy=None))
                continue
            is_now = next(now)
            tokens.append(
                TokenView(
                    id=id,
                    logprob=logprob,
                    change=is_now - logprob,
                    kl=None if reference_logprob is None else _k3(next(reference_logprob) - is_now),
                    entropy=next(entropy),
                )
            )
        views.append(tokens)
    return views


def _k3(r: float) -> float:
    return math.expm1(r) - r
