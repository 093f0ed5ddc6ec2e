"""The policy gradient against the formula, written out with whole logits in float64."""

import copy
from dataclasses import replace
from itertools import product

import pytest
import torch

from picochat.data.batch import IGNORE, Batch
from picochat.kernels import head_logprobs as module
from picochat.model.gpt import GPT
from picochat.train.policy_loss import PolicyLoss, chosen_logprobs


def make_batch(model: GPT, *, temperature: float, noise: float = 1.0, seed: int = 0) -> Batch:
    """Five answers of different lengths; some ids were forced; old and reference policies are others."""
    generator = torch.Generator().manual_seed(seed)
    B, T = 5, 20
    ids_BT = torch.randint(model.config.vocab_size, (B, T), generator=generator)
    targets_BT = ids_BT.roll(-1, dims=1)
    for b, (first, last) in enumerate(((3, 19), (5, 7), (9, 16), (2, 3), (7, 18))):
        targets_BT[b, :first] = IGNORE
        targets_BT[b, last:] = IGNORE
        targets_BT[b, first + 3 : first + 6] = IGNORE
    with torch.no_grad():
        logprob_N, _ = chosen_logprobs(model, ids_BT, targets_BT, temperature)
    extras = {"advantages": torch.tensor([1.5, -1.2, 0.0, 0.7, -0.8])}
    for name in ("old_logprobs", "reference_logprobs"):
        extras[name] = torch.full((B, T), 7.0)
        shift_N = noise * torch.randn(logprob_N.shape, generator=generator)
        extras[name][targets_BT != IGNORE] = logprob_N + shift_N
    return Batch(ids_BT=ids_BT, targets_BT=targets_BT, extras=extras)


def reference_loss(model: GPT, batch: Batch, loss: PolicyLoss) -> torch.Tensor:
    """The formula of policy_loss.py, token by token; `model` is of float64."""
    weight_VD = model.lm_head.weight[: model.config.vocab_size]
    logits_BTV = 15 * torch.tanh(model.hidden(batch.ids_BT) @ weight_VD.T / 15) / loss.temperature
    logprobs_BTV = logits_BTV.log_softmax(dim=-1)
    tokens: list[list[torch.Tensor]] = []
    for b, row in enumerate(batch.targets_BT.tolist()):
        tokens.append([])
        advantage = batch.extras["advantages"][b].double()
        for t, target in enumerate(row):
            if target == IGNORE:
                continue
            new = logprobs_BTV[b, t, target]
            old = (
                batch.extras["old_logprobs"][b, t].double()
                if "old_logprobs" in batch.extras
                else new.detach()
            )
            ratio = torch.exp(new - old)
            clipped = torch.clip(ratio, 1 - loss.clip_low, 1 + loss.clip_high)
            r = batch.extras["reference_logprobs"][b, t].double() - new
            k3 = torch.exp(r) - r - 1
            tokens[-1].append(-torch.min(ratio * advantage, clipped * advantage) + loss.kl_beta * k3)
    if loss.normalize == "token":
        return torch.stack([token for answer in tokens for token in answer]).mean()
    return torch.stack([torch.stack(answer).mean() for answer in tokens]).mean()


def exact(model: GPT) -> GPT:
    twin = copy.deepcopy(model).double()
    twin.compute_dtype = torch.float64
    return twin


OPTIONS = [
    PolicyLoss(clip_low=low, clip_high=high, kl_beta=beta, normalize=normalize, temperature=temperature)
    for (low, high), beta, normalize, temperature in product(
        ((0.2, 0.2), (0.1, 0.3)), (0.0, 0.3), ("token", "sequence"), (1.0, 0.7)
    )
]


@pytest.mark.parametrize("first", [True, False], ids=["first epoch", "later epoch"])
@pytest.mark.parametrize("loss", OPTIONS, ids=str)
def test_loss_and_gradient_are_those_of_the_formula(loss: PolicyLoss, first: bool, model: GPT, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_LOGITS", 7 * model.config.vocab_size)
    batch = make_batch(model, temperature=loss.temperature)
    if first:
        del batch.extras["old_logprobs"]
    twin = exact(model)
    expected = reference_loss(twin, batch, loss)
    expected.backward()

    weight = loss.weight(batch)
    # Summed over micro-batches, as the trainer does.
    parts = [loss(model, batch.rows(start, stop)) for start, stop in ((0, 2), (2, 5))]
    total = sum(part.total / weight for part in parts)
    total.backward()
    assert abs(total.item() - expected.item()) < 1e-5
    largest = 0.0
    for (name, parameter), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert parameter.grad is not None, name
        largest = max(largest, other.grad.abs().max().item())
        assert (parameter.grad - other.grad).abs().max().item() < 1e-5, name
    assert largest > 1e-2

    sums = {name: sum(part.stats[name] for part in parts).item() / weight for name in parts[0].stats}
    ratio = max(part.maxima["ratio_max"].item() for part in parts)
    if first:
        assert (sums["ratio"], ratio, sums["clipped_low"], sums["clipped_high"]) == (
            pytest.approx(1, abs=1e-6), 1, 0, 0
        )  # fmt: skip
    else:
        assert sums["clipped_low"] > 0
        assert sums["clipped_high"] > 0
        assert ratio > 1.3


def test_what_is_reported_is_what_happened(model: GPT):
    """Oracle: means over the chosen tokens of whole distributions."""
    loss = PolicyLoss(kl_beta=0.1, temperature=0.8)
    batch = make_batch(model, temperature=0.8)
    part = loss(model, batch)
    weight = loss.weight(batch)
    chosen_BT = batch.targets_BT != IGNORE
    assert weight == chosen_BT.sum()
    assert replace(loss, normalize="sequence").weight(batch) == 5

    twin = exact(model)
    with torch.no_grad():
        weight_VD = twin.lm_head.weight[: twin.config.vocab_size]
        p_NV = (15 * torch.tanh(twin.hidden(batch.ids_BT)[chosen_BT] @ weight_VD.T / 15) / 0.8).softmax(-1)
    new_N = p_NV.gather(1, batch.targets_BT[chosen_BT][:, None])[:, 0].log()
    ratio_N = (new_N - batch.extras["old_logprobs"][chosen_BT]).exp()
    advantage_N = batch.extras["advantages"][:, None].expand_as(chosen_BT)[chosen_BT]
    r_N = batch.extras["reference_logprobs"][chosen_BT] - new_N
    expected = {
        "entropy": -(p_NV * p_NV.log()).sum(-1).mean(),
        "ratio": ratio_N.mean(),
        "kl": (r_N.exp() - r_N - 1).mean(),
        "clipped_low": ((ratio_N < 0.8) & (advantage_N < 0)).double().mean(),
        "clipped_high": ((ratio_N > 1.2) & (advantage_N > 0)).double().mean(),
    }
    for name, value in expected.items():
        assert part.stats[name].item() / weight == pytest.approx(value.item(), abs=1e-5), name
    assert part.maxima["ratio_max"].item() == pytest.approx(ratio_N.max().item(), rel=1e-4)
    assert part.total.item() == pytest.approx((part.stats["policy_loss"] + 0.1 * part.stats["kl"]).item())


def test_clipped_tokens_have_no_gradient(model: GPT):
    batch = make_batch(model, temperature=1.0)
    batch.extras["advantages"].fill_(1.0)
    batch.extras["old_logprobs"] -= 5.0  # all ratios are far over 1
    PolicyLoss()(model, batch).total.backward()
    assert all(not parameter.grad.any() for parameter in model.parameters() if parameter.grad is not None)
    batch.extras["advantages"].fill_(-1.0)  # what is bad may be undone however far it went
    PolicyLoss()(model, batch).total.backward()
    assert model.lm_head.weight.grad.any()


def test_the_divergence_pulls_towards_the_reference(model: GPT):
    """Without advantages, steps down the gradient make the chosen tokens as likely as it has them."""
    batch = make_batch(model, temperature=1.0, noise=0.2)
    batch.extras["advantages"].zero_()
    loss = PolicyLoss(kl_beta=1.0)
    values = []
    for _ in range(12):
        part = loss(model, batch)
        values.append(part.stats["kl"].item())
        (part.total / loss.weight(batch)).backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.02 * parameter.grad
                parameter.grad = None
    assert values[-1] < 0.5 * values[0]


def test_the_head_is_never_applied_to_prompts_or_forced_ids(model: GPT, monkeypatch):
    sizes = []
    batch = make_batch(model, temperature=1.0)
    monkeypatch.setattr(module, "_chunks", lambda N, V, plain=module._chunks: sizes.append(N) or plain(N, V))
    with torch.no_grad():
        chosen_logprobs(model, batch.ids_BT, batch.targets_BT, 1.0)
    assert sizes == [(batch.targets_BT != IGNORE).sum()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("temperature", [1.0, 0.3, 2.0])
def test_the_head_in_chunks_is_the_plain_head(temperature: float, dtype: torch.dtype, monkeypatch):
    """N not a multiple of the chunk; logits up to the cap; a padded vocabulary."""
    generator = torch.Generator().manual_seed(0)
    V = 50
    monkeypatch.setattr(module, "CHUNK_LOGITS", 4 * V)
    x_ND = torch.randn(11, 16, generator=generator).to(dtype)
    weight_PD = 2 * torch.randn(64, 16, generator=generator)
    targets_N = torch.randint(V, (11,), generator=generator)
    upstream_N = torch.randn(11, generator=generator)
    results = []
    for function in (module.head_logprobs, module.head_logprobs_plain):
        x, weight = x_ND.clone().requires_grad_(), weight_PD.clone().requires_grad_()
        logprob_N, entropy_N = function(x, weight, targets_N, V, temperature)
        assert not entropy_N.requires_grad
        (logprob_N * upstream_N).sum().backward()
        results.append((logprob_N, entropy_N, x.grad.float(), weight.grad))
    tolerance = 2e-5 if dtype == torch.float32 else 0.1
    for own, plain in zip(*results, strict=True):
        torch.testing.assert_close(own, plain, atol=tolerance, rtol=tolerance)
    assert not results[0][3][V:].any()
