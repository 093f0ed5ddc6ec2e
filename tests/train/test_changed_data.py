"""Conversations that change or vanish while a run learns from them, or before it is resumed."""

import json
from pathlib import Path

import pytest

from picochat.errors import UserError
from picochat.train.run import Run


@pytest.fixture
def chat(chat_file: Path, tmp_path: Path) -> Path:
    """A copy of the conversations, to be changed."""
    copy = tmp_path / "chat.jsonl"
    copy.write_bytes(chat_file.read_bytes())
    return copy


def go_to(run: Run, step: int) -> None:
    while run.trainer.step < step:
        next(run)


def test_a_resume_on_other_conversations_of_the_same_number_is_refused(tmp_path, begin_sft, chat):
    run = begin_sft(tmp_path, data=(str(chat),))
    go_to(run, 4)
    run.stop()
    whole = chat.read_bytes()
    chat.write_bytes(whole.replace(b"the", b"eht"))
    with pytest.raises(UserError, match="training data is not what this run began with, though"):
        begin_sft(tmp_path, resume=True)
    chat.write_bytes(whole)
    run = begin_sft(tmp_path, resume=True)
    assert run.trainer.step == 4
    run.close()


@pytest.mark.parametrize(
    ("what", "message"), [("edited", "has changed while it was in use"), ("gone", "can not be read any more")]
)
def test_a_file_that_changes_during_training_fails_in_one_line_and_can_be_put_back(
    tmp_path, begin_sft, chat, whole_curves, curve, what, message
):
    run = begin_sft(tmp_path, data=(str(chat),))
    whole = chat.read_bytes()
    go_to(run, 2)
    if what == "edited":
        chat.write_bytes(whole.replace(b"e", b"o"))
    else:
        chat.unlink()
    with pytest.raises(UserError, match=message):
        list(run)
    status = run.directory.status()
    assert status["state"] == "failed"
    assert status["message"].startswith(f"{chat}: {message}")
    assert "\n" not in status["message"]
    chat.write_bytes(whole)
    run.retry()
    list(run)
    assert curve(run.directory) == whole_curves["sft"]


def test_validation_data_that_vanishes_is_told_too(tmp_path, begin_sft, chat_file, chat):
    run = begin_sft(tmp_path, data=(str(chat_file),), val_data=(str(chat),))
    go_to(run, 1)
    chat.unlink()
    with pytest.raises(UserError, match="can not be read any more"):
        list(run)
    status = json.loads((run.directory.path / "status.json").read_text(encoding="utf-8"))
    assert (status["state"], status["step"]) == ("failed", 5)
    assert str(chat) in status["message"]
    run.close()
