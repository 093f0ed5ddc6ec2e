"""The loss of GRPO: a clipped policy gradient with a penalty for leaving the reference model.

B: rows (answers behind their prompts), T: positions, N: tokens that the policy chose, of all rows.

For answer i with advantage A_i and its token t, chosen by the policy with weights w:

    ratio = pi_w(token) / pi_old(token)
    loss  = -min(ratio A_i, clip(ratio, 1 - low, 1 + high) A_i) + beta k3
    k3    = exp(r) - r - 1 with r = log pi_ref(token) - log pi_w(token)

(PPO, arXiv 1707.06347; GRPO, arXiv 2402.03300; k3, Schulman 2020, "Approximating KL divergence"; clipping
higher than lower, DAPO, arXiv 2503.14476.) k3 carries a gradient like everything else.

All three are the same distribution of their weights: softmax(logits / temperature) at the temperature of the
rollouts, the one that was sampled from. Top-k, top-p and the ids the engine never samples are left out of
account: what they cut away has next to no probability.

Tokens that the engine forced into an answer (tool results, a due end of thinking) and the prompt are no
choice of the policy: they have no target and no part in the loss.
"""

from dataclasses import dataclass
from typing import Literal

import torch

from picochat.data.batch import IGNORE, Batch
from picochat.kernels.block import training_hidden
from picochat.kernels.head_logprobs import head_logprobs, head_logprobs_plain
from picochat.model.gpt import GPT
from picochat.train.trainer import LossSum

Normalize = Literal["token", "sequence"]


def chosen_logprobs(
    model: GPT, ids_BT: torch.Tensor, targets_BT: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return log-probability and entropy, (N,) each, at the places of `targets_BT` that are not IGNORE.

    They come from a training-style forward pass. Only the places that count go through the head.
    """
    chosen_BT = targets_BT != IGNORE
    # Answers are as long as they come: nearly every step has another shape.
    x_ND = training_hidden(model, ids_BT, is_steady=False)[chosen_BT]
    weight_PD = model.lm_head.weight
    logprobs = head_logprobs_plain if model.kernels == "plain" else head_logprobs
    return logprobs(x_ND, weight_PD, targets_BT[chosen_BT], model.config.vocab_size, temperature)


@dataclass(frozen=True, kw_only=True)
class PolicyLoss:
    """Works on batches whose `extras` hold "advantages" (B,) and, as (B, T), what was fixed by the rollouts:
    "old_logprobs" (without them the policy is the one that wrote the answers, so every ratio is exactly 1)
    and "reference_logprobs" (needed where kl_beta is not 0)."""

    clip_low: float = 0.2
    clip_high: float = 0.2
    kl_beta: float = 0.0
    temperature: float = 1.0
    normalize: Normalize = "token"
    """token: the mean over all tokens; sequence: over the means of the answers, where a token of a long
    answer counts less."""

    def weight(self, batch: Batch) -> float:
        """Return the number of tokens, or of answers."""
        chosen_BT = batch.targets_BT != IGNORE
        return float(chosen_BT.sum() if self.normalize == "token" else chosen_BT.any(dim=1).sum())

    def __call__(self, model: GPT, batch: Batch) -> LossSum:
        """Return the summed loss, and sums of what is to be seen of it."""
        chosen_BT = batch.targets_BT != IGNORE
        logprob_N, entropy_N = chosen_logprobs(model, batch.ids_BT, batch.targets_BT, self.temperature)

        def at_choices(x_B: torch.Tensor) -> torch.Tensor:
            return x_B[:, None].expand_as(chosen_BT)[chosen_BT]

        old_BT = batch.extras.get("old_logprobs")
        old_N = logprob_N.detach() if old_BT is None else old_BT[chosen_BT]
        advantage_N = at_choices(batch.extras["advantages"])
        ratio_N = (logprob_N - old_N).exp()
        clipped_N = ratio_N.clamp(1 - self.clip_low, 1 + self.clip_high)
        loss_N = -torch.minimum(ratio_N * advantage_N, clipped_N * advantage_N)
        # Where the clip holds there is no gradient: the policy has gone as far as it may on this token.
        seen = {
            "policy_loss": loss_N,
            "entropy": entropy_N,
            "ratio": ratio_N,
            "clipped_low": ((ratio_N < 1 - self.clip_low) & (advantage_N < 0)).float(),
            "clipped_high": ((ratio_N > 1 + self.clip_high) & (advantage_N > 0)).float(),
        }
        if self.kl_beta:
            r_N = batch.extras["reference_logprobs"][chosen_BT] - logprob_N
            seen["kl"] = torch.expm1(r_N) - r_N
            loss_N = loss_N + self.kl_beta * seen["kl"]
        if self.normalize == "sequence":
            share_N = at_choices(1 / chosen_BT.sum(dim=1).clamp(min=1).float())
        else:
            share_N = torch.ones_like(loss_N)
        return LossSum(
            total=(share_N * loss_N).sum(),
            stats={name: (share_N * value_N.detach()).sum() for name, value_N in seen.items()},
            maxima={"ratio_max": ratio_N.detach().max()},
        )
