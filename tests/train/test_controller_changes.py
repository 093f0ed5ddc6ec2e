"""Changes while it trains: marked, taken, resumed exactly, or refused."""

import math

import pytest

from picochat.errors import UserError
from picochat.train.controller import Controller
from picochat.train.events import Changed
from picochat.train.run_dir import RunDir
from tests.train.driving import LONG, rest, until


def test_a_change_is_marked_and_takes_effect(tmp_path, control, whole_curves, curve):
    controller = control(tmp_path)
    controller.step(3)
    rest(controller)
    controller.change(lr_scale=0.25, batch_size=4)
    controller.step(2)
    rest(controller)
    assert controller.history.changes() == [Changed(step=3, lr_scale=0.25, batch_size=4)]
    rows = RunDir(tmp_path / "a").rows("changed")
    assert rows == [{"event": "changed", "step": 3, "lr_scale": 0.25, "batch_size": 4}]
    steps = controller.history.steps()
    assert [event.tokens for event in steps] == [32, 32, 32, 64, 64]
    with_and_without = [control(tmp_path, "b", save_every=0), controller]
    with_and_without[0].step(5)
    rest(with_and_without[0])
    plain = with_and_without[0].history.steps()
    assert plain[2].lr == steps[2].lr
    assert steps[3].lr == pytest.approx({name: 0.25 * lr for name, lr in plain[3].lr.items()})
    assert curve(RunDir(tmp_path / "a"))[:3] == whole_curves["pretrain"][:3]


@pytest.mark.parametrize("checkpoint", ["none after the change", "at the change", "after the change"])
def test_a_changed_run_resumes_exactly(tmp_path, control, curve, checkpoint):
    every = {"none after the change": 4, "at the change": 5, "after the change": 6}[checkpoint]

    def change_after_5(controller: Controller) -> None:
        controller.step(5)
        rest(controller)
        controller.change(lr_scale=0.3, batch_size=3)

    whole = control(tmp_path, "whole", save_every=every)
    change_after_5(whole)
    whole.run()
    until(lambda: whole.state == "finished")

    killed = control(tmp_path, "killed", save_every=every)
    change_after_5(killed)
    killed.step(2)
    rest(killed)
    # As if the process had been killed: nothing is saved at the end.
    killed.call(lambda run: setattr(run, "stop", lambda: [])).result(LONG)
    killed.close()
    killed.join(LONG)
    resumed = control(tmp_path, "killed", resume=True)
    rest(resumed)
    assert resumed.progress[0] == every
    resumed.run()
    until(lambda: resumed.state == "finished")
    assert curve(RunDir(tmp_path / "killed")) == curve(RunDir(tmp_path / "whole"))
    assert [change.step for change in resumed.history.changes()] == [5]


def test_a_change_made_anew_makes_later_ones_void(tmp_path, control):
    controller = control(tmp_path, save_every=3)
    controller.step(5)
    rest(controller)
    controller.change(lr_scale=0.3)
    controller.call(lambda run: setattr(run, "stop", lambda: [])).result(LONG)
    controller.close()
    controller.join(LONG)
    resumed = control(tmp_path, resume=True)
    rest(resumed)
    assert resumed.progress[0] == 3
    resumed.change(batch_size=4)
    resumed.run()
    until(lambda: resumed.state == "finished")
    assert resumed.history.changes() == [Changed(step=3, lr_scale=1.0, batch_size=4)]
    again = control(tmp_path, resume=True)
    rest(again)
    assert again.call(lambda run: (run.trainer.lr_scale, run.trainer.batches.batch_size)).result(LONG) == (
        1,
        4,
    )


def test_an_option_given_anew_counts_for_more_than_a_change(tmp_path, control):
    controller = control(tmp_path)
    controller.step(3)
    controller.change(lr_scale=0.5, batch_size=4)
    rest(controller)
    controller.close()
    controller.join(LONG)
    resumed = control(tmp_path, resume=True, batch_size=8)
    resumed.step()
    rest(resumed)
    assert resumed.history.steps()[-1].tokens == 128
    assert resumed.history.changes()[-1] == Changed(step=3, lr_scale=0.5, batch_size=8)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"lr_scale": 0.0}, "a factor over 0"),
        ({"lr_scale": math.nan}, "a factor over 0"),
        ({"batch_size": 0}, "--batch-size must be at least 1"),
        ({"batch_size": 3}, "must be a multiple of --grad-accum 2"),
    ],
)
def test_what_can_not_be_changed_is_said(tmp_path, control, change, complaint):
    controller = control(tmp_path, grad_accum=2)
    with pytest.raises(UserError, match=complaint):
        controller.change(**change).result(LONG)
    assert complaint in str(controller.error)
    controller.step()
    rest(controller)
    assert (controller.state, controller.error, controller.history.changes()) == ("paused", None, [])
