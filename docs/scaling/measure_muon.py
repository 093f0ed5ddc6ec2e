"""Time the optimizer's part of a step: `torchrun --nproc-per-node N docs/scaling/measure_muon.py`.

Every rank keeps to one core, as on a machine with a device per rank. Prints seconds: medians over the steps.
"""

import os
import statistics
import time

import torch

from picochat.model.config import ModelConfig
from picochat.model.gpt import GPT
from picochat.model.init import initialize
from picochat.optim.groups import GroupedOptimizer, build_groups
from picochat.optim.options import OptimizerOptions
from picochat.train.device import prepare_training
from picochat.train.world import World

DEPTH = 8
VOCABULARY = 1024
"""Small, for the matrices are what is measured."""
STEPS = 9


def main() -> None:
    """Measure and print, on the first rank."""
    world = World.from_env("cpu")
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[world.rank % len(cores)]})
    prepare_training(torch.device("cpu"))
    model = GPT(ModelConfig.from_depth(DEPTH, vocab_size=VOCABULARY))
    initialize(model, seed=0)
    optimizer = GroupedOptimizer(build_groups(model, OptimizerOptions()), peers=world)
    generator = torch.Generator().manual_seed(0)
    grads = [torch.randn(p.shape, generator=generator) / world.size for p in optimizer.parameters]
    seconds: dict[str, list[float]] = {"reduce": [], "update": [], "spread": []}
    for _ in range(STEPS):
        for parameter, grad in zip(optimizer.parameters, grads, strict=True):
            parameter.grad = grad.clone()
        world.barrier()
        marks = [time.perf_counter()]
        optimizer.reduce_gradients()
        marks.append(time.perf_counter())
        optimizer.update(1.0)
        marks.append(time.perf_counter())
        optimizer.division.spread_weights()
        marks.append(time.perf_counter())
        for name, begin, end in zip(seconds, marks, marks[1:], strict=False):
            seconds[name].append(end - begin)
    if world.is_main:
        text = ", ".join(f"{name} {statistics.median(values):.3f} s" for name, values in seconds.items())
        print(f"depth {DEPTH}, {world.size} ranks: {text}")


if __name__ == "__main__":
    main()
