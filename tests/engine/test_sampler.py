"""Drawing against the definition of each option, written out in plain Python."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from picochat.engine.options import SamplingOptions
from picochat.engine.sampler import FEW, Sampler, UniformStream, distribution
from picochat.errors import UserError

NUM_DRAWS = 20_000
OPTIONS = {
    "plain": dict(temperature=1.0, top_k=0),
    "temperature": dict(temperature=0.5, top_k=0),
    "top_k": dict(temperature=1.0, top_k=5),
    "top_p": dict(temperature=1.0, top_k=0, top_p=0.7),
    "min_p": dict(temperature=1.0, top_k=0, min_p=0.2),
    "repetition_penalty": dict(temperature=1.0, top_k=0, repetition_penalty=1.5),
    "all": dict(temperature=1.3, top_k=8, top_p=0.9, min_p=0.1, repetition_penalty=1.3),
}
HISTORY = [3, 3, 7, 0, 3]
FORBIDDEN = [5]


def by_definition(logits: list[float], options: SamplingOptions, history: list[int], forbidden: list[int]):
    """Probabilities by the words of the documentation."""
    scores = list(logits)
    for id in set(history):
        p = options.repetition_penalty
        scores[id] = scores[id] / p if scores[id] > 0 else scores[id] * p
    ids = [id for id in range(len(scores)) if id not in forbidden]
    if options.is_greedy:
        best = max(ids, key=lambda id: (scores[id], -id))
        return [float(id == best) for id in range(len(scores))]
    top = max(scores[id] for id in ids)
    weight = {id: math.exp((scores[id] - top) / options.temperature) for id in ids}
    ids.sort(key=lambda id: -weight[id])
    ids = ids[: options.top_k or None]
    total = sum(weight[id] for id in ids)
    kept, share = [], 0.0
    for id in ids:
        if share >= options.top_p:
            break
        kept.append(id)
        share += weight[id] / total
    kept = [id for id in kept if weight[id] >= options.min_p * weight[ids[0]]]
    total = sum(weight[id] for id in kept)
    return [weight[id] / total if id in kept else 0.0 for id in range(len(scores))]


def random_logits(size: int, seed: int = 0, scale: float = 1.5) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)) * scale


def seen(history: list[int], size: int) -> torch.Tensor:
    mask = torch.zeros(1, size, dtype=torch.bool)
    mask[0, history] = True
    return mask


@pytest.mark.parametrize("name", OPTIONS)
def test_draws_follow_the_definition(name: str) -> None:
    """Chi-square of 20,000 draws, at the 0.1 % point; the seed is fixed, so this never flickers."""
    options = SamplingOptions(**OPTIONS[name])
    logits_V = random_logits(20)
    expected = by_definition(logits_V.tolist(), options, HISTORY, FORBIDDEN)
    stream = UniformStream(1, [])
    sampler = Sampler([options] * NUM_DRAWS, forbidden=FORBIDDEN)
    ids = sampler.draw(
        logits_V.expand(NUM_DRAWS, -1),
        [stream[i] for i in range(NUM_DRAWS)],
        seen(HISTORY, 20).expand(NUM_DRAWS, -1),
    )
    counts = ids.bincount(minlength=20).tolist()
    assert all(count == 0 for count, p in zip(counts, expected, strict=True) if p == 0)
    cells = [(count, p * NUM_DRAWS) for count, p in zip(counts, expected, strict=True) if p > 0]
    chi_square = sum((count - mean) ** 2 / mean for count, mean in cells)
    freedom = len(cells) - 1
    # Wilson and Hilferty's cube-root approximation of the 99.9 % point.
    limit = freedom * (1 - 2 / (9 * freedom) + 3.09 * math.sqrt(2 / (9 * freedom))) ** 3
    assert chi_square < limit


@given(
    seed=st.integers(0, 1000),
    size=st.integers(2, 40),
    temperature=st.sampled_from([0.0, 1e-320, 1e-39, 1e-3, 0.3, 1.0, 3.0]),
    top_k=st.integers(0, 45),
    top_p=st.sampled_from([1e-9, 0.3, 0.8, 0.999, 1.0]),
    min_p=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    penalty=st.sampled_from([0.5, 1.0, 1.2, 50.0]),
)
def test_probabilities_equal_the_definition(seed, size, temperature, top_k, top_p, min_p, penalty) -> None:
    options = SamplingOptions(
        temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, repetition_penalty=penalty
    )
    logits_V = random_logits(size, seed, scale=4.0)
    history = [0, size // 2, 0]
    sampler = Sampler([options], forbidden=[1])
    got_V = sampler.probabilities(logits_V[None], seen(history, size))[0]
    expected = by_definition(logits_V.tolist(), options, history, [1])
    torch.testing.assert_close(got_V, torch.tensor(expected, dtype=torch.float64), atol=1e-5, rtol=0)


@pytest.mark.parametrize("names", [list(OPTIONS), ["plain", "top_k"], ["top_k", "all"]], ids=str)
def test_rows_keep_their_own_options(names: list[str]) -> None:
    """Each row of a mixed batch is what it is alone."""
    rows = [SamplingOptions(**OPTIONS[name]) for name in names]
    rows += [SamplingOptions(temperature=0), SamplingOptions(top_k=1)]
    logits_BV = torch.stack([random_logits(30, seed) for seed in range(len(rows))])
    mask_BV = seen(HISTORY, 30).expand(len(rows), -1)
    uniforms = [UniformStream(3, [])[i] for i in range(len(rows))]
    together = Sampler(rows, forbidden=FORBIDDEN)
    probabilities_BV = together.probabilities(logits_BV, mask_BV)
    ids_B = together.draw(logits_BV, uniforms, mask_BV)
    for b, options in enumerate(rows):
        alone = Sampler([options], forbidden=FORBIDDEN)
        torch.testing.assert_close(
            alone.probabilities(logits_BV[b : b + 1], mask_BV[:1])[0], probabilities_BV[b]
        )
        assert alone.draw(logits_BV[b : b + 1], [uniforms[b]], mask_BV[:1]).item() == ids_B[b]


@pytest.mark.parametrize("scale", [0.01, 6.0], ids=["flat", "peaked"])
def test_top_p_of_a_large_vocabulary_equals_the_full_sort(scale: float) -> None:
    """A peaked row is served by its first few tokens, a flat one is sorted whole."""
    size = 4 * FEW
    logits_V = random_logits(size, scale=scale)
    options = SamplingOptions(temperature=1.0, top_k=0, top_p=0.9)
    got_V = Sampler([options]).probabilities(logits_V[None])[0]
    expected = by_definition(logits_V.tolist(), options, [], [])
    assert (got_V > 0).sum() == sum(p > 0 for p in expected)
    torch.testing.assert_close(got_V, torch.tensor(expected, dtype=torch.float64), atol=1e-6, rtol=0)


def test_greedy_takes_the_lowest_id_among_equals() -> None:
    logits_BV = torch.tensor([[0.0, 2.0, 1.0, 2.0, 2.0]])
    for options in (SamplingOptions(temperature=0), SamplingOptions(top_k=1)):
        assert Sampler([options]).draw(logits_BV, [0.99]).tolist() == [1]


def test_the_extreme_uniforms_draw_tokens_that_can_be_drawn() -> None:
    logits_BV = torch.tensor([[-50.0, 0.0, 1.0, -torch.inf, -90.0]])
    sampler = Sampler([SamplingOptions(temperature=1.0, top_k=0, min_p=0.01)])
    assert sampler.draw(logits_BV, [0.0]).item() == 1
    assert sampler.draw(logits_BV, [1 - 2**-53]).item() == 2
    sampler.dtype = torch.float32  # as on devices without float64, where this number is 1
    assert sampler.draw(logits_BV, [1 - 2**-53]).item() == 2


def test_logprobs_at_both_temperatures() -> None:
    logits_BV = torch.stack([random_logits(20, 0), random_logits(20, 1), random_logits(20, 2)])
    ids_B = torch.tensor([4, 0, 19])
    rows = [SamplingOptions(temperature=t, top_k=3) for t in (0.5, 0.0, 1.0)]
    raw_B, tempered_B = Sampler(rows, forbidden=[1]).logprobs(logits_BV, ids_B)
    for b, temperature in enumerate((0.5, 1.0, 1.0)):
        torch.testing.assert_close(raw_B[b], logits_BV[b].log_softmax(-1)[ids_B[b]])
        torch.testing.assert_close(tempered_B[b], (logits_BV[b] / temperature).log_softmax(-1)[ids_B[b]])


def test_distribution_shows_before_and_after() -> None:
    logits_V = random_logits(20)
    options = SamplingOptions(**OPTIONS["all"])
    shown = distribution(logits_V, options, HISTORY, forbidden=FORBIDDEN)
    assert sorted(shown.ids) == list(range(20))
    assert shown.before == sorted(shown.before, reverse=True)
    assert sum(shown.before) == pytest.approx(1)
    after = by_definition(logits_V.tolist(), options, HISTORY, FORBIDDEN)
    assert shown.after == pytest.approx([after[id] for id in shown.ids], abs=1e-6)


def test_uniform_streams_are_uniform_and_unrelated() -> None:
    streams = [UniformStream(seed, prompt) for seed in range(3) for prompt in ([], [1], [1, 2])]
    numbers = torch.tensor([[stream[i] for i in range(4000)] for stream in streams], dtype=torch.float64)
    assert ((numbers >= 0) & (numbers < 1)).all()
    counts = (numbers.flatten() * 16).long().bincount(minlength=16).double()
    assert ((counts - 2250) ** 2 / 2250).sum() < 37.7  # 99.9 % point of chi-square with 15 degrees of freedom
    correlation = torch.corrcoef(numbers) - torch.eye(len(streams), dtype=torch.float64)
    assert correlation.abs().max() < 0.06
    serial = torch.corrcoef(torch.stack((numbers[0, :-1], numbers[0, 1:])))[0, 1]
    assert abs(serial) < 0.06


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("temperature", True),
        ("temperature", "1"),
        ("top_k", -1),
        ("top_k", 1.5),
        ("top_p", 0.0),
        ("top_p", 1.01),
        ("top_p", math.nan),
        ("min_p", -0.1),
        ("min_p", math.nan),
        ("repetition_penalty", 0.0),
        ("seed", -1),
        ("seed", 2**63),
        ("max_tokens", 0),
        ("thinking_budget", -1),
        ("stop", "text"),
        ("stop", ("",)),
        ("stop", ("x",) * 17),
    ],
)
def test_options_out_of_range_are_named(name: str, value: object) -> None:
    with pytest.raises(UserError, match=name):
        SamplingOptions(**{name: value})


def test_a_seed_is_drawn_once() -> None:
    assert SamplingOptions(seed=3).seeded().seed == 3
    drawn = [SamplingOptions().seeded().seed for _ in range(4)]
    assert len(set(drawn)) == 4
