"""A whole GRPO run: files, exact resume, evaluation, and that it learns."""

import json
import re
import shutil

import pytest
import torch

import picochat.train.grpo as module
from picochat import cli
from picochat.data.builtin.write import write_world
from picochat.errors import UserError
from picochat.train.events import EvalDone, RolloutDone, StepDone
from picochat.train.run_dir import RunDir

TIMES = ("seconds", "tokens_per_second", "mfu", "rollout_seconds", "generated_per_second")


def told(run: RunDir) -> list[str]:
    """Everything the run wrote about its steps, but for times."""
    rows = [*run.rows("step", "eval"), *run.rollouts()]
    for row in rows:
        for name in TIMES:
            row.pop(name, None)
            row.get("stats", {}).pop(name, None)
    return [json.dumps(row) for row in rows]


def newest_weights(run: RunDir) -> bytes:
    return (list(run.checkpoints().values())[-1] / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 3},
        {"epochs": 1, "dynamic_sampling": True, "kl_beta": 0.0, "normalize": "sequence"},
        {"epochs": 1, "dtype": "bfloat16", "grad_accum": 2},
    ],
    ids=["several epochs", "dynamic sampling", "bfloat16, several micro-batches"],
)
def test_a_stopped_run_goes_on_as_the_uninterrupted_one(options, practise):
    """Stopped at every step, those in the middle of a batch's epochs included."""
    whole = practise("whole", **options)
    list(whole)
    expected = told(whole.directory)
    assert len([line for line in expected if '"event": "step"' in line]) == 6
    for stop in range(1, 6) if options["epochs"] > 1 else (2, 5):
        name = f"stopped-{stop}"
        run = practise(name, **options)
        for event in run:
            if isinstance(event, StepDone) and event.step == stop:
                run.request_stop()
        assert run.state == "stopped"
        resumed = practise(name, resume=True)
        assert resumed.trainer.step == stop
        list(resumed)
        assert told(resumed.directory) == expected
        assert newest_weights(resumed.directory) == newest_weights(whole.directory)


def test_a_resume_on_other_problems_of_the_same_number_is_refused(practise, problem_file, tmp_path):
    copy = tmp_path / "problems.jsonl"
    copy.write_bytes(problem_file.read_bytes())
    run = practise(gsm8k=(str(copy),))
    while not isinstance(next(run), StepDone):
        pass
    run.stop()
    copy.write_bytes(problem_file.read_bytes().replace(b"#### 7", b"#### 8"))
    with pytest.raises(UserError, match="training data is not what this run began with"):
        practise(resume=True)


def test_a_run_that_is_stopped_at_once_tells_its_answers(practise):
    """`stop` leaves measurements out, not what happened already."""
    run = practise(eval_every=1)
    while not isinstance(next(run), StepDone):
        pass
    assert [event.event for event in run.stop()] == ["rollout", "rollout", "saved", "finished"]
    assert [row["step"] for row in run.directory.rollouts()] == [1, 1]


def test_what_is_written(practise):
    run = practise(steps=4, epochs=2, group_size=4)
    events = list(run)
    steps = [event for event in events if isinstance(event, StepDone)]
    groups = [event for event in events if isinstance(event, RolloutDone)]
    assert [(group.step, group.index) for group in groups] == [(1, 0), (1, 1), (3, 0), (3, 1)]
    assert run.directory.rollouts() == [group.row() for group in groups]
    for step in steps:
        assert {"entropy", "kl", "ratio", "ratio_max", "clipped_low", "clipped_high"} <= step.stats.keys()
        assert ("reward" in step.stats) == (step.step in (1, 3))
    assert steps[0].stats["ratio_max"] == 1
    assert steps[0].stats["kl"] == pytest.approx(0, abs=1e-6)
    assert steps[1].stats["ratio_max"] > 1
    assert steps[1].stats["kl"] > 0
    answers = [answer for group in groups if group.step == 1 for answer in group.answers]
    assert steps[0].stats["reward"] == pytest.approx(sum(a["reward"] for a in answers) / len(answers))
    assert steps[0].tokens == sum(answer["num_tokens"] for answer in answers)
    assert steps[0].stats["length"] == steps[0].tokens / 8
    assert run.directory.info()["parent"] == run.parent


def test_practice_pays(practise):
    """A model that speaks at random learns to use vowels; the divergence from where it began grows."""
    run = practise(steps=16, prompts=4, group_size=8, lr=3e-3, kl_beta=0.01, warmdown=0.0)
    steps = [event for event in run if isinstance(event, StepDone)]
    rewards = [step.stats["reward_vowel_rewards:vowels"] for step in steps]
    assert sum(rewards[-4:]) > 1.5 * sum(rewards[:4])
    assert steps[-1].stats["kl"] > steps[1].stats["kl"]


def test_held_out_problems_are_answered_greedily(practise, problem_file, monkeypatch):
    run = practise(steps=1, eval_gsm8k=(str(problem_file),), eval_problems=7)
    seen = []
    evaluate = module.evaluate_generative

    def watched(engine, task, problems, options, **rest):
        seen.append((len(problems), options.is_greedy))
        result = evaluate(engine, task, problems, options, **rest)
        monkeypatch.setattr(type(result), "accuracy", 0.75)
        return result

    monkeypatch.setattr(module, "evaluate_generative", watched)
    scores = [event.metrics for event in run if isinstance(event, EvalDone)]
    assert seen == [(7, True)] * 2
    assert [list(score)[:2] for score in scores] == [["error", "accuracy"]] * 2
    assert scores[0]["error"] == 0.25
    assert set(run.directory.scores().values()) == {0.25}


@pytest.mark.parametrize("kl_beta", [0.0, 0.1])
def test_a_reference_is_kept_only_where_it_is_needed(kl_beta, practise):
    run = practise(kl_beta=kl_beta, steps=1)
    rollouts = run.trainer.batches
    assert (rollouts.reference is None) == (kl_beta == 0)
    step = next(event for event in run if isinstance(event, StepDone))
    assert ("kl" in step.stats) == (kl_beta != 0)
    if rollouts.reference is not None:
        assert rollouts.reference.lm_head.weight.dtype == torch.float32
        assert not torch.equal(rollouts.reference.lm_head.weight, run.model.lm_head.weight)


def test_a_run_folder_can_not_name_code(practise):
    run = practise(steps=2)
    for event in run:
        if isinstance(event, StepDone):
            run.request_stop()
    with pytest.raises(UserError, match="vowel_rewards:vowels"):
        practise(resume=True, reward=())


def test_the_parent_of_a_resumed_run_is_the_one_it_began_with(practise, parent, tmp_path):
    shutil.copytree(parent, tmp_path / "policy")
    run = practise(steps=2, load=str(tmp_path / "policy"))
    for event in run:
        if isinstance(event, StepDone):
            run.request_stop()
    shutil.rmtree(tmp_path / "policy")
    with pytest.raises(UserError, match=r"policy.* is gone"):
        practise(resume=True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"prompts": 41}, ["--prompts 41", "40"]),
        ({"gsm8k": ("nowhere.jsonl",)}, ["nowhere.jsonl"]),
        ({"reward": ("vowel_rewards:consonants",)}, ["vowel_rewards.py", "consonants"]),
        ({"max_tokens": 0}, ["--max-tokens"]),
        ({"top_p": 0.0}, ["top_p"]),
    ],
)
def test_mistakes(options, words, practise):
    with pytest.raises(UserError) as error:
        practise(**options)
    assert all(word in str(error.value) for word in words), error.value


def test_a_reward_that_is_none_stops_the_run_with_a_word(practise):
    run = practise(reward=("vowel_rewards:nothing",))
    with pytest.raises(UserError, match="vowel_rewards:nothing"):
        list(run)
    assert run.directory.status()["state"] == "failed"


def test_prompts_that_leave_no_room_are_left_out_and_told(practise, tmp_path):
    path = tmp_path / "long.jsonl"
    questions = ["How many pens?"] * 2 + ["pens " * 60] + ["How many hats?"]
    rows = [{"question": f"{i} {question}", "answer": "#### 1"} for i, question in enumerate(questions)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    run = practise(gsm8k=(str(path),))
    assert [note.split(":")[0] for note in run.notes] == ["1 problems are left out"]
    assert "96 tokens" in run.notes[0]


def test_the_command_practises_the_built_in_world(parent, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_world(tmp_path / "world", scale=0.01)
    monkeypatch.setattr(module, "default_world_dir", lambda: tmp_path / "world")
    monkeypatch.setattr(module, "NUM_SAMPLES", 2)
    args = "--steps 2 --prompts 2 --group-size 2 --max-tokens 6 --eval-problems 3 --device cpu"
    cli.main(["grpo", "--load", str(parent), *args.split()])
    out = capsys.readouterr().out
    assert "2 steps of 2 problems x 2 answers" in out
    assert "step 2/2  reward " in out
    assert "generated tok/s" in out
    assert re.search(r"^step 2  error 1\.0000  accuracy 0\.0000  .*length \d", out, re.MULTILINE)
    assert out.endswith("next: picochat chat --load grpo-1\n")
    run = RunDir(tmp_path / "runs" / "grpo-1")
    assert len(run.samples()) == 4
    cli.main(["runs", "show", "grpo-1"])
    assert "--group-size 2" in capsys.readouterr().out
