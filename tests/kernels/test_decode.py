"""The compiled decoding step against the model itself."""

import copy

import numpy as np
import pytest
import torch

from picochat.engine.quantize import quantize
from picochat.kernels import decode
from picochat.kernels.decode import next_logits
from picochat.kernels.decode_loops import matrix
from picochat.kernels.int8_dot import WIDTH, row_sums
from picochat.model.cache import KVCache
from picochat.model.config import ModelConfig
from picochat.model.gpt import GPT
from picochat.model.init import initialize

VOCAB = 200
CONFIG = ModelConfig(sequence_len=24, vocab_size=VOCAB, n_layer=3, n_head=4, n_kv_head=2, n_embd=128)
TOLERANCE = {"float32": 2e-5, "int8": 2e-3, "bfloat16": 0.12}
"""Of logits of up to 15. Activations have 16 bits in products with int8 weights where the processor has an
instruction for them. A bfloat16 model rounds after each operation and the compiled step does not."""


def make_model(kind: str = "float32") -> GPT:
    model = GPT(CONFIG)
    initialize(model, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            # No zeros and no ones: every weight has to count.
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise, alpha=0.3 if parameter.dim() == 1 else 2 * CONFIG.n_embd**-0.5)
    model.requires_grad_(False)
    if kind == "int8":
        return quantize(model)[0]
    if kind == "bfloat16":
        model.compute_dtype = torch.bfloat16
        model.to(torch.bfloat16)
    return model


def plain_logits(model: GPT, ids_BT: torch.Tensor, cache: KVCache) -> torch.Tensor:
    return model(ids_BT, cache=cache, last_only=True)[:, 0]


def random_ids(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(VOCAB, shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=["float32", "bfloat16", "int8"])
def kind(request) -> str:
    return request.param


@pytest.mark.parametrize("lengths", [[5], [3, 3, 3], [1, 9, 0, 4, 13]], ids=["one", "equal", "ragged"])
def test_equals_the_model_after_a_prefill(kind: str, lengths: list[int]):
    """Past windows too: half of the layers see 12 positions back."""
    model = make_model(kind)
    caches = [
        KVCache(CONFIG, batch_size=len(lengths), capacity=40, dtype=model.compute_dtype) for _ in range(2)
    ]
    for cache in caches:
        model(random_ids(len(lengths), 13), cache=cache, num_new=lengths, last_only=True)
    for step in range(20):
        ids_B1 = random_ids(len(lengths), 1, seed=step)
        mine = next_logits(model, ids_B1, caches[0])
        plain = plain_logits(model, ids_B1, caches[1])
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine, plain, rtol=0, atol=TOLERANCE[kind])
    assert caches[0].lengths == caches[1].lengths == [length + 20 for length in lengths]
    difference = (caches[0].keys_LBGCK - caches[1].keys_LBGCK).abs().max()
    assert difference < TOLERANCE[kind]


@pytest.mark.skipif(not WIDTH, reason="the processor has no instruction for int8 products")
@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0, 1e6])
def test_the_int8_instruction_equals_the_plain_loop(scale: float):
    """Activations have 16 bits there: the sum of their roundings is below what is tested."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randint(-127, 128, (50, 4 * WIDTH), dtype=torch.int8, generator=generator).numpy()
    row_scale = torch.rand(50, generator=generator).numpy()
    x = (scale * torch.randn(5, 4 * WIDTH, generator=generator)).numpy()
    sums = row_sums(weight)
    assert len(sums) == 50
    results = [np.zeros((5, 50), np.float32) for _ in range(2)]
    matrix(weight, row_scale, sums, x, results[0], 3, 50)
    matrix(weight, row_scale, sums[:0], x, results[1], 3, 50)
    assert (results[0][:, :3] == 0).all()
    assert np.abs(results[0] - results[1]).max() <= 1e-4 * np.abs(results[1]).max()


def test_odd_widths_have_no_row_sums():
    assert len(row_sums(np.ones((3, 40), np.int8))) == 0
    assert len(row_sums(np.ones((3, 128), np.float32))) == 0


def test_greedy_tokens_are_the_same(kind: str):
    model = make_model(kind)
    texts = []
    for step in (next_logits, plain_logits):
        cache = KVCache(CONFIG, capacity=40, dtype=model.compute_dtype)
        ids, margins = [7], []
        for _ in range(30):
            best = step(model, torch.tensor([ids[-1:]]), cache)[0].topk(2)
            ids.append(int(best.indices[0]))
            margins.append(float(best.values[0] - best.values[1]))
        texts.append(ids)
    first = next((i for i, (a, b) in enumerate(zip(*texts, strict=True)) if a != b), None)
    # Rounding may decide where the two likeliest are as good as equal, and nowhere else.
    assert first is None or margins[first - 1] < 2 * TOLERANCE[kind]
    assert kind == "bfloat16" or first is None


def test_a_row_does_not_depend_on_its_mates(kind: str):
    model = make_model(kind)
    ids_BT = random_ids(6, 8)
    together = KVCache(CONFIG, batch_size=6, dtype=model.compute_dtype)
    alone = [KVCache(CONFIG, dtype=model.compute_dtype) for _ in range(6)]
    for t in range(8):
        all_BV = next_logits(model, ids_BT[:, t : t + 1], together)
        for b in range(6):
            one_V = next_logits(model, ids_BT[b : b + 1, t : t + 1], alone[b])[0]
            torch.testing.assert_close(all_BV[b], one_V, rtol=0, atol=TOLERANCE[kind])


def test_threads_do_not_change_it(kind: str, whose_threads: str, monkeypatch, set_threads):
    """More threads than there are key/value heads, too."""
    model = make_model(kind)
    monkeypatch.setattr(decode, "SHARED_WORK", 0)
    monkeypatch.setattr(decode._Pace, "choose", lambda self: True)
    results = []
    for num_threads in (1, 2, 5):
        set_threads(num_threads)
        cache = KVCache(CONFIG, batch_size=2, dtype=model.compute_dtype)
        results.append(torch.stack([next_logits(model, random_ids(2, 1, seed=t), cache) for t in range(6)]))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_it_follows_the_weights():
    """While they are trained in place, and when they are replaced."""
    model = make_model()
    ids_11 = torch.tensor([[3]])
    before = next_logits(model, ids_11, KVCache(CONFIG))
    with torch.no_grad():
        model.h[0].mlp.c_fc.weight.mul_(2)
        model.x0_lambdas.mul_(2)
    middle = next_logits(model, ids_11, KVCache(CONFIG))
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight * 3, requires_grad=False)
    after = next_logits(model, ids_11, KVCache(CONFIG))
    assert not torch.allclose(before, middle)
    torch.testing.assert_close(after, plain_logits(model, ids_11, KVCache(CONFIG)), atol=2e-5, rtol=0)
    twin = copy.deepcopy(model)
    assert torch.equal(next_logits(twin, ids_11, KVCache(CONFIG)), after)


@pytest.mark.parametrize("kernels", ["portable", "plain"])
def test_only_auto_compiles(kernels: str, monkeypatch):
    model = make_model()
    model.kernels = kernels
    monkeypatch.setattr(decode, "_plan_of", lambda model: pytest.fail("compiled"))
    assert torch.equal(
        next_logits(model, torch.tensor([[3]]), KVCache(CONFIG)),
        plain_logits(model, torch.tensor([[3]]), KVCache(CONFIG)),
    )


def test_models_of_mixed_numbers_take_the_plain_way():
    model = make_model()
    model.h[0].mlp.c_fc.to(torch.bfloat16)
    cache, twin = KVCache(CONFIG), KVCache(CONFIG)
    assert torch.equal(
        next_logits(model, torch.tensor([[3]]), cache), plain_logits(model, torch.tensor([[3]]), twin)
    )


@pytest.mark.parametrize("id", [-1, 256])
def test_an_unknown_id_is_refused(id: int):
    with pytest.raises(IndexError, match="token ids are 0 to 199"):
        next_logits(make_model(), torch.tensor([[id]]), KVCache(CONFIG))


def test_a_full_cache_is_refused():
    model, cache = make_model(), KVCache(CONFIG, capacity=1)
    next_logits(model, torch.tensor([[3]]), cache)
    with pytest.raises(AssertionError):
        next_logits(model, torch.tensor([[3]]), cache)


@pytest.mark.parametrize("num_rows", [4, 9, decode.PRODUCT_ROWS + 1])
def test_many_rows_equal_single_ones(kind: str, num_rows: int, monkeypatch, set_threads):
    """In tiles, with rows that fill none, shared out between threads or not; from PRODUCT_ROWS on with
    torch's product."""
    model = make_model(kind)
    ids_BT = random_ids(num_rows, 3)

    def decode_all(ids_BT: torch.Tensor) -> torch.Tensor:
        cache = KVCache(CONFIG, batch_size=len(ids_BT), dtype=model.compute_dtype)
        return torch.stack([next_logits(model, ids_B1, cache) for ids_B1 in ids_BT.split(1, dim=1)])

    alone = torch.cat([decode_all(ids_1T) for ids_1T in ids_BT.split(1)], dim=1)
    results = []
    for work, threads in ((1 << 40, 1), (0, 1), (0, 2), (0, 3)):
        monkeypatch.setattr(decode, "SHARED_WORK", work)
        set_threads(threads)
        results.append(decode_all(ids_BT))
    for logits in results:
        torch.testing.assert_close(logits, alone, rtol=0, atol=TOLERANCE[kind])
        # How torch shares its product out is its own affair.
        assert num_rows > decode.PRODUCT_ROWS or torch.equal(logits, results[0])


def test_the_faster_of_all_threads_and_one_is_chosen():
    """By what steps took; when that changes, so does the choice."""
    pace = decode._Pace()

    def steps(seconds: dict[bool, float], count: int) -> list[bool]:
        chosen = []
        for _ in range(count):
            chosen.append(pace.choose())
            pace.tell(chosen[-1], seconds[chosen[-1]])
        return chosen

    calm, busy = {True: 1.0, False: 2.0}, {True: 5.0, False: 2.0}
    chosen = steps(calm, 3000)
    assert chosen[:2] == [True, False]
    assert 12 <= chosen[2:].count(False) <= 32, "the other is tried again, and ever more seldom"
    chosen = steps(busy, 3000)
    assert True in chosen[:3]
    assert 12 <= chosen[3:].count(True) <= 32
    chosen = steps(calm, 3000)
    assert chosen[decode.MOST_BETWEEN + decode.TRIAL :].count(False) <= 32
