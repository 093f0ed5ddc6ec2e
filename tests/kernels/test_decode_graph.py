"""The decoding step of fixed shape against the model, on CPU; what only CUDA can do is in test_cuda."""

import gc
from collections import Counter

import pytest
import torch

from picochat.kernels import compilation, decode_graph
from picochat.kernels.decode_graph import decode_step, graph_logits, power_of_two
from picochat.model.cache import KVCache
from picochat.model.gpt import GPT
from tests.kernels.test_decode import CONFIG, make_model, plain_logits, random_ids

TOLERANCE = {"float32": 2e-5, "int8": 2e-5, "bfloat16": 0.2}
"""Of logits of up to 15. To scale the query instead of the keys rounds otherwise, in bfloat16 visibly."""


class Recorder:
    """Does each time what the real one would replay, and counts what it is asked for."""

    asked: Counter

    def __init__(self, device: torch.device) -> None:
        pass

    def warm_up(self, step):
        self.asked["warm_up"] += 1
        return step()

    def record(self, step):
        self.asked["record"] += 1
        return step


@pytest.fixture(autouse=True)
def asked(monkeypatch) -> Counter:
    monkeypatch.setattr(decode_graph, "Recorder", Recorder)
    monkeypatch.setattr(Recorder, "asked", Counter(), raising=False)
    return Recorder.asked


def two_caches(model: GPT, lengths: list[int], **options) -> list[KVCache]:
    """Return equal caches whose rows hold some tokens."""
    options = {"capacity": 40, "dtype": model.compute_dtype, "device": model.device, **options}
    caches = [KVCache(CONFIG, batch_size=len(lengths), **options) for _ in range(2)]
    for cache in caches:
        longest = max(lengths)
        if longest:
            ids_BT = random_ids(len(lengths), longest).to(model.device)
            model(ids_BT, cache=cache, num_new=lengths, last_only=True)
    return caches


def assert_steps_equal(model: GPT, caches: list[KVCache], steps: int, tolerance: float) -> None:
    for step in range(steps):
        ids_B1 = random_ids(caches[0].batch_size, 1, seed=step).to(model.device)
        mine = graph_logits(model, ids_B1[:, 0], caches[0])
        plain = plain_logits(model, ids_B1, caches[1])
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine, plain, rtol=0, atol=tolerance)
    assert caches[0].lengths == caches[1].lengths


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("lengths", [[0], [3, 3, 3], [1, 9, 0, 4, 13]], ids=["one", "equal", "ragged"])
def test_equals_the_model(kind: str, lengths: list[int], monkeypatch):
    """Past windows too (half of the layers see 12 positions back), and over numbers of slots."""
    monkeypatch.setattr(decode_graph, "FEWEST_SLOTS", 4)
    model = make_model(kind)
    caches = two_caches(model, lengths, max_rows=7)
    assert_steps_equal(model, caches, 20, TOLERANCE[kind])
    filled = [cache.keys_LBGCK[:, :, :, : min(cache.lengths)] for cache in caches]
    torch.testing.assert_close(*filled, rtol=0, atol=TOLERANCE[kind])


def test_rows_come_and_go():
    model = make_model()
    caches = two_caches(model, [5, 2, 8], max_rows=6)
    assert_steps_equal(model, caches, 3, 2e-5)
    (other, _) = two_caches(model, [7])
    for cache in caches:
        cache.append(other)
    assert_steps_equal(model, caches, 3, 2e-5)
    for cache in caches:
        cache.drop([0, 2])
    assert_steps_equal(model, caches, 3, 2e-5)


def test_each_size_is_recorded_the_second_time(asked: Counter, monkeypatch):
    monkeypatch.setattr(decode_graph, "FEWEST_SLOTS", 4)
    model = make_model()
    (cache, _) = two_caches(model, [0])
    for step in range(9):
        graph_logits(model, random_ids(1, seed=step), cache)
    assert asked == {"warm_up": 3, "record": 2}  # of up to 4, 8 and 16 slots


def test_what_was_handed_out_stays(monkeypatch):
    model = make_model()
    (cache, _) = two_caches(model, [0, 0])
    handed = [graph_logits(model, random_ids(2, seed=step), cache) for step in range(4)]
    copies = [logits.clone() for logits in handed]
    graph_logits(model, random_ids(2), cache)
    assert all(map(torch.equal, handed, copies))


def test_it_follows_the_weights(asked: Counter):
    """What was recorded reads them where they are; for others it is recorded anew."""
    model = make_model()
    caches = two_caches(model, [3])
    assert_steps_equal(model, caches, 2, 2e-5)
    with torch.no_grad():
        model.h[0].mlp.c_fc.weight.mul_(2)
    assert_steps_equal(model, caches, 2, 2e-5)
    assert asked == {"warm_up": 1, "record": 1}
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight * 3, requires_grad=False)
    assert_steps_equal(model, caches, 2, 2e-5)
    assert asked == {"warm_up": 2, "record": 2}


def test_what_was_recorded_goes_with_its_cache():
    model = make_model()
    (cache, _) = two_caches(model, [3])
    graph_logits(model, random_ids(1), cache)
    before = len(decode_graph._steps)
    del cache
    gc.collect()
    assert len(decode_graph._steps) == before - 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_it_may_go_through_torch_compile(monkeypatch):
    monkeypatch.setattr(compilation, "BACKEND", "aot_eager")
    torch.compiler.reset()
    model = make_model()
    model.kernels = "compile"
    assert_steps_equal(model, two_caches(model, [5, 2]), 3, 2e-5)
    torch.compiler.reset()


@pytest.mark.parametrize(
    ("number", "least", "most", "expected"),
    [(1, 1, 9, 1), (3, 1, 9, 4), (8, 1, 9, 8), (9, 1, 9, 9), (2, 128, 300, 128), (129, 128, 200, 200)],
)
def test_sizes_are_powers_of_two(number: int, least: int, most: int, expected: int):
    assert power_of_two(number, least=least, most=most) == expected


def test_a_full_cache_is_refused():
    model = make_model()
    (cache, _) = two_caches(model, [1], capacity=1)
    with pytest.raises(AssertionError):
        graph_logits(model, random_ids(1), cache)


def test_a_step_never_looks_at_what_tensors_hold():
    """Else it could not be recorded. The meta device has shapes and nothing else."""
    with torch.device("meta"):
        model = GPT(CONFIG)
        cached = torch.empty(3, 4, 2, 40, 32), torch.empty(3, 4, 2, 40, 32)
        rope = torch.empty(40, 1, 16), torch.empty(40, 1, 16)
        ids_R = torch.zeros(4, dtype=torch.long)
        with torch.no_grad():
            logits_RV = decode_step(model, ids_R, ids_R, cached, rope, num_slots=16)
    assert logits_RV.shape == (4, CONFIG.vocab_size)
