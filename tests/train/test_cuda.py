"""Training on a CUDA device: it learns, goes on after a stop, and waits for the device once a step."""

import pytest
import torch

from picochat.data.ahead import Ahead
from picochat.train.checkpoint import load_checkpoint
from picochat.train.device import measure_peak_flops, prepare_training
from picochat.train.events import StepDone
from picochat.train.run import Run
from tests.cuda import CUDA, needs_cuda

pytestmark = needs_cuda

OPTIONS = {
    "device": "cuda",
    "dtype": "auto",
    "depth": 2,
    "seq_len": 128,
    "batch_size": 8,
    "steps": 30,
    "eval_every": 0,
    "save_every": 15,
    "eval_tokens": 500,
}


def losses_of(run: Run) -> dict[int, float]:
    return {event.step: event.loss for event in run if isinstance(event, StepDone)}


@pytest.mark.parametrize("kernels", ["auto", "portable", "plain"])
def test_it_learns_and_goes_on_after_a_stop(kernels: str, tmp_path, begin):
    """The device does not add up in the same order each time: the curve is near, not equal to the bit."""
    whole = losses_of(begin(tmp_path, "whole", kernels=kernels, **OPTIONS))
    assert list(whole) == list(range(1, 31))
    assert whole[30] < 0.8 * whole[1]
    first = begin(tmp_path, kernels=kernels, **OPTIONS)
    for event in first:
        if isinstance(event, StepDone) and event.step == 15:
            first.request_stop()
    second = losses_of(begin(tmp_path, resume=True))
    assert list(second) == list(range(16, 31))
    assert list(second.values()) == pytest.approx([whole[step] for step in second], rel=0.03)


def test_a_checkpoint_does_not_know_the_device(tmp_path, begin):
    run = begin(tmp_path, **{**OPTIONS, "steps": 5, "dtype": "float32"})
    list(run)
    model, _ = load_checkpoint(list(run.directory.checkpoints().values())[-1])
    ids_BT = torch.arange(60).view(2, 30)
    with torch.no_grad():
        torch.set_float32_matmul_precision("highest")
        there = run.model(ids_BT.to(run.model.device)).cpu()
        torch.testing.assert_close(there, model(ids_BT), rtol=1e-3, atol=1e-3)


def test_what_follows_pretraining_trains_too(tmp_path, begin_sft):
    options = {"device": "cuda", "dtype": "auto", "steps": 6}
    losses = losses_of(begin_sft(tmp_path, **options))
    assert losses[6] < losses[1]


def test_a_step_waits_for_the_device_once(tmp_path, begin, monkeypatch):
    """Also where its gradient is made in parts and clipped. The sizes of updates are not measured here."""
    run = begin(tmp_path, **{**OPTIONS, "clip": 1e-3, "grad_accum": 2})
    trainer = run.trainer
    for _ in range(3):  # compiled, and a batch drawn ahead
        next(trainer)
    assert isinstance(trainer.batches, Ahead)
    tolist, waits = torch.Tensor.tolist, []

    def counted(tensor: torch.Tensor) -> list:
        torch.cuda.set_sync_debug_mode("default")
        try:
            if tensor.is_cuda:
                waits.append(tensor.shape)
            return tolist(tensor)
        finally:
            torch.cuda.set_sync_debug_mode("error")

    monkeypatch.setattr(torch.Tensor, "tolist", counted)
    trainer.measure_every = 10**6
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            next(trainer)
    finally:
        torch.cuda.set_sync_debug_mode("default")
        run.close()
    assert len(waits) == 3


def test_batches_wait_in_pinned_memory(tmp_path, begin):
    run = begin(tmp_path, **OPTIONS)
    source = run.trainer.batches
    source.draw()
    batch = next(source)
    assert batch.ids_BT.is_pinned()
    assert batch.targets_BT.is_pinned()
    there = batch.rows(2, 5).to(torch.device("cuda"))
    assert torch.equal(there.ids_BT.cpu(), batch.ids_BT[2:5])
    run.close()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_peak_is_that_of_a_graphics_processor(dtype: torch.dtype):
    prepare_training(CUDA)
    measure_peak_flops.cache_clear()
    assert 1e12 < measure_peak_flops(CUDA, dtype) < 1e16
