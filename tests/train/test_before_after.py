"""The model of the beginning beside the one in training."""

import shutil

import pytest
import torch

from picochat.errors import UserError
from picochat.train import before_after
from picochat.train.before_after import Beginning
from picochat.train.load import load

QUESTIONS = ["the cat", "Tom sat"]


def test_both_models_answer_the_same_questions(tmp_path, begin_sft, open_runs):
    run = begin_sft(tmp_path, lr=0.05)
    open_runs.append(run)
    beginning = Beginning(run)
    for pair in beginning.compare(run, QUESTIONS, max_tokens=6):
        assert pair.before == pair.now
    while run.trainer.step < 8:
        next(run)
    pairs = beginning.compare(run, QUESTIONS, max_tokens=6)
    assert [pair.question for pair in pairs] == QUESTIONS
    assert any(pair.before != pair.now for pair in pairs)
    assert all(pair.before.is_right is None for pair in pairs)
    # Before is what the parent says now, too.
    model, tokenizer = load(run.parent)
    answers = before_after.ask(model, tokenizer, QUESTIONS, 6)
    assert [pair.before for pair in pairs] == [before_after._cell(answer) for answer in answers]


def test_both_models_compute_alike(tmp_path, begin_sft, open_runs, monkeypatch):
    """Before the first step they are one, in every bit."""
    run = begin_sft(tmp_path, dtype="bfloat16", kernels="plain")
    open_runs.append(run)
    said: list[torch.Tensor] = []
    ask = before_after.ask

    def listening(model, *args):
        said.append(model(torch.arange(8)[None]))
        return ask(model, *args)

    monkeypatch.setattr(before_after, "ask", listening)
    beginning = Beginning(run)
    beginning.compare(run, QUESTIONS, max_tokens=2)
    before, now = said
    assert torch.equal(before, now)
    assert beginning._model(run)[0].kernels == "plain"


def test_the_beginning_is_asked_everything_once(tmp_path, begin_sft, open_runs, monkeypatch):
    run = begin_sft(tmp_path)
    open_runs.append(run)
    asked: list[tuple[bool, list[str]]] = []
    ask = before_after.ask

    def counting(model, tokenizer, questions, max_tokens):
        asked.append((model is run.model, list(questions)))
        return ask(model, tokenizer, questions, max_tokens)

    monkeypatch.setattr(before_after, "ask", counting)
    beginning = Beginning(run)
    beginning.compare(run, QUESTIONS, max_tokens=4)
    beginning.compare(run, [*QUESTIONS, "more"], max_tokens=4)
    assert [questions for is_own, questions in asked if not is_own] == [QUESTIONS, ["more"]]
    assert [questions for is_own, questions in asked if is_own] == [QUESTIONS, [*QUESTIONS, "more"]]


def test_a_parent_that_is_gone_is_told(tmp_path, begin_sft, base_dir, open_runs):
    shutil.copytree(base_dir / "base", tmp_path / "parent")
    run = begin_sft(tmp_path, load=str(tmp_path / "parent"))
    open_runs.append(run)
    shutil.rmtree(tmp_path / "parent")
    with pytest.raises(UserError, match="the checkpoint that the run began with is gone"):
        Beginning(run).compare(run, QUESTIONS, max_tokens=4)


def test_a_resumed_run_knows_its_beginning(tmp_path, begin_sft, open_runs):
    run = begin_sft(tmp_path, steps=4)
    list(run)
    resumed = begin_sft(tmp_path, resume=True, steps=6)
    open_runs.append(resumed)
    assert resumed.parent is None
    assert Beginning(resumed).path == Beginning(run).path
