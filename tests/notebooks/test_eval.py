"""The eval notebook without a browser: as a script, exported, and run by another program."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch

from notebooks import eval_views as views
from notebooks.layout import only_changes
from picochat.model.config import ModelConfig
from picochat.model.gpt import GPT
from picochat.tokenizer.tokenizer import Tokenizer
from tests.notebooks.scripts import run_python

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "eval.py"


def save_model(folder: Path, seed: int) -> None:
    """Write a checkpoint with random weights."""
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    tokenizer = Tokenizer.from_merges([], 272)
    config = ModelConfig(sequence_len=300, vocab_size=272, n_layer=2, n_head=2, n_kv_head=1, n_embd=64)
    model = GPT(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    folder.mkdir()
    save_file(model.state_dict(), folder / "model.safetensors")
    config.save(folder / "config.json")
    tokenizer.save(folder)


def write_problems(folder: Path, count: int = 6) -> list[str]:
    """Write a small file per task; return the options that name them."""
    arc = [
        {"id": f"a{i}", "question": f"q{i}?", "choices": ["x", "yy", "zzz"], "answer_key": "ABC"[i % 3]}
        for i in range(count)
    ]
    rows = {
        "arc": arc,
        "gsm8k": [{"question": f"{i}+1?", "answer": f"#### {i + 1}"} for i in range(count)],
        "tools": [{"prompt": "1+1?", "expected_answer": 2, "requires_tool": True}] * count,
        "qa": [{"question": f"who {i}?", "answer": f"name{i}"} for i in range(count)],
    }
    options = []
    for task, some in rows.items():
        text = "".join(json.dumps(row) + "\n" for row in some)
        (folder / f"{task}.jsonl").write_text(text, encoding="utf-8")
        options += [f"--{task}", f"{task}.jsonl"]
    return options


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.script
def test_as_a_script_it_does_what_the_command_does(folder: Path):
    save_model(folder / "even", 1)
    save_model(folder / "odd", 2)
    options = ["--load", "even", "odd", *write_problems(folder), "--max-tokens", "4", "--max-problems", "3"]
    options += ["--device", "cpu", "--dtype", "float32", "--temperature", "0", "--seed", "0"]
    done = run_python(NOTEBOOK, "--", *options, "--out", "notebook", "--html", "report.html")
    assert done.returncode == 0, done.stderr
    expected = run_python(
        "-m", "picochat", "eval", "all", *options, "--out", "command", "--html", "report.html"
    )
    assert done.stdout == expected.stdout
    assert re.search(r"arc % \(3 problems", done.stdout)
    files = sorted(path.relative_to("command") for path in Path("command").rglob("*.json*"))
    assert len(files) == 9
    for file in files:
        assert (Path("notebook") / file).read_bytes() == (Path("command") / file).read_bytes()
    exported = run_python("-m", "marimo", "export", "script", NOTEBOOK, "-o", "flat.py")
    assert exported.returncode == 0, exported.stderr
    flat = run_python("flat.py", *options, "--html", "report.html")
    assert (flat.returncode, flat.stdout) == (0, expected.stdout), flat.stderr


@pytest.mark.script
def test_without_a_run_it_says_what_to_do(folder: Path):
    done = run_python(NOTEBOOK)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "Train a model first" in line


@pytest.mark.script
def test_a_mistake_is_one_line(folder: Path):
    done = run_python(NOTEBOOK, "--", "--load", "nowhere")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line == "error: no run called 'nowhere'; runs in runs: none yet"


def test_another_program_can_run_it(folder: Path, monkeypatch: pytest.MonkeyPatch):
    save_model(folder / "even", 1)
    arguments = ["--load", "even", *write_problems(folder), "--max-tokens", "4", "--max-problems", "3"]
    monkeypatch.setattr(sys, "argv", ["x", *arguments])
    from notebooks import eval as notebook

    _, defined = notebook.app.run()
    (model,) = defined["batch_findings"].models
    assert {task: len(score.examples) for task, score in model.tasks.items()} == {
        "arc": 3,
        "gsm8k": 3,
        "tools": 3,
        "qa": 3,
    }
    assert defined["elsewhere"].value == "even"
    assert defined["first"].value == "even"


def test_what_can_be_asked_of_a_run():
    states = {"a": "running", "b": "paused", "c": "finished"}
    can = {name: views.what_can_be_asked(states, name) for name in [*states, "d", None]}
    assert can["a"] == ({"pause": True, "resume": False, "checkpoint": True}, "")
    assert can["b"] == ({"pause": False, "resume": True, "checkpoint": True}, "")
    assert not any(can["c"][0].values())
    assert "c is finished" in can["c"][1]
    assert can["d"][1] == can[None][1] == ""


def test_what_is_not_news_is_not_told():
    told: list[int] = []
    tell = only_changes(told.append, 0)
    for value in (0, 1, 1, 0):
        tell(value)
    assert told == [1, 0]


def test_the_page_measures_as_the_command_line_says(folder: Path, monkeypatch: pytest.MonkeyPatch):
    save_model(folder / "even", 1)
    arguments = ["--load", "even", *write_problems(folder), "--max-tokens", "4", "--max-problems", "3"]
    with (folder / "qa.jsonl").open("a", encoding="utf-8") as file:
        file.write("{broken\n")
    arguments += ["--on-bad-row", "skip", "--top-k", "5", "--min-p", "0.1", "--dtype", "float32"]
    monkeypatch.setattr(sys, "argv", ["x", *arguments])
    from notebooks import eval as notebook

    _, defined = notebook.app.run()
    plan = defined["make_plan"]()
    assert plan.sampling == defined["options"].sampling
    assert (plan.sampling.top_k, plan.sampling.min_p, plan.sampling.max_tokens) == (5, 0.1, 4)
    assert (plan.specs, plan.dtype) == (("even",), "float32")
    assert [len(job.problems) for job in plan.jobs] == [3, 3, 3, 3]
