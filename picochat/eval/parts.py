"""Evaluation in parts, so that scores and their intervals can be watched as they fill."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from picochat.engine.options import SamplingOptions
from picochat.eval.bpb import BitsPerByte, bits_per_byte
from picochat.eval.generative import Record, TaskResult, evaluate_generative
from picochat.eval.intervals import NUM_RESAMPLES, Interval
from picochat.eval.multiple_choice import ChoiceRecord, ChoiceResult, evaluate_choices
from picochat.eval.scores import TaskScore, score_answers, score_choices
from picochat.eval.suite import Job

if TYPE_CHECKING:
    from picochat.model.gpt import GPT
    from picochat.tokenizer.tokenizer import Tokenizer


def evaluate_parts(
    model: "GPT",
    tokenizer: "Tokenizer",
    job: Job,
    *,
    sampling: SamplingOptions,
    num_samples: int = 1,
    part_size: int = 8,
) -> Iterator[TaskScore]:
    """Yield the score on the first `part_size` problems, on twice as many, and so on; the last is on all.

    It is what `picochat.eval.suite.evaluate` returns, if `sampling` has a seed.
    """
    from picochat.engine.generate import Engine

    engine = Engine(model, tokenizer)
    answers: list[Record] = []
    choices: list[ChoiceRecord] = []
    for start in range(0, len(job.problems), part_size):
        part = job.problems[start : start + part_size]
        if job.method == "written":
            answered = evaluate_generative(
                engine, job.task, part, sampling, batch_size=part_size * num_samples, num_samples=num_samples
            )
            answers += answered.records
            whole = TaskResult(task=answered.task, num_samples=num_samples, records=tuple(answers))
            yield score_answers(whole)
        else:
            chosen = evaluate_choices(model, tokenizer, part, scoring=job.method)
            choices += chosen.records
            yield score_choices(ChoiceResult(task=chosen.task, scoring=job.method, records=tuple(choices)))


@dataclass(frozen=True, kw_only=True)
class TextScore:
    """How well a model predicts a text, measured part by part."""

    parts: tuple[BitsPerByte, ...]

    @property
    def bpb(self) -> float:
        """Bits per byte of all parts together."""
        return sum(part.bits for part in self.parts) / self.num_bytes

    @property
    def num_bytes(self) -> int:
        return sum(part.bytes for part in self.parts)

    @property
    def interval(self) -> Interval:
        """95 % interval of `bpb` by drawing the parts again (see `bootstrap_interval`)."""
        return _quantiles(_resampled(self))


def text_difference(first: TextScore, second: TextScore) -> tuple[float, Interval]:
    """Return the second's bits per byte less the first's with the 95 % interval, paired by part.

    Where one is measured on fewer parts, on those.
    """
    count = min(len(first.parts), len(second.parts))
    a, b = TextScore(parts=first.parts[:count]), TextScore(parts=second.parts[:count])
    # The same parts are drawn for both.
    return b.bpb - a.bpb, _quantiles(_resampled(b) - _resampled(a))


def measure_parts(
    model: "GPT",
    documents: Sequence[Sequence[int]],
    *,
    tokenizer: "Tokenizer",
    part_size: int = 8,
) -> Iterator[TextScore]:
    """Yield the bits per byte of the first `part_size` documents, of twice as many, and so on to all."""
    parts: list[BitsPerByte] = []
    for start in range(0, len(documents), part_size):
        part = documents[start : start + part_size]
        parts.append(
            bits_per_byte(
                model, part, tokenizer=tokenizer, seq_len=model.config.sequence_len, batch_size=part_size
            )
        )
        yield TextScore(parts=tuple(parts))


def _resampled(score: TextScore) -> np.ndarray:
    """Return the bits per byte of as many parts as there are, drawn with replacement, again and again."""
    bits_P = np.array([part.bits for part in score.parts])
    bytes_P = np.array([part.bytes for part in score.parts], dtype=np.float64)
    drawn_RP = np.random.default_rng(0).integers(len(bits_P), size=(NUM_RESAMPLES // 10, len(bits_P)))
    return bits_P[drawn_RP].sum(axis=1) / bytes_P[drawn_RP].sum(axis=1)


def _quantiles(values: np.ndarray) -> Interval:
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(float(low), float(high))
