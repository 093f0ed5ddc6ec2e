"""The forward pass: the Rust picochat's numbers, parameter counts, the cache, what an inspection shows."""

import pytest
import torch

from picochat.model.attention import attend
from picochat.model.cache import KVCache
from picochat.model.config import ModelConfig
from picochat.model.gpt import GPT, IGNORE, Inspection
from picochat.model.init import initialize
from picochat.model.rope import rope_tables, rotate

TOLERANCE = 1e-4


def test_logits_are_those_of_the_rust_picochat(golden):
    model, ids_1T, case = golden
    logits_TV = model(ids_1T)[0]
    assert logits_TV.shape == (case["num_tokens"], case["config"]["vocab_size"])
    assert logits_TV.dtype == torch.float32
    for position, first in case["rows"].items():
        torch.testing.assert_close(
            logits_TV[int(position), : len(first)], torch.tensor(first), atol=TOLERANCE, rtol=0
        )
    # Written with three decimals; a sum of 300 logits.
    torch.testing.assert_close(
        logits_TV.double().sum(-1), torch.tensor(case["row_sums"]).double(), atol=1.5e-3, rtol=0
    )
    assert logits_TV.argmax(-1).tolist() == case["argmax"]


def test_mean_loss_is_that_of_the_rust_picochat(golden):
    model, ids_1T, case = golden
    losses_1T = model.loss_per_token(ids_1T[:, :-1], ids_1T[:, 1:])
    assert losses_1T.mean().item() == pytest.approx(case["mean_nll_next_token"], abs=TOLERANCE)


def test_greedy_continuation_is_that_of_the_rust_picochat(golden):
    model, ids_1T, case = golden
    ids = ids_1T[:, :4]
    for _ in case["greedy_6_after_first_4_ids"]:
        ids = torch.cat((ids, model(ids)[:, -1:].argmax(-1)), dim=1)
    assert ids[0, 4:].tolist() == case["greedy_6_after_first_4_ids"]


def test_windows_are_those_of_the_rust_picochat(golden):
    model, _, case = golden
    assert list(model.config.windows) == case["windows"]
    assert model.config.num_parameters() == case["params"]


@pytest.mark.parametrize(("depth", "count"), [(4, 28_049_544), (8, 90_178_064)])
def test_parameter_counts(depth: int, count: int):
    config = ModelConfig.from_depth(depth)
    assert config.num_parameters() == count
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in GPT(config).parameters()) == count


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_the_formula_counts_what_is_there(depth: int):
    config = ModelConfig.from_depth(depth, vocab_size=300)
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in GPT(config).parameters()) == config.num_parameters()


def test_a_position_depends_on_its_window_alone(windowed: GPT):
    """By the gradient of the logits at position 30 with respect to all embeddings: one layer, window 16."""
    config = ModelConfig(**{**vars(windowed.config), "n_layer": 1})
    model = GPT(config)
    initialize(model, seed=0)
    torch.nn.init.normal_(model.h[0].attn.c_proj.weight)
    ids_1T = torch.arange(40)[None]
    embedded = model.wte(ids_1T).detach().requires_grad_()
    model.wte.forward = lambda _: embedded
    model(ids_1T)[0, 30].sum().backward()
    reached = (embedded.grad[0].abs().sum(-1) > 0).nonzero().flatten().tolist()
    assert reached == list(range(30 - 16, 31))


def test_cached_decoding_equals_the_full_forward(golden):
    model, ids_1T, _ = golden
    full_1TV = model(ids_1T)
    cache = KVCache(model.config, capacity=ids_1T.shape[1])
    steps = [model(ids_1T[:, :5], cache=cache)]
    steps += [model(ids_1T[:, t : t + 1], cache=cache) for t in range(5, ids_1T.shape[1])]
    torch.testing.assert_close(torch.cat(steps, dim=1), full_1TV, atol=2e-5, rtol=0)
    assert cache.lengths == [ids_1T.shape[1]]


@pytest.mark.parametrize("chunks", [(40,), (1,) * 40, (7, 9, 8, 16), (20, 1, 1, 18)])
def test_any_division_into_chunks_gives_the_same_logits(chunks: tuple[int, ...], windowed: GPT):
    ids_BT = torch.randint(50, (2, 40), generator=torch.Generator().manual_seed(0))
    full_BTV = windowed(ids_BT)
    cache = KVCache(windowed.config, batch_size=2, capacity=40)
    parts = [windowed(chunk, cache=cache) for chunk in ids_BT.split(chunks, dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), full_BTV, atol=2e-5, rtol=0)


def test_ragged_rows_equal_single_rows_across_the_window(windowed: GPT):
    ids_BT = torch.randint(50, (3, 40), generator=torch.Generator().manual_seed(1))
    full_BTV = windowed(ids_BT)
    lengths = [11, 3, 7]
    cache = KVCache(windowed.config, batch_size=3, capacity=64)
    padded_BT = ids_BT[:, :11].clone()
    for row, length in enumerate(lengths):
        padded_BT[row, length:] = 0
    logits_B1V = windowed(padded_BT, cache=cache, num_new=lengths, last_only=True)
    while True:
        expected = torch.stack([full_BTV[row, length - 1] for row, length in enumerate(lengths)])
        torch.testing.assert_close(logits_B1V[:, 0], expected, atol=2e-5, rtol=0)
        if max(lengths) == 40:
            break
        next_B1 = torch.stack([ids_BT[row, length : length + 1] for row, length in enumerate(lengths)])
        logits_B1V = windowed(next_B1, cache=cache, last_only=True)
        lengths = [length + 1 for length in lengths]


def test_a_truncated_cache_forgets(windowed: GPT):
    ids_BT = torch.randint(50, (2, 20), generator=torch.Generator().manual_seed(2))
    cache = KVCache(windowed.config, batch_size=2, capacity=30)
    windowed(ids_BT.flip(1), cache=cache)
    cache.truncate([0, 0])
    windowed(ids_BT[:, :12], cache=cache)
    cache.truncate([12, 5])
    logits_BTV = windowed(ids_BT[:, 5:8], cache=cache)
    row_0 = torch.cat((ids_BT[0, :12], ids_BT[0, 5:8]))
    torch.testing.assert_close(logits_BTV[0], windowed(row_0[None])[0, -3:], atol=2e-5, rtol=0)
    torch.testing.assert_close(logits_BTV[1], windowed(ids_BT[1:, :8])[0, -3:], atol=2e-5, rtol=0)


def test_rows_of_a_cache_are_copied(windowed: GPT):
    ids_BT = torch.randint(50, (2, 9), generator=torch.Generator().manual_seed(3))
    cache = KVCache(windowed.config, batch_size=2, capacity=16)
    windowed(ids_BT[:, :6], cache=cache)
    kept = cache.keep([1, 0, 1])
    windowed(ids_BT.flip(1)[:, :3], cache=cache)
    logits_BTV = windowed(ids_BT[[1, 0, 1], 6:], cache=kept)
    torch.testing.assert_close(logits_BTV, windowed(ids_BT)[[1, 0, 1], 6:], atol=2e-5, rtol=0)
    one = KVCache(windowed.config, capacity=16)
    assert one.fork(3).lengths == [0, 0, 0]
    assert one.num_bytes == 2 * 4 * one.fork(1).keys_LBGCK[0].numel() * 4


def test_last_only_is_the_last_of_all(windowed: GPT):
    ids_BT = torch.randint(50, (2, 12), generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(windowed(ids_BT, last_only=True), windowed(ids_BT)[:, -1:])


def test_inspection_shows_attention_within_the_window(windowed: GPT):
    ids_BT = torch.randint(50, (2, 24), generator=torch.Generator().manual_seed(5))
    inspection = Inspection()
    torch.testing.assert_close(windowed(ids_BT, inspection=inspection), windowed(ids_BT))
    assert len(inspection.attention_LBHTS) == 4
    distance = torch.arange(24)[:, None] - torch.arange(24)
    for weights_BHTS, window in zip(inspection.attention_LBHTS, windowed.config.windows, strict=True):
        assert weights_BHTS.shape == (2, 4, 24, 24)
        torch.testing.assert_close(weights_BHTS.sum(-1), torch.ones(2, 4, 24))
        is_visible = (distance >= 0) & (distance <= window)
        assert ((weights_BHTS > 0) == is_visible).all()


def test_inspection_shows_the_residual_stream(windowed: GPT):
    ids_BT = torch.randint(50, (2, 10), generator=torch.Generator().manual_seed(6))
    inspection = Inspection()
    logits_BTV = windowed(ids_BT, inspection=inspection)
    lens = windowed.logit_lens(inspection)
    assert lens.shape == (5, 2, 10, 50)
    torch.testing.assert_close(lens[-1], logits_BTV)
    assert not torch.allclose(lens[0], lens[-1], atol=0.1)
    norms = inspection.residual_norms()
    assert norms.shape == (5, 2, 10)
    # The stream begins as the normed embedding, whose root mean square is 1.
    torch.testing.assert_close(norms[0], torch.ones(2, 10), atol=1e-4, rtol=0)
    expected = (inspection.residual_LBTD[3] ** 2).mean(-1) ** 0.5
    torch.testing.assert_close(norms[3], expected)


def test_loss_per_token_is_the_log_probability(windowed: GPT):
    ids_BT = torch.randint(50, (2, 10), generator=torch.Generator().manual_seed(7))
    targets_BT = ids_BT.roll(-1, dims=1)
    targets_BT[0, 3] = IGNORE
    log_probs = windowed(ids_BT).log_softmax(-1)
    expected = -log_probs.gather(2, targets_BT.clamp(min=0)[..., None])[..., 0]
    expected[0, 3] = 0
    torch.testing.assert_close(windowed.loss_per_token(ids_BT, targets_BT), expected)


def test_attention_is_its_definition():
    """Head by head and position by position, in loops."""
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(2, 3, 4, 8, generator=generator)
    k, v = torch.randn(2, 2, 5, 8, generator=generator), torch.randn(2, 2, 5, 8, generator=generator)
    mask = torch.rand(2, 1, 3, 5, generator=generator) > 0.4
    mask[..., 0] = True
    out = attend(q, k, v, mask).view(2, 3, 4, 8)
    for b in range(2):
        for t in range(3):
            for h in range(4):
                seen = mask[b, 0, t]
                scores = k[b, h // 2, seen] @ q[b, t, h] / 8**0.5
                torch.testing.assert_close(out[b, t, h], scores.softmax(0) @ v[b, h // 2, seen])


def test_rope_makes_products_depend_on_the_distance():
    x, y = torch.randn(2, 1, 1, 1, 16, generator=torch.Generator().manual_seed(0))

    def product(i: int, j: int) -> float:
        def at(z: torch.Tensor, position: int) -> torch.Tensor:
            return rotate(z, *rope_tables(torch.tensor([[position]]), 16, 10_000.0))

        return (at(x, i) * at(y, j)).sum().item()

    assert product(7, 3) == pytest.approx(product(104, 100), abs=1e-4)
    assert product(7, 3) != pytest.approx(product(7, 4), abs=1e-3)
    assert product(0, 0) == pytest.approx((x * y).sum().item(), abs=1e-5)


def test_bfloat16_products_stay_near():
    config = ModelConfig.from_depth(2, vocab_size=100, sequence_len=32)
    model = GPT(config).requires_grad_(False)
    initialize(model, seed=0)
    for name, parameter in model.named_parameters():
        if name.endswith(("c_proj.weight", "lm_head.weight")):
            torch.nn.init.normal_(parameter, std=0.05)
    ids_BT = torch.randint(100, (2, 32), generator=torch.Generator().manual_seed(0))
    exact = model(ids_BT)
    model.compute_dtype = torch.bfloat16
    rounded = model(ids_BT)
    assert rounded.dtype == torch.float32
    difference = (rounded - exact).norm() / exact.norm()
    assert 0 < difference < 0.05


def test_initialization_follows_the_seed_and_begins_as_the_identity():
    config = ModelConfig.from_depth(2, vocab_size=100, sequence_len=32)
    one, same, other = GPT(config), GPT(config), GPT(config)
    torch.manual_seed(123)
    initialize(one, seed=1)
    torch.manual_seed(456)
    initialize(same, seed=1)
    initialize(other, seed=2)
    for (name, a), b, c in zip(one.named_parameters(), same.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b), name
        is_constant = name.endswith(("c_proj.weight", "ve_gate.weight", "lambdas"))
        assert torch.equal(a, c) == is_constant, name
    inspection = Inspection()
    one(torch.arange(10)[None], inspection=inspection)
    first, last = inspection.residual_LBTD[0], inspection.residual_LBTD[-1]
    # Two blocks that add nothing: x <- 1 x + 0.1 x0, twice.
    torch.testing.assert_close(last, 1.2 * first)
