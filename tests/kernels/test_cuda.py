"""Each fused operation on a CUDA device against its plain twin in float32 on the CPU."""

import gc
from functools import partial

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from picochat.engine.quantize import quantize
from picochat.kernels import decode_graph
from picochat.kernels import head_loss as head_loss_module
from picochat.kernels.block import training_hidden
from picochat.kernels.compilation import obstacle, through_compile
from picochat.kernels.head_loss import head_loss, head_loss_plain
from picochat.kernels.windowed_attention import attend_windowed, training_mask
from picochat.model.attention import attend_fused
from picochat.model.cache import KVCache
from picochat.model.config import ModelConfig
from picochat.model.gpt import GPT, IGNORE
from picochat.optim.adamw import AdamWState, adamw_update, adamw_update_plain
from picochat.optim.muon import orthogonalize
from tests.cuda import CUDA, needs_cuda
from tests.kernels.test_block import assert_near, make_model, plain_hidden, random_ids, run
from tests.kernels.test_decode import make_model as make_decoder
from tests.kernels.test_decode_graph import assert_steps_equal, two_caches

pytestmark = needs_cuda

TOLERANCE = {torch.float32: 5e-4, torch.bfloat16: 0.15}
"""Relative, of each tensor as a whole. bfloat16 is up to 0.07 from float32 on CPU too, in the scalars."""


@pytest.fixture(autouse=True)
def exact_products():
    """Keep float32 products in float32, whatever another test has set."""
    torch.set_float32_matmul_precision("highest")


def test_torch_compile_works():
    """Without it `auto` means eager training; the rest of this file would pass without saying so."""
    assert obstacle("cuda") is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("length", "context"), [(300, 400), (600, 700)], ids=["masks", "tiles"])
@pytest.mark.parametrize("kernels", ["auto", "portable", "plain"])
def test_blocks(dtype: torch.dtype, length: int, context: int, kernels: str):
    config = ModelConfig(sequence_len=context, vocab_size=100, n_layer=4, n_head=4, n_kv_head=2, n_embd=256)
    ids_BT = random_ids(2, length)
    exact = run(plain_hidden, make_model(config), ids_BT)
    model = make_model(config, dtype).to(CUDA)
    model.kernels = kernels
    assert_near(run(training_hidden, model, ids_BT.to(CUDA)), exact, TOLERANCE[dtype])


def attention(function, dtype: torch.dtype, device: torch.device, length: int) -> list[torch.Tensor]:
    """Return output and gradients of attention with four query and two key/value heads of 64 channels."""
    generator = torch.Generator().manual_seed(0)
    inputs = [
        torch.randn(2, length, n, 64, generator=generator).to(device, dtype).requires_grad_()
        for n in (4, 2, 2)
    ]
    out_BTD = function(*inputs)
    weight_BTD = torch.randn(out_BTD.shape, generator=generator).to(device, dtype)
    grads = torch.autograd.grad((out_BTD * weight_BTD).sum(), inputs)
    return [tensor.detach().float().cpu() for tensor in (out_BTD, *grads)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("length", "window"), [(640, 100), (1000, 999), (1024, 512), (700, 0)], ids=lambda number: f"{number}"
)
def test_compiled_attention(dtype: torch.dtype, length: int, window: int):
    mask = training_mask(window, length, CUDA)
    plain_mask = training_mask(window, length, torch.device("cpu"))
    compiled = through_compile(attend_windowed)
    mine = attention(lambda *qkv: compiled(*qkv, mask), dtype, CUDA, length)
    plain = attention(
        lambda *qkv: attend_windowed(*qkv, plain_mask), torch.float32, torch.device("cpu"), length
    )
    assert (mask is None) is (window >= length - 1)
    for a, b in zip(mine, plain, strict=True):
        # With a window of 0 each position sees itself: queries and keys have no gradient.
        assert (a - b).norm() < {torch.float32: 1e-3, torch.bfloat16: 3e-2}[dtype] * b.norm().clamp(min=1)


def test_no_attention_of_torch_writes_down_the_scores():
    """Flash attention takes whole layers in bfloat16, the memory-efficient one masks and float32."""
    length = 256
    mask = training_mask(100, length, CUDA)
    for dtype, given, backend in (
        (torch.bfloat16, None, SDPBackend.FLASH_ATTENTION),
        (torch.bfloat16, mask, SDPBackend.EFFICIENT_ATTENTION),
        (torch.float32, None, SDPBackend.EFFICIENT_ATTENTION),
    ):
        with sdpa_kernel(backend):
            attention(
                lambda q, k, v, given=given: attend_fused(q, k.transpose(1, 2), v.transpose(1, 2), given),
                dtype,
                CUDA,
                length,
            )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kernels", ["auto", "portable", "plain"])
def test_head_loss(dtype: torch.dtype, kernels: str, monkeypatch):
    """In several chunks, the last one shorter; targets without loss are masked, not picked out."""
    monkeypatch.setitem(head_loss_module.CHUNK_BYTES, "cuda", 1000 * 777 * torch.finfo(dtype).bits // 8)
    generator = torch.Generator().manual_seed(0)
    x_ND = torch.randn(2000, 64, generator=generator)
    weight_PD = torch.randn(1024, 64, generator=generator)
    targets_N = torch.randint(1000, (2000,), generator=generator)
    targets_N[::3] = IGNORE

    def value_and_grads(function, device: torch.device, dtype: torch.dtype) -> list[torch.Tensor]:
        x = x_ND.to(device, dtype).requires_grad_()
        weight = weight_PD.to(device).requires_grad_()
        loss = function(x, weight, targets_N.to(device), 1000)
        return [t.detach().float().cpu() for t in (loss, *torch.autograd.grad(loss, (x, weight)))]

    mine = value_and_grads(partial(head_loss, kernels=kernels), CUDA, dtype)
    plain = value_and_grads(head_loss_plain, torch.device("cpu"), torch.float32)
    for a, b in zip(mine, plain, strict=True):
        assert (a - b).norm() < {torch.float32: 1e-4, torch.bfloat16: 0.03}[dtype] * b.norm()


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("kernels", ["auto", "compile"])
def test_recorded_steps_equal_the_model(kind: str, kernels: str, monkeypatch):
    """Over several numbers of slots and of rows, of which some come and go."""
    monkeypatch.setattr(decode_graph, "FEWEST_SLOTS", 4)
    model = on_cuda(kind)
    model.kernels = kernels
    tolerance = {"float32": 2e-4, "int8": 2e-4, "bfloat16": 0.3}[kind]
    caches = two_caches(model, [1, 9, 0, 4, 13], max_rows=6)
    assert_steps_equal(model, caches, 6, tolerance)
    (other, _) = two_caches(model, [7])
    for cache in caches:
        cache.append(other)
    assert_steps_equal(model, caches, 3, tolerance)
    for cache in caches:
        cache.drop([0, 2, 5])
    assert_steps_equal(model, caches, 6, tolerance)
    assert len(decode_graph._steps[caches[0]]._recorded) >= 3


def on_cuda(kind: str) -> GPT:
    """Return the decoders' test model; of int8 weights, one that computes in float32."""
    if kind == "int8":
        return quantize(make_decoder())[0].to(CUDA)
    return make_decoder(kind).to(CUDA)


def test_recorded_steps_follow_the_weights():
    model = on_cuda("float32")
    caches = two_caches(model, [3])
    assert_steps_equal(model, caches, 3, 2e-4)
    with torch.no_grad():
        model.h[0].mlp.c_fc.weight.mul_(2)
    assert_steps_equal(model, caches, 3, 2e-4)
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight * 3, requires_grad=False)
    assert_steps_equal(model, caches, 3, 2e-4)


def test_what_was_handed_out_stays():
    model = on_cuda("float32")
    (cache, _) = two_caches(model, [0, 0])
    handed, copies = [], []
    for step in range(5):
        handed.append(decode_graph.graph_logits(model, random_ids(2, 1)[:, 0].to(CUDA) + step, cache))
        copies.append(handed[-1].clone())
    torch.cuda.synchronize()
    assert all(map(torch.equal, handed, copies))


def test_recordings_go_with_their_cache():
    """Their memory comes back to what other tensors are made of."""
    model = on_cuda("float32")

    def decode() -> None:
        cache = KVCache(model.config, batch_size=64, capacity=512, device=CUDA)
        for step in range(4):
            decode_graph.graph_logits(model, torch.full((64,), step, device=CUDA), cache)

    decode()
    gc.collect()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    decode()
    gc.collect()
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() <= before


def test_adamw():
    """One fused operation, with the step counted on the device."""
    generator = torch.Generator().manual_seed(0)
    start, grads = torch.randn(50, 30, generator=generator), torch.randn(4, 50, 30, generator=generator)
    results = []
    for device, update in ((CUDA, adamw_update), (torch.device("cpu"), adamw_update_plain)):
        parameter = start.to(device, copy=True)
        state = AdamWState.of(parameter)
        for grad in grads:
            parameter.grad = grad.to(device)
            update([parameter], [state], lr=0.1, betas=(0.8, 0.95), eps=1e-10, weight_decay=0.1)
        assert state.step.device.type == device.type
        results.append(parameter.cpu())
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)


def test_muon_makes_matrices_orthogonal_in_bfloat16():
    x_NRC = torch.randn(3, 64, 256, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalize(x_NRC.to(CUDA), torch.bfloat16).float().cpu())
    assert values.min() > 0.6
    assert values.max() < 1.4
