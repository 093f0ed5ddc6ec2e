"""What the stages share while a run is put together."""

import os
from collections.abc import Callable

import torch

from picochat.data.ahead import Ahead
from picochat.data.batch import BatchSource
from picochat.engine.generate import Engine
from picochat.engine.options import SamplingOptions
from picochat.kernels.compilation import compiles, obstacle
from picochat.model.gpt import GPT
from picochat.optim.groups import GroupedOptimizer, build_groups
from picochat.optim.schedule import Schedule
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.train.decoding import for_decoding
from picochat.train.device import measure_peak_flops, pick_device, pick_dtype, prepare_training
from picochat.train.options import RunOptions
from picochat.train.run import Sample
from picochat.train.trainer import Loss, Trainer
from picochat.train.world import World

Progress = Callable[[str, int, int], None]
"""Told about long preparations: what, done, of how many."""

SAMPLE_TOKENS = 48


def local_device(name: str) -> torch.device:
    """Return the device of this rank."""
    device = pick_device(name)
    if device.type == "cuda" and device.index is None and "LOCAL_RANK" in os.environ:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device


def build_trainer(
    model: GPT, batches: BatchSource, loss: Loss, options: RunOptions, *, ahead: bool = True
) -> Trainer:
    """Put `model` on its device and return the trainer that the options describe.

    ahead: whether a batch may be made before the step with the one before it is done.
    """
    device = local_device(options.device)
    prepare_training(device, options.kernels)
    world = World.from_env(device.type)
    options.check_rows(world.size)
    dtype = pick_dtype(options.dtype, device)
    if options.shard:
        world.shard(model, device)
    else:
        model.to(device)
    model.compute_dtype = dtype
    model.kernels = options.kernels
    optimizer = GroupedOptimizer(
        build_groups(model, options),
        momentum=options.momentum,
        dtype=dtype,
        kernels=options.kernels,
        peers=world,
    )
    schedule = Schedule(steps=options.steps, warmup=options.warmup, warmdown=options.warmdown)
    return Trainer(
        model,
        optimizer,
        schedule,
        Ahead(batches, pins=True) if ahead and device.type == "cuda" else batches,
        loss,
        grad_accum=options.grad_accum,
        clip=options.clip,
        peak_flops=measure_peak_flops(device, dtype),
        world=world,
    )


def compile_notes(model: GPT) -> list[str]:
    """Return what there is to be told about torch.compile in the training of `model`."""
    if compiles(model.kernels, model.device):
        return ["the first step compiles the model (torch.compile), which may take a minute"]
    if model.kernels == "auto" and model.device.type == "cuda":
        return [f"torch.compile does not work here, so training is slower: {obstacle('cuda')}"]
    return []


def left_out(*summaries: str) -> list[str]:
    """Return what readers say about the rows that they left out (`BadRows.summary`), each once."""
    return [f"--on-bad-row skip: {summary}" for summary in dict.fromkeys(summaries) if summary]


def make_sampler(
    model: GPT,
    tokenizer: Tokenizer,
    prompts: dict[str, list[int]],
    seed: int,
    *,
    max_tokens: int = SAMPLE_TOKENS,
) -> Sample:
    """Return a function that continues the prompts, given as text -> ids, differently at each step.

    Of a sharded model every rank has to call it.
    """

    def sample(step: int) -> list[tuple[str, str]]:
        options = SamplingOptions(temperature=0.7, top_k=20, max_tokens=max_tokens, seed=seed + step)
        engine = Engine(for_decoding(model), tokenizer)
        answers = engine.generate_batch(list(prompts.values()), options)
        # Tags of thoughts and tool calls are worth seeing, the one that ends the answer is not.
        return [
            (prompt, tokenizer.decode(answer.ids[:-1] if answer.finish_reason == "stop" else answer.ids))
            for prompt, [answer] in zip(prompts, answers, strict=True)
        ]

    return sample
