"""A run: what happens between steps, samples, commands, failures, notes."""

import json
import math
import os
import shutil
import threading
from pathlib import Path

import pytest
import torch

from picochat.errors import UserError
from picochat.train.events import EvalDone, Finished, Paused, SampleDone, Saved, StepDone
from picochat.train.run_dir import RunDir
from picochat.train.trainer import NonFiniteError
from tests.train.driving import finish, lines_of


def test_what_happens_when(tmp_path, begin):
    run = begin(tmp_path, steps=7, eval_every=3, sample_every=4, save_every=2, prompts=("the", "a big"))
    assert run.notes == []
    events = list(run)
    assert [f"{event.event} {event.step}" for event in events] == [
        "eval 0", "sample 0", "sample 0",
        "step 1",
        "step 2", "saved 2",
        "step 3", "eval 3",
        "step 4", "sample 4", "sample 4", "saved 4",
        "step 5",
        "step 6", "eval 6", "saved 6",
        "step 7", "eval 7", "sample 7", "sample 7", "saved 7",
        "finished 7",
    ]  # fmt: skip
    assert list(run) == []
    directory = RunDir(tmp_path / "a")
    rows = [json.loads(line) for line in lines_of(directory, "metrics.jsonl")]
    assert rows == [json.loads(json.dumps(event.row())) for event in events if event.event != "sample"]
    assert [row["prompt"] for row in directory.samples()] == ["the", "a big"] * 3
    assert directory.status()["state"] == "finished"
    assert directory.info()["num_parameters"] == run.model.config.num_parameters()


def test_nothing_is_measured_that_is_not_asked_for(tmp_path, begin):
    run = begin(tmp_path, steps=3, eval_every=0, sample_every=0, save_every=0, prompts=())
    assert finish(run) == ["eval 0", "step 1", "step 2", "step 3", "eval 3", "saved 3", "finished 3"]


def test_samples_end_without_the_stop_token(tmp_path, begin, begin_sft, monkeypatch):
    for number, start in enumerate((begin, begin_sft)):
        run = start(tmp_path, f"run{number}", steps=1, prompts=("the cat",))
        end = run.tokenizer.special["<|assistant_end|>"]
        monkeypatch.setattr(run.model, "kernels", "plain")  # the compiled step calls no layer
        monkeypatch.setattr(run.model, "logits", lambda x_BTD, end=end: one_hot(x_BTD, end, 280))
        event = next(event for event in run if isinstance(event, SampleDone))
        assert event.text == ""
        run.close()


def one_hot(x_BTD: torch.Tensor, id: int, vocab_size: int) -> torch.Tensor:
    """Return logits that are all for `id`."""
    logits_BTV = torch.full((*x_BTD.shape[:2], vocab_size), -15.0)
    logits_BTV[..., id] = 15.0
    return logits_BTV


def test_only_measured_checkpoints_can_be_best(tmp_path, begin):
    """A checkpoint between two validations must not take the score of the last one."""
    run = begin(tmp_path, steps=4, eval_every=2, save_every=1, keep=9)
    finish(run)
    scores = run.directory.scores()
    evals = {row["step"]: row["metrics"]["bpb"] for row in run.directory.rows("eval")}
    assert scores == {1: None, 2: evals[2], 3: None, 4: evals[4]}


def test_a_save_before_the_measurement_that_is_due_keeps_its_score(tmp_path, begin):
    run = begin(tmp_path, steps=4, eval_every=2, save_every=0)
    while run.trainer.step < 2:
        next(run)
    assert isinstance(run.save(), Saved)
    assert run.directory.scores() == {2: run.score}
    assert finish(run)[0] == "eval 2"
    assert [row["step"] for row in run.directory.rows("eval")] == [0, 2, 4]
    assert run.directory.rows("eval")[1]["metrics"]["bpb"] == run.directory.scores()[2]


def test_the_newest_and_the_best_are_kept(tmp_path, begin):
    run = begin(tmp_path, steps=8, eval_every=1, save_every=1, keep=2)
    scores = iter([9.0, 5.0, 4.0, 3.0, 6.0, 2.0, 7.0, 7.5, 8.0])  # of steps 0 to 8
    run.evaluate = lambda: {"score": next(scores)}
    kept = [list(run.directory.checkpoints()) for event in run if isinstance(event, Saved)]
    assert kept == [[1], [1, 2], [2, 3], [3, 4], [4, 5], [5, 6], [5, 6, 7], [5, 7, 8]]


def test_a_run_is_stopped_and_goes_on(tmp_path, stage, whole_curves, curve):
    run = stage(tmp_path)
    for event in run:
        if event.step == 4 and isinstance(event, StepDone):
            run.request_stop()
    assert run.directory.status()["state"] == "stopped"
    assert list(run.directory.checkpoints()) == [3, 4]
    run = stage(tmp_path, resume=True)
    assert run.trainer.step == 4
    assert finish(run)[:1] == ["step 5"]
    assert curve(run.directory) == whole_curves[run.stage]
    assert finish(stage(tmp_path, resume=True)) == ["finished 12"]


def test_commands(tmp_path, begin, whole_curves, curve):
    run = begin(tmp_path)
    told = []
    for event in run:
        told.append(f"{event.event} {event.step}")
        if told[-1] == "step 1":
            run.directory.send("checkpoint")
        if told[-1] == "step 4":
            run.directory.send("pause")
        if isinstance(event, Paused):
            assert run.directory.status()["state"] == "paused"
            run.directory.send("checkpoint")
        if told[-1] == "saved 4":
            run.directory.send("resume")
        if told[-1] == "step 5":
            assert run.directory.status()["state"] == "running"
            run.directory.send("stop")
    assert told == [
        "eval 0", "step 1", "step 2", "saved 2", "step 3", "saved 3", "step 4", "paused 4", "saved 4",
        "step 5", "eval 5", "saved 5", "finished 5",
    ]  # fmt: skip
    run = begin(tmp_path, resume=True)
    finish(run)
    assert curve(run.directory) == whole_curves["pretrain"]


def test_a_paused_run_can_be_stopped(tmp_path, begin):
    run = begin(tmp_path)
    run.directory.send("pause")
    assert isinstance(next(run), Paused)
    threading.Timer(0.2, run.directory.send, ["stop"]).start()
    assert finish(run)[-1] == "finished 0"
    assert run.directory.status()["state"] == "stopped"


def test_of_two_commands_the_last_counts(tmp_path, begin, open_runs):
    """The second arrives while the first is being taken."""
    run = begin(tmp_path)
    open_runs.append(run)
    next(run)
    run.directory.send("pause")
    replace = os.replace

    def slow_replace(source, target):
        replace(source, target)
        if Path(source).name == "control.json":
            os.replace = replace
            run.directory.send("stop")

    os.replace = slow_replace
    try:
        assert isinstance(next(run), Paused)
    finally:
        os.replace = replace
    assert finish(run)[-1] == "finished 0"


def test_what_was_asked_of_the_process_before_is_forgotten(tmp_path, begin):
    run = begin(tmp_path, steps=2)
    run.close()
    run.directory.send("stop")
    assert finish(begin(tmp_path, resume=True))[-1] == "finished 2"


def test_only_one_process_trains_a_run(tmp_path, begin, open_runs):
    open_runs.append(begin(tmp_path))
    with pytest.raises(UserError, match=r"another process is training this run; stop it first"):
        begin(tmp_path, resume=True)
    with pytest.raises(UserError, match="holds a run already; give --resume"):
        begin(tmp_path)
    open_runs[0].close()
    begin(tmp_path, resume=True).close()


def test_a_failed_run_says_so_and_resumes(tmp_path, begin, whole_curves, curve):
    run = begin(tmp_path)
    loss = run.trainer.loss
    run.trainer.loss = type("Loss", (), {
        "weight": loss.weight,
        "__call__": lambda self, model, batch: module_loss(loss(model, batch)),
    })()  # fmt: skip

    def module_loss(result):
        return type(result)(total=result.total * (math.nan if run.trainer.step == 4 else 1.0))

    with pytest.raises(NonFiniteError):
        finish(run)
    status = run.directory.status()
    assert status["state"] == "failed"
    assert status["message"].startswith("step 5: loss nan")
    assert finish(run) == []
    run = begin(tmp_path, resume=True)
    assert run.trainer.step == 3
    finish(run)
    assert curve(run.directory) == whole_curves["pretrain"]


def test_sft_resumes_without_its_parent(tmp_path, begin_sft, base_dir, whole_curves, curve):
    shutil.copytree(base_dir / "base", tmp_path / "parent")
    run = begin_sft(tmp_path, load="parent")
    while run.trainer.step < 5:
        next(run)
    run.close()
    shutil.rmtree(tmp_path / "parent")
    run = begin_sft(tmp_path, resume=True)
    assert run.directory.info()["parent"].endswith("step-00000012")
    finish(run)
    assert curve(run.directory) == whole_curves["sft"]


def test_rows_left_out_are_told(tmp_path, begin, begin_sft, text_file, chat_file):
    rows = [json.dumps({"text": "the cat sat"})] * 30 + ["{broken"]
    (tmp_path / "text.jsonl").write_text("\n".join(rows), encoding="utf-8")
    run = begin(tmp_path / "runs", data=(str(tmp_path / "text.jsonl"),), on_bad_row="skip")
    run.close()
    assert len(run.notes) == 1
    assert "1 bad row left out" in run.notes[0]
    assert "text.jsonl:31" in run.notes[0]

    bad = chat_file.read_text(encoding="utf-8") + '{"messages": 5}\n'
    (tmp_path / "chat.jsonl").write_text(bad, encoding="utf-8")
    data = (f"{tmp_path / 'chat.jsonl'}:1", f"{chat_file}:1")
    run = begin_sft(tmp_path / "runs", "b", data=data, on_bad_row="skip")
    run.close()
    assert len(run.notes) == 1
    assert "chat.jsonl:201" in run.notes[0]


def test_the_last_events_are_what_they_say(tmp_path, begin):
    *_, last_eval, saved, finished = begin(tmp_path, steps=1)
    assert isinstance(last_eval, EvalDone)
    assert isinstance(saved, Saved)
    assert Path(saved.path) == tmp_path / "a" / "checkpoints" / "step-00000001"
    assert finished == Finished(step=1, state="finished")
