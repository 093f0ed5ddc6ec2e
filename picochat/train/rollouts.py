"""The batches of GRPO: the model answers problems, its answers are judged, and it learns from them.

B: rows (answers behind their prompts), T: positions, N: tokens that the policy chose, of some rows.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from picochat.data.batch import IGNORE, Batch
from picochat.data.mixture import Mixture
from picochat.engine.generate import Engine
from picochat.model.gpt import GPT
from picochat.tasks.task import Problem
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.train.decoding import for_decoding
from picochat.train.events import RolloutDone
from picochat.train.groups import Group, judge, statistics
from picochat.train.options import GrpoOptions
from picochat.train.policy_loss import chosen_logprobs
from picochat.train.rewards import Reward
from picochat.train.world import World

POSITIONS_AT_ONCE = 16384
"""Rows times positions of a forward pass that fixes log-probabilities."""


class Question(NamedTuple):
    """A problem and its prompt."""

    problem: Problem
    prompt_ids: list[int]


@dataclass(kw_only=True)
class Row:
    """An answer behind its prompt, as it is trained on; JSON values."""

    ids: list[int]
    chosen: list[bool]
    """For each id whether the policy chose it."""
    advantage: float
    old_logprobs: list[float] | None = None
    """Of the chosen ids, under the policy that chose them."""
    reference_logprobs: list[float] | None = None
    """Of the chosen ids, under the reference model."""


class Rollouts:
    """A batch source whose batches the model itself writes; every one serves for `epochs` steps.

    What is drawn is a function of the seed, the number of the batch and the weights alone, so a run that is
    resumed draws what the uninterrupted one does.
    """

    def __init__(
        self,
        model: GPT,
        tokenizer: Tokenizer,
        questions: Mixture[Question],
        rewards: Mapping[str, Reward],
        options: GrpoOptions,
        *,
        reference: GPT | None = None,
        world: World | None = None,
    ) -> None:
        """`reference` is the model that the KL divergence is measured from; none where that is not wanted.
        It has to be where `model` is trained."""
        self.model, self.tokenizer, self.reference = model, tokenizer, reference
        self.questions, self.rewards, self.options = questions, rewards, options
        self.world = world or World()
        self._num_prompts = len({tuple(q.prompt_ids) for dataset in questions.datasets for q in dataset})
        self._number = 0
        """Batches drawn so far."""
        self._epoch = 0
        """Steps that the present batch has served for."""
        self._rows: list[Row] = []
        """The present batch while it is to serve again."""
        self._drawn: list[Group] = []
        self._trained: list[Group] = []
        self.latest: list[Group] = []
        """The groups that were drawn last, for whoever wants to look at them; none after a resume."""

    def __next__(self) -> Batch:
        """Return the next batch; the model answers anew when the last one has served its time."""
        stats: dict[str, float] = {}
        if self._epoch == 0:
            stats = self._collect()
        else:
            self._drawn, self._trained = [], []
        batch = self._batch(stats)
        self._epoch = (self._epoch + 1) % self.options.epochs
        if self._epoch == 0:
            self._rows = []
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Return the position, and the present batch if it is to serve again."""
        return {
            "questions": self.questions.state_dict(),
            "number": self._number,
            "epoch": self._epoch,
            "rows": [dict(vars(row)) for row in self._rows],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a saved position."""
        self.questions.load_state_dict(state["questions"])
        self._number, self._epoch = state["number"], state["epoch"]
        self._rows = [Row(**row) for row in state["rows"]]
        self._drawn, self._trained, self.latest = [], [], []

    def report(self, step: int) -> list[RolloutDone]:
        """Return what there is to tell of the answers that step `step` was the first to be trained on."""
        trained = {id(group) for group in self._trained}
        return [
            group.event(step=step, index=i, is_trained=id(group) in trained)
            for i, group in enumerate(self._drawn[: self.options.log_groups])
        ]

    def _collect(self) -> dict[str, float]:
        """Let the model answer; set the rows to train on and return the statistics."""
        began = time.perf_counter()
        self._number += 1
        self._drawn = self.latest = self._draw_groups()
        size = self.options.prompts
        if self.options.dynamic_sampling:
            # Those that teach nothing come in only where there are not enough others.
            self._trained = sorted(self._drawn, key=lambda group: not group.has_signal)[:size]
        else:
            self._trained = self._drawn
        self._rows = [row for group in self._trained for row in rows_of(group)]
        seconds = time.perf_counter() - began
        if self.options.epochs > 1:
            for row, logprobs in zip(self._rows, self._logprobs(self.model), strict=True):
                row.old_logprobs = logprobs
        if self.reference is not None:
            for row, logprobs in zip(self._rows, self._logprobs(self.reference), strict=True):
                row.reference_logprobs = logprobs
        num_tokens = sum(answer.num_tokens for group in self._drawn for answer in group.answers)
        return {
            **statistics(self._drawn),
            "replaced": float(len(self._drawn) - len(self._trained)),
            "rollout_seconds": seconds,
            "generated_per_second": num_tokens / seconds,
        }

    def _draw_groups(self) -> list[Group]:
        """Return all groups that were drawn for this batch."""
        options = self.options
        digest = hashlib.blake2b(f"{options.seed} {self._number}".encode(), digest_size=7).digest()
        seed = int.from_bytes(digest, "little")
        engine = Engine(for_decoding(self.model), self.tokenizer)
        taken: set[tuple[int, ...]] = set()
        groups: list[Group] = []
        for _ in range(options.max_draws if options.dynamic_sampling else 1):
            missing = options.prompts - sum(group.has_signal for group in groups)
            questions = self._draw_questions(missing, taken)
            if not questions:
                break
            first, last = self.world.share(len(questions))
            own = [group.row() for group in self._answer(engine, questions[first:last], seed)]
            rows = [row for share in self.world.gather(own, self.model.device) for row in share]
            groups += map(Group.from_row, rows)
        return groups

    def _draw_questions(self, count: int, taken: set[tuple[int, ...]]) -> list[Question]:
        """Return `count` questions that are not `taken`, fewer if there are no more; and take them.

        The same prompt twice in a batch would be answered by the same numbers twice.
        """
        found: list[Question] = []
        while len(found) < count and len(taken) < self._num_prompts:
            question = self.questions.get(self.questions.draw())
            key = tuple(question.prompt_ids)
            if key not in taken:
                taken.add(key)
                found.append(question)
        return found

    def _answer(self, engine: Engine, questions: Sequence[Question], seed: int) -> list[Group]:
        options = self.options
        prompts = [question.prompt_ids for question in questions]
        completions = engine.generate_batch(prompts, options.sampling(seed=seed), options.group_size)
        return [
            judge(problem, prompt_ids, answers, self.rewards, divide_by_std=options.advantage_std)
            for (problem, prompt_ids), answers in zip(questions, completions, strict=True)
        ]

    def _ids_and_targets(self, rows: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ids and targets (B, T) of rows, padded to the longest of the whole batch."""
        length = max(len(row.ids) for row in self._rows)
        pad_id = self.tokenizer.special["<|pad|>"]
        return ids_and_targets(rows, length=length, pad_id=pad_id)

    @torch.no_grad()
    def _logprobs(self, model: GPT) -> list[list[float]]:
        """Return the log-probabilities that `model` gives the chosen ids of each row."""
        num_rows = max(1, POSITIONS_AT_ONCE // max(len(row.ids) for row in self._rows))
        result: list[list[float]] = []
        for start in range(0, len(self._rows), num_rows):
            ids_BT, targets_BT = self._ids_and_targets(self._rows[start : start + num_rows])
            logprob_N, _ = chosen_logprobs(
                model, ids_BT.to(model.device), targets_BT.to(model.device), self.options.temperature
            )
            counts = (targets_BT != IGNORE).sum(dim=1).tolist()
            result += [values.tolist() for values in logprob_N.cpu().split(counts)]
        return result

    def _batch(self, stats: dict[str, float]) -> Batch:
        ids_BT, targets_BT = self._ids_and_targets(self._rows)
        extras = {"advantages": torch.tensor([row.advantage for row in self._rows])}
        # At the first step the policy still is the one that chose.
        kept = {
            "old_logprobs": [row.old_logprobs for row in self._rows] if self._epoch else [],
            "reference_logprobs": [row.reference_logprobs for row in self._rows],
        }
        for name, columns in kept.items():
            values = [value for logprobs in columns if logprobs is not None for value in logprobs]
            if values:
                extras[name] = torch.zeros(ids_BT.shape)
                extras[name][targets_BT != IGNORE] = torch.tensor(values)
        return Batch(ids_BT=ids_BT, targets_BT=targets_BT, extras=extras, stats=stats)


def rows_of(group: Group) -> list[Row]:
    """Return the answers of a group as rows to train on."""
    return [
        Row(
            ids=group.prompt_ids + answer.ids,
            chosen=[False] * len(group.prompt_ids) + [not forced for forced in answer.forced],
            advantage=answer.advantage,
        )
        for answer in group.answers
    ]


def ids_and_targets(rows: Sequence[Row], *, length: int, pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and targets (B, T) of rows, padded on the right to T + 1 = `length`; the targets are the ids
    that the policy chose."""
    ids_BT = torch.full((len(rows), length - 1), pad_id)
    targets_BT = torch.full((len(rows), length - 1), IGNORE)
    for b, row in enumerate(rows):
        ids = torch.tensor(row.ids)
        ids_BT[b, : len(ids) - 1] = ids[:-1]
        targets_BT[b, : len(ids) - 1] = torch.where(torch.tensor(row.chosen)[1:], ids[1:], IGNORE)
    return ids_BT, targets_BT
