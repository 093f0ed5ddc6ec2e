"""The training loop: an iterator whose every `next` is one optimizer step."""

import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, NoReturn, Protocol, get_args

import torch

from picochat.data.ahead import Ahead
from picochat.data.batch import IGNORE, Batch, BatchSource
from picochat.errors import UserError
from picochat.kernels.block import training_hidden
from picochat.kernels.head_loss import head_loss
from picochat.model.gpt import GPT
from picochat.optim.groups import GroupedOptimizer
from picochat.optim.schedule import Schedule
from picochat.train.events import StepDone
from picochat.train.world import World, local

Vote = Literal["stop", "pause", "checkpoint"]
VOTES: tuple[Vote, ...] = get_args(Vote)


class NonFiniteError(UserError):
    """The loss or the gradient is not a number; the weights are still those of the step before."""


class SpoiledError(NonFiniteError):
    """The weights themselves are not numbers, as after an update with spoiled moments."""


@dataclass(frozen=True, kw_only=True)
class LossSum:
    """What a loss function returns for some rows of a batch."""

    total: torch.Tensor
    """Summed loss, a scalar with a gradient."""
    stats: dict[str, torch.Tensor] = field(default_factory=dict)
    """Further sums to report, scalars; the trainer divides them by the weight of the batch."""
    maxima: dict[str, torch.Tensor] = field(default_factory=dict)
    """Scalars of which the largest over the whole batch is reported."""


class Loss(Protocol):
    """A loss is a sum over a batch and the weight that the sum is divided by."""

    def weight(self, batch: Batch) -> float:
        """Return the divisor for the whole global batch."""
        ...

    def __call__(self, model: GPT, batch: Batch) -> LossSum: ...


class CrossEntropy:
    """Mean negative log-likelihood of the target tokens."""

    def weight(self, batch: Batch) -> float:
        """Return the number of target tokens."""
        return float((batch.targets_BT != IGNORE).sum())

    def __call__(self, model: GPT, batch: Batch) -> LossSum:
        """Return the summed loss in nats."""
        x_ND = training_hidden(model, batch.ids_BT).flatten(0, 1)
        targets_N = batch.targets_BT.flatten()
        vocab_size = model.config.vocab_size
        return LossSum(
            total=head_loss(x_ND, model.lm_head.weight, targets_N, vocab_size, kernels=model.kernels)
        )


class Trainer:
    """Makes optimizer steps. It does no I/O and calls nobody back.

    A step is transactional: an exception before the weights change leaves weights, data position and random
    state as they were. An exception while they change poisons the trainer, as do weights that are found to be
    no numbers; only `load_state_dict` mends it.
    """

    def __init__(
        self,
        model: GPT,
        optimizer: GroupedOptimizer,
        schedule: Schedule,
        batches: BatchSource,
        loss: Loss,
        *,
        grad_accum: int = 1,
        clip: float = 0.0,
        measure_every: int = 10,
        peak_flops: float | None = None,
        world: World | None = None,
    ) -> None:
        self.model, self.optimizer, self.schedule = model, optimizer, schedule
        self.batches, self.loss = batches, loss
        self.grad_accum, self.clip, self.measure_every = grad_accum, clip, measure_every
        self.peak_flops = peak_flops
        self.world = world or World()
        self.step = 0
        """Optimizer steps done."""
        self.tokens_seen = 0
        self.lr_scale = 1.0
        """Factor on every learning rate beside that of the schedule."""
        self.votes: set[Vote] = set()
        """What this rank wants to happen after the next step."""
        self.agreed: set[Vote] = set()
        """What some rank wanted to happen after the last step."""
        self.last: StepDone | None = None
        """What the latest step returned, for whoever was interrupted before getting it."""
        self._is_poisoned = False

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.schedule.steps

    @property
    def is_sound(self) -> bool:
        """Whether the weights are those after a step; not if an interrupt came while they changed."""
        return not self._is_poisoned

    def poison(self) -> None:
        """Make no step more: the weights or the moments were found to be spoiled."""
        self._is_poisoned = True

    def __iter__(self) -> "Trainer":
        return self

    def __next__(self) -> StepDone:
        """Make one optimizer step and return what happened."""
        self._refuse_if_poisoned()
        if self.step >= self.steps:
            raise StopIteration
        began = time.perf_counter()
        before = self.batches.state_dict()
        try:
            # Lifted when all is undone or all is done: an interrupt may come between any two lines.
            self._is_poisoned = True
            batch = next(self.batches)
            sums = self._gradients(batch)
        except BaseException as error:
            self.optimizer.zero_grad()
            self.batches.load_state_dict(before)
            self._is_poisoned = isinstance(error, SpoiledError)
            raise
        factor = self.schedule.factor(self.step) * self.lr_scale
        ratios = self._update(factor)
        done = self._report(batch, sums, ratios, factor, time.perf_counter() - began)
        # One line: an interrupt before it finds no step done, one after it finds all of it.
        self.step, self.tokens_seen, self.last, self._is_poisoned = done.step, done.tokens_seen, done, False
        return done

    def _report(
        self,
        batch: Batch,
        sums: dict[str, float],
        ratios: dict[str, float],
        factor: float,
        seconds: float,
    ) -> StepDone:
        tokens = int((batch.targets_BT != IGNORE).sum())
        loss, grad_norm = sums.pop("loss"), sums.pop("grad_norm")
        self.agreed = {vote for vote in VOTES if sums.pop(vote) > 0}
        rate = batch.ids_BT.numel() / seconds
        flops = self.model.config.flops_per_token(batch.ids_BT.shape[1]) * rate / self.world.size
        return StepDone(
            step=self.step + 1,
            loss=loss,
            tokens=tokens,
            tokens_seen=self.tokens_seen + tokens,
            seconds=seconds,
            tokens_per_second=rate,
            mfu=flops / self.peak_flops if self.peak_flops else None,
            lr={group.name: group.lr * factor for group in self.optimizer.groups},
            grad_norm=grad_norm,
            update_ratio=ratios,
            stats={**batch.stats, **sums},
            stop="stop" in self.agreed,
        )

    def vote(self, votes: Collection[Vote]) -> set[Vote]:
        """Return what some rank wants. A collective."""
        counts = torch.tensor([float(vote in votes) for vote in VOTES], device=self.model.device)
        self.world.sum_(counts)
        return {vote for vote, count in zip(VOTES, counts.tolist(), strict=True) if count > 0}

    def state_dict(self) -> dict[str, Any]:
        """Return the position of the run as JSON values; weights and moments are saved beside it."""
        self._refuse_if_poisoned()
        return {"step": self.step, "tokens_seen": self.tokens_seen, "batches": self.batches.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a saved position."""
        self.step, self.tokens_seen = state["step"], state["tokens_seen"]
        self.batches.load_state_dict(state["batches"])
        self.optimizer.zero_grad()
        self.last = None
        self._is_poisoned = False

    def _refuse_if_poisoned(self) -> None:
        if self._is_poisoned:
            raise RuntimeError(
                "the last step was interrupted while weights changed, or it spoiled them; load a checkpoint "
                "to go on"
            )

    def _gradients(self, batch: Batch) -> dict[str, float]:
        """Fill the gradients of the global batch; return the sums to report, after the one host sync."""
        weight = self.loss.weight(batch)
        if weight == 0:
            raise UserError("a batch holds no token to learn from; is everything masked or cut off?")
        device = self.model.device
        first, last = self.world.share(batch.ids_BT.shape[0])
        bounds = [first + (last - first) * i // self.grad_accum for i in range(self.grad_accum + 1)]
        totals: dict[str, torch.Tensor] = {"loss": torch.zeros((), device=device)}
        maxima: dict[str, torch.Tensor] = {}
        for start, stop in pairwise(bounds):
            # A rank without rows goes over one that does not count: its peers wait for it.
            counts = float(stop > start)
            rows = batch.rows(start, stop) if counts else batch.rows(0, 1)
            part = self.loss(self.model, rows.to(device))
            (part.total * (counts / weight)).backward()
            for name, value in {"loss": part.total, **part.stats}.items():
                share = value.detach() * (counts / weight)
                totals[name] = totals.get(name, torch.zeros((), device=device)) + share
            for name, value in part.maxima.items():
                maxima[name] = torch.maximum(maxima.get(name, value), value)
        grads = self.optimizer.reduce_gradients()
        totals["square"] = sum_of_squares(grads, device)
        # One reduction carries everything that ranks must agree on.
        totals |= {vote: torch.full((), float(vote in self.votes), device=device) for vote in VOTES}
        # A sum over ranks gives maxima too where each rank fills a slot of its own.
        slots = torch.zeros(len(maxima), self.world.size, device=device)
        for slot, value in zip(slots, maxima.values(), strict=True):
            slot[self.world.rank] = value
        packed = torch.cat((torch.stack([total.float() for total in totals.values()]), slots.flatten()))
        self.world.sum_(packed)
        if isinstance(self.batches, Ahead):
            self.batches.draw()  # an accelerator is still at work on this batch
        values = packed.tolist()
        sums = dict(zip(totals, values, strict=False))
        sums["grad_norm"] = sums.pop("square") ** 0.5
        for i, name in enumerate(maxima):
            first = len(totals) + i * self.world.size
            sums[name] = max(values[first : first + self.world.size])
        if not all(map(math.isfinite, sums.values())):
            self._refuse(sums)
        if self.clip and sums["grad_norm"] > self.clip:
            torch._foreach_mul_(grads, self.clip / sums["grad_norm"])
        return sums

    def _refuse(self, sums: dict[str, float]) -> NoReturn:
        """Raise the error that says whether it is the gradient or the weights that are not finite."""
        numbers = ", ".join(f"{name} {value:g}" for name, value in sums.items() if name not in VOTES)
        named = dict(self.model.named_parameters())
        spoiled = torch.stack([(~local(weight).isfinite()).any().float() for weight in named.values()])
        self.world.sum_(spoiled)
        for name, is_spoiled in zip(named, spoiled.tolist(), strict=True):
            if is_spoiled:
                raise SpoiledError(
                    f"step {self.step + 1}: {numbers}; an earlier update has spoiled {name}, which holds NaN "
                    "or infinity; resume from the newest checkpoint with a lower --lr"
                )
        raise NonFiniteError(
            f"step {self.step + 1}: {numbers}; the weights are untouched; resume with a lower --lr"
        )

    def _update(self, factor: float) -> dict[str, float]:
        """Change the weights; every `measure_every` steps return |update| / |weights| of each group."""
        optimizer = self.optimizer
        before: list[list[torch.Tensor]] = []
        if self.step % self.measure_every == 0:
            parts = (optimizer.parts(group).values() for group in optimizer.groups)
            before = [[part.clone() for part in group] for group in parts]
        optimizer.step(factor)
        optimizer.zero_grad()
        if not before:
            return {}
        device = self.model.device
        squares = torch.zeros(len(before), 2, device=device)
        for i, (group, old) in enumerate(zip(optimizer.groups, before, strict=True)):
            change = torch._foreach_sub(list(optimizer.parts(group).values()), old)
            squares[i] = torch.stack((sum_of_squares(change, device), sum_of_squares(old, device)))
        self.world.sum_(squares)
        ratios = (squares[:, 0] / squares[:, 1].clamp(min=1e-24)).sqrt().tolist()
        named = {group.name: ratio for group, ratio in zip(optimizer.groups, ratios, strict=True)}
        spoiled = [f"{ratio:g} for {name}" for name, ratio in named.items() if not math.isfinite(ratio)]
        if spoiled:
            raise SpoiledError(
                f"step {self.step + 1}: |update| / |weights| is {', '.join(spoiled)}, so the weights are "
                "spoiled; resume from the newest checkpoint with a lower --lr"
            )
        return named


def sum_of_squares(tensors: Sequence[torch.Tensor], device: torch.device) -> torch.Tensor:
    """Return the sum of the squares of all elements, a float32 scalar; 0 of none."""
    if not tensors:
        return torch.zeros((), device=device)
    return torch.nn.utils.get_total_norm(tensors).float().square()
