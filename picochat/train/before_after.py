"""The model that a run began with beside the model in training: the same questions to both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from picochat.engine.events import Completion
from picochat.engine.generate import Engine
from picochat.engine.options import SamplingOptions
from picochat.errors import UserError
from picochat.eval.generative import Record, TaskResult, evaluate_generative
from picochat.eval.scores import ModelScores, score_answers
from picochat.model.gpt import GPT
from picochat.plots.answers import Cell, Pair
from picochat.tasks.registry import TASKS
from picochat.tasks.task import Problem, user_turn
from picochat.tokenizer.conversation import render_prompt
from picochat.tokenizer.messages import Message, messages_to_json
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.train.decoding import for_decoding
from picochat.train.load import load
from picochat.train.run import Run

ROWS_AT_ONCE = 50
"""Problems that are answered together."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How two models did on the same problems."""

    step: int
    """Steps that the second had been trained for."""
    before: ModelScores
    now: ModelScores
    pairs: tuple[Pair, ...]
    """The problems of all tasks, one after the other."""


class Beginning:
    """The model that a run began with. It is loaded when it is first asked, and asked everything once.

    All answers are greedy, so that a difference is one of the weights.
    """

    def __init__(self, run: Run) -> None:
        parent = run.parent if run.parent is not None else run.directory.info()["parent"]
        self.path = Path(parent)
        self._loaded: tuple[GPT, Tokenizer] | None = None
        self._answers: dict[tuple[str, int], Completion] = {}
        self._results: dict[tuple[str, tuple[str, ...], int], TaskResult] = {}

    def compare(self, run: Run, questions: Sequence[str], *, max_tokens: int) -> list[Pair]:
        """Return the questions with both models' answers.

        Raises:
            UserError: the checkpoint that the run began with is gone, or a question is too long.
        """
        keys = {text: (text, max_tokens) for text in questions}
        missing = [text for text in keys if keys[text] not in self._answers]
        if missing:
            answers = ask(*self._model(run), missing, max_tokens)
            self._answers |= {keys[text]: answer for text, answer in zip(missing, answers, strict=True)}
        now = ask(for_decoding(run.model), run.tokenizer, questions, max_tokens)
        return [
            Pair(
                question=text,
                before=_cell(self._answers[keys[text]]),
                now=_cell(completion),
            )
            for text, completion in zip(questions, now, strict=True)
        ]

    def compare_problems(
        self, run: Run, problems: Mapping[str, Sequence[Problem]], *, max_tokens: int
    ) -> Comparison:
        """Return how both models do on problems, by task.

        Raises:
            UserError: the checkpoint that the run began with is gone.
        """
        before: dict[str, TaskResult] = {}
        for task, some in problems.items():
            key = (task, tuple(problem.id for problem in some), max_tokens)
            if key not in self._results:
                self._results[key] = _evaluate(*self._model(run), task, some, max_tokens)
            before[task] = self._results[key]
        model = for_decoding(run.model)
        now = {
            task: _evaluate(model, run.tokenizer, task, some, max_tokens) for task, some in problems.items()
        }
        step = run.trainer.step
        pairs = [pair for task in problems for pair in map(_pair, before[task].records, now[task].records)]
        return Comparison(
            step=step,
            before=_scores("at the start", str(self.path), before),
            now=_scores(f"step {step}", str(run.directory.path), now),
            pairs=tuple(pairs),
        )

    def _model(self, run: Run) -> tuple[GPT, Tokenizer]:
        if self._loaded is None:
            if not self.path.is_dir():
                raise UserError(f"{self.path}: the checkpoint that the run began with is gone; put it back")
            model, tokenizer = load(self.path)
            model.to(run.model.device)
            # Else the answers would differ by rounding too.
            model.compute_dtype, model.kernels = run.model.compute_dtype, run.model.kernels
            self._loaded = for_decoding(model), tokenizer
        return self._loaded


def ask(model: GPT, tokenizer: Tokenizer, questions: Sequence[str], max_tokens: int) -> list[Completion]:
    """Return the greedy answers to questions, each the first of a conversation."""
    prompts = [render_prompt(tokenizer, [user_turn(text)]) for text in questions]
    options = SamplingOptions(temperature=0, max_tokens=max_tokens, seed=0)
    return [answer for [answer] in Engine(model, tokenizer).generate_batch(prompts, options)]


def _evaluate(
    model: GPT, tokenizer: Tokenizer, task: str, problems: Sequence[Problem], max_tokens: int
) -> TaskResult:
    options = SamplingOptions(temperature=0, max_tokens=max_tokens, seed=0)
    return evaluate_generative(
        Engine(model, tokenizer), TASKS[task], problems, options, batch_size=ROWS_AT_ONCE
    )


def _scores(name: str, spec: str, results: Mapping[str, TaskResult]) -> ModelScores:
    return ModelScores(
        name=name, spec=spec, tasks={task: score_answers(result) for task, result in results.items()}
    )


def _cell(completion: Completion) -> Cell:
    [row] = messages_to_json([Message(role="assistant", parts=completion.parts)])
    note = "" if completion.finish_reason == "stop" else "cut off"
    return Cell(parts=row["content"], note=note)


def _pair(before: Record, now: Record) -> Pair:
    return Pair(question=_question(before.prompt), gold=before.gold, before=_judged(before), now=_judged(now))


def _question(prompt: Sequence[Mapping[str, Any]]) -> str:
    content = prompt[-1]["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def _judged(record: Record) -> Cell:
    [sample] = record.samples
    calls = [
        part
        for call, result in zip(sample.tool_calls, [*sample.tool_results, ""], strict=False)
        for part in ({"type": "tool_call", "text": call}, {"type": "tool_result", "text": result})
        if part["text"]
    ]
    thinking = [{"type": "thinking", "text": sample.thinking}] if sample.thinking else []
    text = [{"type": "text", "text": sample.text}] if sample.text else []
    return Cell(parts=[*thinking, *calls, *text], is_right=sample.correct)
