"""`just bench-gpu`: training and decoding on a CUDA device against what it can do, measured in the same run.

Prints a table and writes build/bench-gpu.json after each line of it. With `--device cpu` and small sizes it
runs anywhere, which says nothing about speed.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro
from rich.console import Console
from rich.table import Table

from picochat.data.ahead import Ahead
from picochat.kernels.compilation import obstacle
from picochat.kernels.decode import next_logits
from picochat.model.cache import KVCache
from picochat.model.config import ModelConfig
from picochat.model.gpt import GPT
from picochat.model.init import initialize
from picochat.optim.groups import GroupedOptimizer, build_groups
from picochat.optim.options import OptimizerOptions
from picochat.optim.schedule import Schedule
from picochat.train.device import measure_peak_flops, pick_device, pick_dtype, prepare_training
from picochat.train.trainer import CrossEntropy, Trainer
from tests.bench.models import SameBatch, make_model

MFU_TARGETS = {12: 45.0, 20: 50.0}
"""Share of the measured peak by depth, in per cent."""
DECODE_TARGET = 60.0
"""Share of the speed at which the weights could be read, in per cent."""
WARM_UP = 3
"""Steps before the clock runs: what is compiled, and the one that measures the size of the updates."""
MOST_PARTS = 32
"""Micro-batches at most, if memory is short."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure training and decoding on a GPU."""

    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    depth: tuple[int, ...] = (12, 20)
    """Sizes of the model."""
    rows: int = 32
    """Sequences of a step."""
    length: int = 2048
    """Tokens of a sequence."""
    vocab_size: int = 32768
    """Size of the vocabulary."""
    steps: int = 10
    """Steps that are timed."""
    answer: int = 200
    """Tokens that are decoded."""
    kernels: tuple[Literal["auto", "compile", "portable", "plain"], ...] = ("auto", "compile", "portable")
    """What to decode with; training takes the first. The last two are there to be compared with."""
    json: Path = Path("build/bench-gpu.json")
    """Where the table is written."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the table: a share of what the device can do."""

    what: str
    tokens_per_second: float
    share: float
    """Of the peak of products, or of the speed at which the weights could be read; in per cent."""
    target: float | None
    memory: int
    """Bytes taken at most; 0 where the device does not tell."""
    note: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether the target is reached, None where there is none."""
        return None if self.target is None else self.share >= self.target


def mfu(config: ModelConfig, length: int, tokens_per_second: float, peak: float) -> float:
    """Return the model's operations a second as a share of the device's peak, in per cent."""
    return 100 * config.flops_per_token(length) * tokens_per_second / peak


def bytes_per_token(model: GPT) -> int:
    """Return the bytes of weights that every decoded token needs: blocks and head, no tables."""
    parts = (*model.h.parameters(), *model.lm_head.parameters())
    return sum(weight.numel() * weight.element_size() for weight in parts)


def measure_bandwidth(device: torch.device, num_bytes: int) -> float:
    """Return how fast memory is read, in bytes a second: the best of many sums over a large buffer."""
    words = torch.ones(num_bytes // 4, device=device)
    seconds = [timed(device, lambda: words.sum()) for _ in range(10)]
    return num_bytes / min(seconds[1:])


def timed(device: torch.device, work: Callable[[], object]) -> float:
    """Return the seconds that `work` takes, with all that it leaves to the device."""
    synchronize(device)
    began = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - began


def synchronize(device: torch.device) -> None:
    """Wait until the device has nothing to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def training_line(options: Options, depth: int, device: torch.device, peak: float) -> Line:
    """Return the speed of training steps, cut into as few parts as memory allows."""
    parts = 1
    while True:
        try:
            return _training_line(options, depth, device, peak, parts)
        except torch.OutOfMemoryError:
            parts *= 2
            if parts > min(MOST_PARTS, options.rows):
                raise
        torch.cuda.empty_cache()


def _training_line(options: Options, depth: int, device: torch.device, peak: float, parts: int) -> Line:
    config = ModelConfig.from_depth(depth, vocab_size=options.vocab_size, sequence_len=options.length)
    trainer = make_trainer(config, options, device, parts)
    for _ in range(WARM_UP):
        next(trainer)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds = timed(device, lambda: [next(trainer) for _ in range(options.steps)])
    rate = options.steps * options.rows * options.length / seconds
    return Line(
        what=f"training, depth {depth}, B{options.rows} x T{options.length}, {options.kernels[0]}",
        tokens_per_second=rate,
        share=mfu(config, options.length, rate, peak),
        target=MFU_TARGETS.get(depth),
        memory=torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0,
        note=f"in {parts} parts" if parts > 1 else "",
    )


def make_trainer(config: ModelConfig, options: Options, device: torch.device, parts: int) -> Trainer:
    """Return a trainer as `picochat pretrain` makes it."""
    kernels, dtype = options.kernels[0], pick_dtype("auto", device)
    prepare_training(device, kernels)
    model = GPT(config)
    initialize(model, seed=0)
    model.to(device)
    model.compute_dtype, model.kernels = dtype, kernels
    batches = SameBatch(options.rows, options.length, options.vocab_size)
    return Trainer(
        model,
        GroupedOptimizer(build_groups(model, OptimizerOptions()), dtype=dtype, kernels=kernels),
        Schedule(steps=10**6),
        Ahead(batches, pins=True) if device.type == "cuda" else batches,
        CrossEntropy(),
        grad_accum=parts,
        clip=1.0,
        measure_every=10**6,
    )


def decoding_line(options: Options, depth: int, device: torch.device, bandwidth: float, kernels: str) -> Line:
    """Return the speed of greedy decoding at batch 1, in the dtype that the device computes in."""
    dtype = str(pick_dtype("auto", device)).removeprefix("torch.")
    model = make_model(depth, dtype, context=options.answer + 1, vocab_size=options.vocab_size).to(device)
    model.kernels = kernels
    cache = KVCache(model.config, device=device, dtype=model.compute_dtype)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)

    @torch.no_grad()
    def decode() -> None:
        cache.truncate([0])
        ids_11 = torch.zeros(1, 1, dtype=torch.long, device=device)
        for _ in range(options.answer):
            ids_11 = next_logits(model, ids_11, cache).argmax(-1)[:, None]

    # Compiled and recorded in the first round, all of it in the second.
    seconds = [timed(device, decode) for _ in range(4)]
    rate = options.answer / min(seconds[2:])
    return Line(
        what=f"decoding, depth {depth}, batch 1, {dtype}, {kernels}",
        tokens_per_second=rate,
        share=100 * rate * bytes_per_token(model) / bandwidth,
        target=DECODE_TARGET if kernels in ("auto", "compile") else None,
        memory=torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0,
    )


def measure(options: Options, device: torch.device, peak: float, bandwidth: float) -> Iterator[Line]:
    """Yield the lines of the table."""
    for depth in options.depth:
        yield training_line(options, depth, device, peak)
        for kernels in options.kernels:
            yield decoding_line(options, depth, device, bandwidth, kernels)


def report(where: dict[str, object], lines: list[Line]) -> dict[str, object]:
    """Return the table as JSON values."""
    return {"machine": where, "lines": [{**asdict(line), "met": line.is_met} for line in lines]}


def show(where: dict[str, object], lines: list[Line]) -> Table:
    """Return the table to be printed."""
    table = Table("what", "tokens/s", "share", "target", "met", "GB", "note")
    for line in lines:
        target = "" if line.target is None else f"{line.target:.0f} %"
        met = {True: "yes", False: "no", None: "-"}[line.is_met]
        numbers = f"{line.tokens_per_second:,.0f}", f"{line.share:.1f} %"
        table.add_row(line.what, *numbers, target, met, f"{line.memory / 1e9:.1f}", line.note)
    table.caption = ", ".join(f"{name} {value}" for name, value in where.items())
    return table


def main() -> None:
    """Measure everything; what is there is written after each line."""
    options = tyro.cli(Options, description=__doc__)
    device = pick_device(options.device)
    prepare_training(device)
    is_cuda = device.type == "cuda"
    peak = measure_peak_flops(device, pick_dtype("auto", device))
    bandwidth = measure_bandwidth(device, 1 << (31 if is_cuda else 26))
    where = {
        "device": torch.cuda.get_device_name(device) if is_cuda else "CPU",
        "torch": torch.__version__,
        "dtype": str(pick_dtype("auto", device)),
        "peak TFLOP/s": round(peak / 1e12, 4),
        "read GB/s": round(bandwidth / 1e9, 1),
        "compile": (obstacle("cuda") or "works") if is_cuda else "not tried",
        "date": time.strftime("%Y-%m-%d"),
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    lines: list[Line] = []
    for line in measure(options, device, peak, bandwidth):
        lines.append(line)
        print(f"{line.what}: {line.tokens_per_second:,.0f} tok/s, {line.share:.1f} %", flush=True)
        options.json.write_text(json.dumps(report(where, lines), indent=2) + "\n", encoding="utf-8")
    Console(width=160).print(show(where, lines))


if __name__ == "__main__":
    main()
