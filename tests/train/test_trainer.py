"""The trainer: accumulation, transactional steps, events."""

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from picochat.data.ahead import Ahead
from picochat.data.batch import IGNORE, Batch
from picochat.errors import UserError
from picochat.model.gpt import GPT
from picochat.train import trainer as module
from picochat.train.trainer import CrossEntropy, LossSum, NonFiniteError, Trainer


def weights_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_loss_falls_with_either_optimizer(optimizer, small_trainer):
    events = list(small_trainer(steps=40, optimizer=optimizer))
    assert [event.step for event in events] == list(range(1, 41))
    assert events[0].loss == pytest.approx(math.log(40), abs=0.05)
    assert events[-1].loss < 0.5 * events[0].loss


@pytest.mark.parametrize("masked", [False, True], ids=["all targets", "targets masked unevenly"])
def test_accumulation_changes_nothing(masked: bool, small_trainer):
    """Also where micro-batches hold different numbers of targets: they count by token, not by micro-batch."""
    runs = {n: list(small_trainer(masked=masked, grad_accum=n, lr=0.002)) for n in (1, 2, 4)}
    for events in runs.values():
        assert [event.loss for event in events] == pytest.approx([event.loss for event in runs[1]], rel=2e-5)
        assert [event.grad_norm for event in events] == pytest.approx(
            [event.grad_norm for event in runs[1]], rel=2e-4
        )
        assert [event.tokens for event in events] == [event.tokens for event in runs[1]]


def test_the_gradient_is_that_of_the_mean_over_targets(small_trainer):
    """The first step's gradient, computed once more from `loss_per_token`."""
    trainer, other = small_trainer(masked=True, grad_accum=4, steps=1), small_trainer()
    batch = next(small_trainer(masked=True).batches)
    losses = other.model.loss_per_token(batch.ids_BT, batch.targets_BT)
    (losses.sum() / (batch.targets_BT != IGNORE).sum()).backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in other.model.parameters() if p.grad is not None])
    event = next(trainer)
    assert event.grad_norm == pytest.approx(norm.item(), rel=1e-5)
    assert event.tokens == (batch.targets_BT != IGNORE).sum()


def test_long_gradients_are_clipped(small_trainer):
    """AdamW with clipping at a tenth of the norm: the moments show the clipped gradient."""
    free, clipped = small_trainer(steps=1), small_trainer(steps=1)
    norm = next(free).grad_norm
    clipped.clip = norm / 10
    assert next(clipped).grad_norm == pytest.approx(norm)
    free_m, clipped_m = (t.optimizer.adamw["lm_head.weight"].m for t in (free, clipped))
    torch.testing.assert_close(clipped_m, free_m / 10, rtol=1e-4, atol=1e-9)


def test_update_ratios_are_measured_now_and_then(small_trainer):
    trainer = small_trainer(steps=8, measure_every=3)
    ratios = []
    for _ in range(8):
        before = weights_of(trainer)
        event = next(trainer)
        ratios.append(event.update_ratio)
        if event.update_ratio:
            change = (trainer.model.lm_head.weight - before["lm_head.weight"]).norm()
            expected = (change / before["lm_head.weight"].norm()).item()
            assert event.update_ratio["head"] == pytest.approx(expected, rel=1e-4)
            assert set(event.update_ratio) == {group.name for group in trainer.optimizer.groups}
    assert [bool(ratio) for ratio in ratios] == [True, False, False, True, False, False, True, False]


def test_measuring_changes_nothing(small_trainer):
    a, b = small_trainer(measure_every=1), small_trainer(measure_every=100)
    assert [event.loss for event in a] == [event.loss for event in b]
    assert same(weights_of(a), weights_of(b))


def test_events_are_strict_json(small_trainer):
    for event in small_trainer(masked=True, peak_flops=1e12):
        row = json.loads(json.dumps(event.row(), allow_nan=False))
        assert row["event"] == "step"
        assert row["mfu"] > 0
        assert row["lr"]["matrices"] > 0
        assert row["tokens_per_second"] == pytest.approx(8 * 12 / row["seconds"])
    assert row["step"] == 8
    assert row["tokens_seen"] > row["tokens"]


def test_it_ends_and_stays_ended(small_trainer):
    trainer = small_trainer(steps=2)
    assert len(list(trainer)) == 2
    assert list(trainer) == []


def test_its_vote_to_stop_is_told_with_the_next_step(small_trainer):
    trainer = small_trainer()
    assert not next(trainer).stop
    trainer.votes = {"stop"}
    assert next(trainer).stop


def test_a_saved_position_goes_on_exactly(small_trainer):
    whole = [event.loss for event in small_trainer()]
    first, second = small_trainer(), small_trainer()
    losses = [next(first).loss for _ in range(3)]
    second.model.load_state_dict(first.model.state_dict())
    second.optimizer.load_state_dict({n: t.clone() for n, t in first.optimizer.state_dict().items()})
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert losses + [event.loss for event in second] == whole


@dataclass
class Failing:
    """Cross entropy that fails at one call: by an exception, or by a figure that is none."""

    call: int
    failure: BaseException | str
    calls: int = 0

    def weight(self, batch: Batch) -> float:
        return CrossEntropy().weight(batch)

    def __call__(self, model: GPT, batch: Batch) -> LossSum:
        self.calls += 1
        result = CrossEntropy()(model, batch)
        if self.calls != self.call:
            return result
        if isinstance(self.failure, BaseException):
            raise self.failure
        if self.failure == "stat":
            return LossSum(total=result.total, stats={"kl": torch.tensor(math.inf)})
        if self.failure == "gradient":
            # The value is finite, its gradient is not: d sqrt(x) / dx at 0.
            return LossSum(total=result.total + (model.resid_lambdas[0] * 0).sqrt())
        return LossSum(total=result.total * float(self.failure))


@pytest.mark.parametrize("failure", ["nan", "inf", "-inf", "stat", "gradient"])
@pytest.mark.parametrize("call", [1, 6], ids=["first step", "third step, second micro-batch"])
def test_what_is_not_finite_never_reaches_the_weights(failure: str, call: int, small_trainer):
    whole = [event.loss for event in small_trainer(grad_accum=2)]
    trainer = small_trainer(grad_accum=2, loss=Failing(call, failure))
    losses = [next(trainer).loss for _ in range((call - 1) // 2)]
    before, position = weights_of(trainer), trainer.state_dict()
    with pytest.raises(NonFiniteError, match=f"^step {len(losses) + 1}: .*the weights are untouched"):
        next(trainer)
    assert same(weights_of(trainer), before)
    assert trainer.state_dict() == position
    assert all(parameter.grad is None for parameter in trainer.model.parameters())
    assert losses + [event.loss for event in trainer] == whole


@pytest.mark.parametrize("call", range(1, 9))
def test_an_interrupt_in_a_micro_batch_changes_nothing(call: int, small_trainer):
    whole = [event.loss for event in small_trainer(steps=4, grad_accum=2)]
    trainer = small_trainer(steps=4, grad_accum=2, loss=Failing(call, KeyboardInterrupt()))
    losses = []
    with pytest.raises(KeyboardInterrupt):
        losses.extend(event.loss for event in trainer)
    assert losses + [event.loss for event in trainer] == whole
    final = small_trainer(steps=4, grad_accum=2)
    list(final)
    assert same(weights_of(trainer), weights_of(final))


def test_an_interrupt_in_the_batch_source_changes_nothing(small_trainer, monkeypatch):
    whole = [event.loss for event in small_trainer()]
    trainer = small_trainer()
    losses = [next(trainer).loss for _ in range(3)]
    source = type(trainer.batches)
    draw = source.__next__

    def interrupted(self):
        draw(self)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(source, "__next__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            next(trainer)
    assert losses + [event.loss for event in trainer] == whole


def test_an_interrupt_while_weights_change_poisons(small_trainer, monkeypatch):
    trainer = small_trainer()
    next(trainer)
    weights = weights_of(trainer)
    moments = {name: tensor.clone() for name, tensor in trainer.optimizer.state_dict().items()}
    position = trainer.state_dict()
    with monkeypatch.context() as patch:
        patch.setattr(trainer.optimizer, "_muon_step", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            next(trainer)
    for refused in (lambda: next(trainer), trainer.state_dict):
        with pytest.raises(RuntimeError, match="load a checkpoint"):
            refused()
    trainer.model.load_state_dict(weights)
    trainer.optimizer.load_state_dict(moments)
    trainer.load_state_dict(position)
    whole = [event.loss for event in small_trainer()]
    assert [event.loss for event in trainer] == whole[1:]


def test_an_interrupt_at_any_line_is_undone_or_poisons(small_trainer):
    """A KeyboardInterrupt before the k-th line that a step executes in trainer.py, for every k."""
    whole = [event.loss for event in small_trainer(steps=4)]
    source = str(Path(module.__file__))
    outcomes, line = [], 0
    while True:
        line += 1
        trainer = small_trainer(steps=4, measure_every=2)
        losses = [next(trainer).loss for _ in range(2)]
        count = 0

        def trace(frame, event, arg, line=line):
            nonlocal count
            if frame.f_code.co_filename != source:
                return None
            if event == "line":
                count += 1
                if count == line:
                    raise KeyboardInterrupt
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            losses.append(next(trainer).loss)
            break  # the step has fewer lines
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        try:
            position = trainer.state_dict()
        except RuntimeError:
            outcomes.append("poisoned")
            continue
        outcomes.append("done" if position["step"] == 3 else "undone")
        if position["step"] == 3:
            assert trainer.last is not None
            losses.append(trainer.last.loss)
        assert losses + [event.loss for event in trainer] == whole, f"line {line} of a step"
    assert outcomes[0] == "undone"
    assert outcomes[-1] == "done"
    assert "poisoned" in outcomes
    assert outcomes.count("undone") > 20


def test_a_batch_without_targets_is_named(small_trainer):
    trainer = small_trainer(masked=True)
    trainer.batches.shape = (0, 12)
    with pytest.raises(UserError, match="no token to learn from"):
        next(trainer)
    assert trainer.batches.count == 0


def test_a_batch_whose_targets_are_all_masked_is_named(small_trainer):
    trainer = small_trainer(masked_rows=slice(None))
    before = weights_of(trainer)
    with pytest.raises(UserError, match="no token to learn from; is everything masked"):
        next(trainer)
    assert trainer.batches.count == 0
    assert same(weights_of(trainer), before)


@pytest.mark.parametrize("masked_rows", [slice(0, 4), slice(0, 7)], ids=["half", "all but one"])
def test_micro_batches_without_targets_count_nothing(masked_rows: slice, small_trainer):
    """The first rows are masked altogether."""
    losses = [
        [event.loss for event in small_trainer(steps=3, grad_accum=accum, lr=0.002, masked_rows=masked_rows)]
        for accum in (1, 4)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=2e-5)


def test_batches_drawn_ahead_change_nothing(small_trainer):
    """Nor does an error in a step: the batch that was drawn for the next one is not lost."""
    plain, drawn = small_trainer(steps=6), small_trainer(steps=6)
    drawn.batches = Ahead(drawn.batches, pins=False)
    losses = [next(drawn).loss for _ in range(3)]
    state = drawn.state_dict()
    assert state["batches"] == {"count": 3}
    weight = drawn.model.lm_head.weight
    first = weight.detach()[0, 0].clone()
    with torch.no_grad():
        weight[0, 0] = torch.nan
    with pytest.raises(NonFiniteError):
        next(drawn)
    with torch.no_grad():
        weight[0, 0] = first
    drawn.load_state_dict(state)
    losses += [event.loss for event in drawn]
    assert losses == [event.loss for event in plain]
