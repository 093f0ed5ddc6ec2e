"""GRPO: let a model practise on problems whose answers can be judged."""

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from picochat.data.bad_rows import BadRows
from picochat.data.builtin.write import WorldFiles, default_world_dir
from picochat.data.mixture import Mixture, parse_weighted_path
from picochat.engine.generate import Engine
from picochat.engine.options import SamplingOptions
from picochat.errors import UserError
from picochat.eval.generative import evaluate_generative
from picochat.model.gpt import GPT
from picochat.tasks.registry import TASKS
from picochat.tasks.task import Problem
from picochat.tokenizer.conversation import render_prompt
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.train.checkpoint import load_trainable
from picochat.train.decoding import for_decoding
from picochat.train.options import GrpoOptions
from picochat.train.policy_loss import PolicyLoss
from picochat.train.rewards import build_rewards
from picochat.train.rollouts import Question, Rollouts
from picochat.train.run import Evaluate, Run
from picochat.train.run_dir import RunDir, resolve_checkpoint
from picochat.train.run_options import complete_options
from picochat.train.stage import Progress, build_trainer, left_out, local_device, make_sampler
from picochat.train.world import World

PRACTISED = ("gsm8k", "arc", "tools", "qa")
"""Tasks that have options of their own."""
WORLD_TASKS = {"gsm8k": 1.0, "tools": 0.25, "qa": 0.25}
"""What is practised of the built-in world, with weights, if no problems are given.

Without plain questions the habit of thinking first spreads to them, and their answers end with the thought.
"""
EVAL_ROWS = 50
"""Held-out problems that are answered together."""
NUM_SAMPLES = 3
"""Held-out problems whose answers are shown now and then."""

Files = Mapping[str, Sequence[str]]
"""Task -> its files."""


def grpo(*, progress: Progress | None = None, **options: Any) -> Run:
    """Return a run, not yet started, that lets a model practise; the keywords are those of GrpoOptions."""
    return build_grpo(complete_options(GrpoOptions, "grpo", options), progress=progress)


def build_grpo(options: GrpoOptions, *, progress: Progress | None = None) -> Run:
    """Return the run that complete options describe."""
    directory = RunDir(options.directory)
    parent = _parent(options, directory)
    model, tokenizer = load_trainable(parent)
    bad_rows = BadRows(options.on_bad_row)
    questions, num_too_long = _questions(_files(options)[0], options, tokenizer, model, bad_rows)
    problems = held_out_problems(options, bad_rows)
    reference = copy.deepcopy(model).requires_grad_(False) if options.kl_beta else None
    batches = Rollouts(
        model,
        tokenizer,
        questions,
        build_rewards(options, tokenizer),
        options,
        reference=reference,
        world=World.from_env(local_device(options.device).type),
    )
    loss = PolicyLoss(
        clip_low=options.clip_eps,
        clip_high=options.clip_eps if options.clip_eps_high is None else options.clip_eps_high,
        kl_beta=options.kl_beta,
        temperature=options.temperature,
        normalize=options.normalize,
    )
    trainer = build_trainer(model, batches, loss, options, ahead=False)
    if reference is not None:
        reference.to(model.device).compute_dtype = model.compute_dtype
    held = [problem for some in problems.values() for problem in some]
    shown = [held[i * len(held) // NUM_SAMPLES] for i in range(min(NUM_SAMPLES, len(held)))]
    prompts = {problem.question: render_prompt(tokenizer, problem.messages) for problem in shown}
    return Run(
        directory,
        stage="grpo",
        options=options,
        trainer=trainer,
        tokenizer=tokenizer,
        evaluate=_make_evaluate(model, tokenizer, problems, options.max_tokens) if problems else None,
        sample=make_sampler(model, tokenizer, prompts, options.seed, max_tokens=options.max_tokens),
        report=batches.report,
        parent=str(parent),
        notes=[
            *left_out(bad_rows.summary()),
            *([_too_long_text(num_too_long, model)] if num_too_long else []),
        ],
    )


def _parent(options: GrpoOptions, directory: RunDir) -> Path:
    """Return the checkpoint that the run begins, or began, with."""
    if not options.load:
        raise UserError("--load is missing: name the run or checkpoint to begin with")
    if not (options.resume and directory.exists()):
        return resolve_checkpoint(options.load, Path(options.runs_dir))
    info = directory.info()
    if list(info["options"]["reward"]) != list(options.reward):
        # A run folder must not be able to name code that is run.
        raise UserError(
            f"run {directory.name} began with --reward {' '.join(info['options']['reward']) or '(none)'}; "
            "give the same to go on with it"
        )
    # The reference model has to stay the same, whatever --load has become since.
    parent = Path(info["parent"])
    if not parent.is_dir():
        raise UserError(f"{parent}: the checkpoint that run {directory.name} began with is gone; put it back")
    return parent


def _files(options: GrpoOptions) -> tuple[Files, Files]:
    """Return the files of training problems and of held-out problems."""
    training = {task: getattr(options, task) for task in PRACTISED}
    held_out = {task: getattr(options, f"eval_{task}") for task in PRACTISED}
    if not any(training.values()):
        world = WorldFiles(root=default_world_dir())
        for task, weight in WORLD_TASKS.items():
            training[task] = (f"{world.jsonl(task, 'train')}:{weight}",)
        if not any(held_out.values()):
            held_out |= {task: (str(world.jsonl(task, "test")),) for task in WORLD_TASKS}
    return training, held_out


def _questions(
    files: Files, options: GrpoOptions, tokenizer: Tokenizer, model: GPT, bad_rows: BadRows
) -> tuple[Mixture[Question], int]:
    """Return the problems to practise, and how many were left out for want of room for an answer."""
    room = model.config.sequence_len - min(options.max_tokens, model.config.sequence_len // 2)
    datasets: list[list[Question]] = []
    fingerprints: list[str] = []
    weights: list[float] = []
    num_too_long = 0
    for task, specs in files.items():
        for path, weight in map(parse_weighted_path, specs):
            problems = TASKS[task].load(path, on_bad_row=bad_rows)
            asked = [Question(problem, render_prompt(tokenizer, problem.messages)) for problem in problems]
            fitting = [question for question in asked if len(question.prompt_ids) <= room]
            num_too_long += len(asked) - len(fitting)
            if not fitting:
                raise UserError(f"{path}: {_too_long_text(len(asked), model)}; none is left")
            if weight:
                datasets.append(fitting)
                fingerprints.append(_fingerprint(fitting))
                weights.append(weight)
    mixture = Mixture(datasets, weights, options.seed, fingerprints=fingerprints)
    num_prompts = len({tuple(question.prompt_ids) for dataset in datasets for question in dataset})
    if num_prompts < options.prompts:
        raise UserError(
            f"--prompts {options.prompts}, but there are only {num_prompts} different problems; give more"
        )
    return mixture, num_too_long


def _fingerprint(questions: Sequence[Question]) -> str:
    """Return a text that is equal for equal prompts with equal right answers."""
    asked = [(question.prompt_ids, question.problem.answer) for question in questions]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def _too_long_text(count: int, model: GPT) -> str:
    return (
        f"{count} problems are left out: with an answer they do not fit the model's context of "
        f"{model.config.sequence_len} tokens (a model pretrained with a longer --seq-len can take them)"
    )


def held_out_problems(options: GrpoOptions, bad_rows: BadRows | None = None) -> dict[str, list[Problem]]:
    """Return the problems that validation asks, by task: of each file at most `eval_problems` at equal
    distances."""
    chosen: dict[str, list[Problem]] = {}
    for task, paths in _files(options)[1].items():
        for path in paths:
            problems = TASKS[task].load(path, on_bad_row=bad_rows or options.on_bad_row)
            count = min(options.eval_problems, len(problems))
            chosen.setdefault(task, []).extend(problems[i * len(problems) // count] for i in range(count))
    return chosen


def _make_evaluate(
    model: GPT, tokenizer: Tokenizer, problems: Mapping[str, Sequence[Problem]], max_tokens: int
) -> Evaluate:
    """Return a function that measures greedy answers to held-out problems.

    error is the share of wrong ones, over all tasks alike; the lower the better, as with every score.
    """
    options = SamplingOptions(temperature=0, max_tokens=max_tokens, seed=0)

    def evaluate() -> dict[str, float]:
        engine = Engine(for_decoding(model), tokenizer)
        results = {
            task: evaluate_generative(engine, TASKS[task], some, options, batch_size=EVAL_ROWS)
            for task, some in problems.items()
        }
        accuracy = fmean(result.accuracy for result in results.values())
        samples = [sample for result in results.values() for r in result.records for sample in r.samples]
        several = {f"accuracy_{task}": result.accuracy for task, result in results.items()}
        return {
            "error": 1 - accuracy,
            "accuracy": accuracy,
            **(several if len(several) > 1 else {}),
            "length": fmean(sample.num_tokens for sample in samples),
        }

    return evaluate
