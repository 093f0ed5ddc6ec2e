"""Groups of answers to one problem: judged, compared with each other, summed up. Needs no torch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, pstdev
from typing import Any

from picochat.engine.events import Completion
from picochat.eval.generative import pass_at_k
from picochat.tasks.registry import TASKS
from picochat.tasks.task import Problem
from picochat.tokenizer.messages import Message, messages_to_json
from picochat.train.events import RolloutDone
from picochat.train.rewards import Reward

CUT_OFF = ("length", "context")
"""Finish reasons of an answer that did not come to its end."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer and what was made of it; JSON values."""

    ids: list[int]
    """Token ids behind the prompt."""
    forced: list[bool]
    """For each id whether the engine put it there."""
    logprobs: list[float]
    """For each id its log-probability when it was drawn, at the temperature it was drawn at; 0 if forced."""
    parts: list[dict[str, Any]] | str
    """Its text, thoughts, tool calls and results, in the form of chat data."""
    extracted: str | None
    correct: bool
    rewards: dict[str, float]
    """What each reward function said, unweighted."""
    reward: float
    """Their weighted sum."""
    advantage: float
    """How much better than its group."""
    num_tokens: int
    """Tokens that the model chose."""
    finish_reason: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class Group:
    """All answers to one problem in a step; JSON values."""

    problem: str
    """The problem's id."""
    task: str
    level: str
    prompt: list[dict[str, Any]]
    """The conversation that was answered, in the form of chat data."""
    prompt_ids: list[int]
    gold: str
    answers: tuple[Answer, ...]

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> "Group":
        """Return the group that `row` was made from."""
        return cls(**{**row, "answers": tuple(Answer(**answer) for answer in row["answers"])})

    def row(self) -> dict[str, Any]:
        """Return the group as JSON values."""
        return asdict(self)

    @property
    def has_signal(self) -> bool:
        """Whether some answer was rewarded better than another."""
        return any(answer.advantage for answer in self.answers)

    @property
    def num_correct(self) -> int:
        return sum(answer.correct for answer in self.answers)

    def event(self, *, step: int, index: int, is_trained: bool) -> RolloutDone:
        """Return what rollouts.jsonl keeps of the group."""
        answers = [asdict(answer) for answer in self.answers]
        for answer in answers:
            del answer["ids"], answer["forced"], answer["logprobs"]
        return RolloutDone(
            step=step,
            index=index,
            task=self.task,
            problem=self.problem,
            level=self.level,
            prompt=self.prompt,
            gold=self.gold,
            is_trained=is_trained,
            answers=answers,
        )


def judge(
    problem: Problem,
    prompt_ids: Sequence[int],
    completions: Sequence[Completion],
    rewards: Mapping[str, Reward],
    *,
    divide_by_std: bool,
) -> Group:
    """Return the group that the completions of one problem are."""
    task = TASKS[problem.task]
    said = [{name: reward.function(problem, c) for name, reward in rewards.items()} for c in completions]
    sums = [math.fsum(rewards[name].weight * value for name, value in parts.items()) for parts in said]
    answers = tuple(
        Answer(
            ids=completion.ids,
            forced=completion.forced,
            logprobs=completion.sampling_logprobs,
            parts=_content(completion),
            extracted=task.extract(problem, completion.text),
            correct=task.is_correct(problem, completion.text),
            rewards=parts,
            reward=reward,
            advantage=advantage,
            num_tokens=completion.num_tokens,
            finish_reason=completion.finish_reason,
            seed=completion.seed,
        )
        for completion, parts, reward, advantage in zip(
            completions, said, sums, advantages(sums, divide_by_std=divide_by_std), strict=True
        )
    )
    return Group(
        problem=problem.id,
        task=problem.task,
        level=problem.level,
        prompt=messages_to_json(problem.messages),
        prompt_ids=list(prompt_ids),
        gold=problem.answer,
        answers=answers,
    )


def advantages(rewards: Sequence[float], *, divide_by_std: bool) -> list[float]:
    """Return each reward less their mean, over their standard deviation (of the population) if asked for.

    Equal rewards give exact zeros. GRPO (arXiv 2402.03300) divides; Dr. GRPO (arXiv 2503.20783) does not,
    since it makes much of small differences.
    """
    if min(rewards) == max(rewards):
        return [0.0] * len(rewards)
    mean = fmean(rewards)
    scale = pstdev(rewards) if divide_by_std else 1.0
    return [(reward - mean) / scale for reward in rewards]


def statistics(groups: Sequence[Group]) -> dict[str, float]:
    """Return what is to be seen of a step's groups, by name.

    reward, reward_std (over all answers), reward_NAME (each part, unweighted), accuracy (also of each task,
    if there are several), pass@k (share of problems with a right answer among k, unbiased estimate), length
    (mean, and length_max) in tokens, truncated (share of answers cut off), no_signal (share of groups all of
    whose answers were rewarded alike).
    """
    answers = [answer for group in groups for answer in group.answers]
    size = len(groups[0].answers)
    ks = sorted({1 << i for i in range(size.bit_length()) if 1 << i <= size} | {size})
    tasks = sorted({group.task for group in groups})
    return {
        "reward": fmean(answer.reward for answer in answers),
        "reward_std": pstdev(answer.reward for answer in answers),
        **{
            f"reward_{name}": fmean(answer.rewards[name] for answer in answers) for name in answers[0].rewards
        },
        "accuracy": fmean(answer.correct for answer in answers),
        **{
            f"accuracy_{task}": fmean(g.num_correct / size for g in groups if g.task == task)
            for task in tasks
            if len(tasks) > 1
        },
        **{f"pass@{k}": fmean(pass_at_k(size, group.num_correct, k) for group in groups) for k in ks},
        "length": fmean(answer.num_tokens for answer in answers),
        "length_max": float(max(answer.num_tokens for answer in answers)),
        "truncated": fmean(answer.finish_reason in CUT_OFF for answer in answers),
        "no_signal": fmean(not group.has_signal for group in groups),
    }


def _content(completion: Completion) -> list[dict[str, Any]] | str:
    message = Message(role="assistant", parts=completion.parts)
    return messages_to_json([message])[0]["content"]
