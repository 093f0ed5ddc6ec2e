"""What the stages share while a run is put together."""

import os
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from picochat.data.batch import BatchSource
from picochat.engine.generate import Engine
from picochat.engine.options import SamplingOptions
from picochat.errors import UserError
from picochat.model.gpt import GPT
from picochat.optim.groups import GroupedOptimizer, build_groups
from picochat.optim.schedule import Schedule
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.train.device import measure_peak_flops, pick_device, pick_dtype, prepare_training
from picochat.train.options import RunOptions
from picochat.train.run import Sample
from picochat.train.run_dir import RunDir
from picochat.train.trainer import Loss, Trainer
from picochat.train.world import World

Options = TypeVar("Options", bound=RunOptions)

Progress = Callable[[str, int, int], None]
"""Told about long preparations: what, done, of how many."""

SAMPLE_TOKENS = 48


def stored_options(options_class: type[Options], directory: RunDir) -> Options:
    """Return the options that a run was begun with, set to resume it."""
    if not directory.exists():
        raise UserError(f"--resume: there is no run at {directory.path}; leave --resume out to begin it")
    known = {field.name for field in fields(options_class)}
    row = {name: value for name, value in directory.info()["options"].items() if name in known}
    row = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    return options_class(**{**row, "resume": True})


def complete_options(options_class: type[Options], stage: str, given: Mapping[str, Any]) -> Options:
    """Return options from keywords: over those of the run if it is resumed, else over the defaults."""
    if given.get("resume"):
        name = given.get("run")
        if not name:
            raise UserError("--resume needs --run NAME, the run to go on with")
        directory = RunDir(Path(given.get("runs_dir", "runs")) / name)
        return replace(stored_options(options_class, directory), **given)
    return name_run(options_class(**given), stage)


def name_run(options: Options, stage: str) -> Options:
    """Return the options with the name of a run: the given one, or the first free `STAGE-N`."""
    if options.run is not None:
        if not options.run or Path(options.run).name != options.run or options.run.startswith("."):
            raise UserError(f"--run {options.run!r}: a run's name is one plain folder name")
        return options
    number = 1
    while (Path(options.runs_dir) / f"{stage}-{number}").exists():
        number += 1
    return replace(options, run=f"{stage}-{number}")


def local_device(name: str) -> torch.device:
    """Return the device of this rank."""
    device = pick_device(name)
    if device.type == "cuda" and device.index is None and "LOCAL_RANK" in os.environ:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device


def build_trainer(model: GPT, batches: BatchSource, loss: Loss, options: RunOptions) -> Trainer:
    """Put `model` on its device and return the trainer that the options describe."""
    device = local_device(options.device)
    prepare_training(device)
    world = World.from_env(device.type)
    if options.batch_size % (world.size * options.grad_accum):
        raise UserError(
            f"--batch-size {options.batch_size} must be a multiple of the {world.size} processes "
            f"times --grad-accum {options.grad_accum}"
        )
    dtype = pick_dtype(options.dtype, device)
    model.to(device)
    model.compute_dtype = dtype
    optimizer = GroupedOptimizer(build_groups(model, options), momentum=options.momentum, dtype=dtype)
    schedule = Schedule(steps=options.steps, warmup=options.warmup, warmdown=options.warmdown)
    return Trainer(
        model,
        optimizer,
        schedule,
        batches,
        loss,
        grad_accum=options.grad_accum,
        clip=options.clip,
        peak_flops=measure_peak_flops(device, dtype),
        world=world,
    )


def make_sampler(model: GPT, tokenizer: Tokenizer, prompts: dict[str, list[int]], seed: int) -> Sample:
    """Return a function that continues the prompts, given as text -> ids, differently at each step."""

    def sample(step: int) -> list[tuple[str, str]]:
        options = SamplingOptions(temperature=0.7, top_k=20, max_tokens=SAMPLE_TOKENS, seed=seed + step)
        answers = Engine(model, tokenizer).generate_batch(list(prompts.values()), options)
        return [(prompt, tokenizer.decode(answer.ids)) for prompt, [answer] in zip(prompts, answers, strict=True)]

    return sample
