"""The notebook of practice: as a script, driven by hand, and what its pages are made of."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from notebooks import grpo as notebook
from notebooks import grpo_views as views
from picochat import cli
from picochat.arguments import parse_options
from picochat.commands.grpo import Grpo
from picochat.data.builtin.write import WorldFiles
from picochat.errors import UserError
from picochat.train.before_after import Beginning
from picochat.train.grpo import build_grpo, held_out_problems
from picochat.train.history import History
from picochat.train.policy_view import view_group
from picochat.train.run_dir import RunDir

ROOT = Path(__file__).parents[2]
STEPS = 3


@pytest.fixture(scope="module")
def given(small_base: Path, problem_file: Path) -> list[str]:
    """What is given to the command and to the notebook alike."""
    return [
        *("--runs-dir", str(small_base), "--load", "talk", "--gsm8k", f"{problem_file}:1"),
        *("--eval-gsm8k", str(problem_file), "--eval-problems", "4", "--reward", "notebook_rewards:vowels"),
        *("--prompts", "2", "--group-size", "3", "--max-tokens", "8", "--no-dynamic-sampling"),
        *("--warmup", "0", "--lr", "0.002", "--steps", str(STEPS), "--eval-every", "2"),
        *("--sample-every", "0", "--save-every", "2", "--device", "cpu", "--dtype", "float32"),
    ]


@pytest.fixture(scope="module")
def by_command(small_base: Path, given: list[str], own_rewards: Path, curve_of) -> list[tuple[int, str]]:
    """The curve of `picochat grpo`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(own_rewards)
        cli.main(["grpo", "--run", "by-command-grpo", *given])
    found = curve_of(small_base / "by-command-grpo")
    assert [step for step, _ in found] == list(range(1, STEPS + 1))
    assert len({loss for _, loss in found}) == STEPS
    return found


@pytest.mark.script
def test_as_a_script_it_is_the_command(small_base, given, by_command, script, own_rewards, curve_of):
    path = ROOT / "notebooks" / "grpo.py"
    done = script(path, "--", "--run", "by-script-grpo", *given, cwd=own_rewards)
    assert done.returncode == 0, done.stderr
    assert curve_of(small_base / "by-script-grpo") == by_command
    assert RunDir(small_base / "by-script-grpo").status()["state"] == "finished"
    assert f"checkpoint: {small_base / 'by-script-grpo'}" in done.stdout


@pytest.mark.script
def test_as_a_flat_script_too(small_base, given, by_command, script, exported, own_rewards, curve_of):
    done = script(exported("grpo"), "--run", "by-flat-script-grpo", *given, cwd=own_rewards)
    assert done.returncode == 0, done.stderr
    assert curve_of(small_base / "by-flat-script-grpo") == by_command


def test_driven_by_hand_it_is_the_command(
    small_base, given, by_command, drive, own_rewards, curve_of, monkeypatch
):
    """Steps one by one, looked at in all ways meanwhile."""
    monkeypatch.chdir(own_rewards)
    options = parse_options(Grpo, prog="x", args=["--run", "by-hand-grpo", *given], summary="")
    beginnings = []

    def look(run):
        beginnings.append(Beginning(run))
        practised, pad_id = run.trainer.batches, run.tokenizer.special["<|pad|>"]
        for group in practised.latest:
            view_group(run.model, practised.reference, group, temperature=1.0, pad_id=pad_id)
        return beginnings[0].compare_problems(run, held_out_problems(options), max_tokens=4)

    drive(lambda: build_grpo(options), look, STEPS)
    assert curve_of(small_base / "by-hand-grpo") == by_command


def chosen(**values):
    usual = {"base": "b", "own": "", "tasks": ["gsm8k", "tools", "qa"], "steps": 3, "prompts": 4}
    return {**usual, "group_size": 5, "max_tokens": 20, "lr": 0.01, "kl_beta": 0.0, "seed": 7, **values}


def test_what_is_filled_in_becomes_options():
    options = notebook.chosen_options(Grpo(load="a", run="r"), chosen())
    assert (options.load, options.run, options.steps, options.prompts) == ("b", None, 3, 4)
    assert (options.group_size, options.max_tokens, options.kl_beta, options.seed) == (5, 20, 0.0, 7)
    assert not any((options.gsm8k, options.tools, options.qa, options.arc, options.eval_gsm8k))


def test_tasks_of_the_world_come_with_their_held_out_problems(tmp_path, monkeypatch):
    monkeypatch.setattr(notebook, "default_world_dir", lambda: tmp_path)
    world = WorldFiles(root=tmp_path)
    files = notebook.problem_files(["arc"], "")
    assert files["arc"] == (f"{world.jsonl('arc', 'train')}:0.25",)
    assert files["eval_arc"] == (str(world.jsonl("arc", "test")),)
    assert not any(files[name] for name in files if not name.endswith("arc"))


def test_own_problems_are_named_by_their_kind():
    files = notebook.problem_files([], "gsm8k my file.jsonl:2\n\n  qa b.jsonl \n")
    assert (files["gsm8k"], files["qa"]) == (("my file.jsonl:2",), ("b.jsonl",))
    for line in ("sums a.jsonl", "gsm8k"):
        with pytest.raises(UserError, match="write the kind"):
            notebook.problem_files([], line)


def test_own_problems_keep_the_held_out_ones_that_were_given():
    given = Grpo(gsm8k=("a.jsonl",), eval_gsm8k=("b.jsonl",))
    options = notebook.chosen_options(given, chosen(tasks=[], own="gsm8k a.jsonl"))
    assert (options.gsm8k, options.eval_gsm8k) == (("a.jsonl",), ("b.jsonl",))


def test_a_step_is_chosen_by_its_place(small_base, by_command):
    told = History.of(RunDir(small_base / "by-command-grpo")).rollouts()
    steps = [views.groups_of(told, percent)[0].step for percent in (0, 50, 100)]
    assert steps == [1, 2, 3]
    assert [group.index for group in views.groups_of(told, 100)] == [0, 1]
    assert views.groups_of([], 100) == []


def test_of_an_older_step_no_tokens_are_shown(small_base, by_command):
    told = History.of(RunDir(small_base / "by-command-grpo")).rollouts()
    assert [views.shows_newest(told, percent) for percent in (0, 50, 100)] == [False, False, True]
    assert views.shows_newest([], 0)
    assert "only the newest step" in views.tokens_view(None, 0, "change").text


def test_replaced_problems_are_explained(small_base, by_command):
    groups = views.groups_of(History.of(RunDir(small_base / "by-command-grpo")).rollouts(), 100)
    page = views.step_view([replace(groups[0], is_trained=False), *groups], 0).text
    assert "3 problems were answered. 1 of them taught nothing" in page
    assert "in their place" not in views.step_view(groups, 0).text


def test_the_problem_that_teaches_most_is_found():
    rewards = [[1.0, 1.0], [0.0, 0.5], [1.2, 0.0]]
    assert [views.chosen_problem(number, rewards) for number in (0, 1, 2, 9)] == [2, 0, 1, 2]


def test_pictures_of_a_run(small_base, given, by_command, own_rewards, monkeypatch):
    monkeypatch.chdir(own_rewards)
    directory = RunDir(small_base / "by-command-grpo")
    history = History.of(directory)
    groups = views.groups_of(history.rollouts(), 100)
    assert "answers right" in views.step_view(groups, 0).text
    page = views.group_view(groups, 1, 2, directory.info()["options"]).text
    assert "Problem 2 of 2 in step 3" in page
    assert all(f">{head}<" in page for head in ("right ×\xa01", "well built ×\xa00.2", "too long ×\xa0−0.1"))
    assert "word problems" in page
    assert "gsm8k" not in page
    assert f"right answer: {groups[1].gold}" in page
    assert "held-out problems" in views.curves_view(history, 2).text
    options = parse_options(Grpo, prog="x", args=["--run", "looked-at-grpo", *given], summary="")
    run = build_grpo(options)
    try:
        assert views.look_at_tokens(run, 1) is None, "no step was made"
        while run.trainer.step < 1:
            next(run)
        seen = views.look_at_tokens(run, 2)
        assert (seen.step, seen.index, seen.group) == (1, 1, run.trainer.batches.latest[1])
        for colour in notebook.QUANTITIES.values():
            page = views.tokens_view(seen, 99, colour).text
            assert "Problem 2, answer 3 of step 1" in page
            assert "nats" in page or "log-probability" in page
        found = Beginning(run).compare_problems(run, held_out_problems(options), max_tokens=4)
        for shown in ("all", "changed", "right now", "wrong now"):
            assert "word problems" in views.held_out_view(found, shown).text
    finally:
        run.close()
    assert json.loads((small_base / "looked-at-grpo" / "run.json").read_text())["stage"] == "grpo"
