"""`picochat eval arc` and its relatives, from files to tables, records and reports."""

import json
import re
from pathlib import Path

import pytest
import torch

from picochat import cli
from picochat.eval.multiple_choice import evaluate_choices
from picochat.eval.suite import file_name, load_problems
from picochat.model.config import ModelConfig
from picochat.model.gpt import GPT
from picochat.tasks.registry import TASKS
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.train.load import load

ON_CPU = ["--device", "cpu", "--dtype", "float32"]


def save_model(folder: Path, seed: int) -> Path:
    """Write a checkpoint in the Rust picochat's layout with random weights; seed 0: all tokens are equal."""
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    tokenizer = Tokenizer.from_merges([], 272)
    config = ModelConfig(sequence_len=300, vocab_size=272, n_layer=2, n_head=2, n_kv_head=1, n_embd=64)
    model = GPT(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    if not seed:
        torch.nn.init.zeros_(model.lm_head.weight)
    folder.mkdir()
    save_file(model.state_dict(), folder / "model.safetensors")
    config.save(folder / "config.json")
    tokenizer.save(folder)
    return folder


def write(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models `even`, `odd` and `third`, and a small file per task."""
    folder = tmp_path_factory.mktemp("eval")
    for seed, name in enumerate(("even", "odd", "third")):
        save_model(folder / name, seed)
    arc = [
        {"id": f"a{i}", "question": f"q{i}?", "choices": ["x", "yy", "zzz", "w"], "answer_key": "ABCD"[i % 4]}
        for i in range(12)
    ]
    write(folder / "arc.jsonl", arc)
    write(folder / "train.jsonl", [{**row, "question": f"known {row['question']}"} for row in arc])
    sums = [{"question": f"{i}+1?", "answer": f"#### {i + 1}", "level": "ab"[i % 2]} for i in range(4)]
    write(folder / "gsm8k.jsonl", sums)
    write(folder / "tools.jsonl", [{"prompt": "1+1?", "expected_answer": 2, "requires_tool": True}] * 2)
    write(folder / "qa.jsonl", [{"question": f"who {i}?", "answer": f"name{i}"} for i in range(3)])
    (folder / "mmlu").mkdir()
    (folder / "mmlu" / "law_test.csv").write_text('"q, r?",a,b,c,d,B\n' * 2, encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def run(capsys: pytest.CaptureFixture[str], line: str) -> list[str]:
    """Run a command; return the lines it prints."""
    cli.main([*line.split(), *ON_CPU])
    return capsys.readouterr().out.splitlines()


def test_one_model_that_knows_nothing_scores_chance(capsys):
    lines = run(capsys, "eval arc --load even --data arc.jsonl")
    assert re.search(r"arc % \(12 problems, letter\) +25\.0 \[", lines[1])
    assert lines[-1] == "arc: guessing scores 25.0"
    assert "difference" not in lines[0]


@pytest.mark.parametrize("scoring", ["letter", "text"])
def test_two_models_and_what_changed(capsys, folder: Path, scoring: str):
    lines = run(capsys, f"eval arc --load odd third --data arc.jsonl --scoring {scoring} --out {scoring}")
    credits = {}
    for name in ("odd", "third"):
        rows = (Path(scoring) / name / "arc.jsonl").read_text(encoding="utf-8").splitlines()
        records = [json.loads(row) for row in rows]
        model, tokenizer = load(name)
        expected = evaluate_choices(model, tokenizer, TASKS["arc"].load("arc.jsonl"), scoring=scoring)
        assert [row["chosen"] for row in records] == [record.chosen for record in expected.records]
        credits[name] = [row["credit"] for row in records]
        assert f"{100 * expected.accuracy:.1f} [" in lines[1]
    better = sum(b > a for a, b in zip(credits["odd"], credits["third"], strict=True))
    worse = sum(b < a for a, b in zip(credits["odd"], credits["third"], strict=True))
    assert f"{better} better, {worse} worse" in lines[1]
    summary = json.loads((Path(scoring) / "scores.json").read_text(encoding="utf-8"))
    assert [(row["model"], row["score"]) for row in summary] == [
        (name, pytest.approx(sum(credits[name]) / 12)) for name in credits
    ]


def test_all_tasks_with_report(capsys):
    files = "--arc arc.jsonl --mmlu mmlu --gsm8k gsm8k.jsonl --tools tools.jsonl --qa qa.jsonl"
    lines = run(
        capsys,
        f"eval all --load even odd third {files} --max-tokens 4 --html new/report.html --out all",
    )
    text = "\n".join(lines)
    for task, count in {"arc": 12, "mmlu": 2, "gsm8k": 4, "tools": 2, "qa": 3}.items():
        assert f"{task} % ({count} problems" in text
        assert (Path("all/third") / f"{task}.jsonl").read_text(encoding="utf-8").count("\n") == count
    assert "tool rate if needed" in text
    assert lines[-1] == "report: new/report.html"
    page = Path("new/report.html").read_text(encoding="utf-8")
    assert "mmlu: 2 examples" in page
    assert "gsm8k by level" in page


def test_pass_at_k_of_sampled_answers(capsys):
    command = "eval gsm8k --load odd --data gsm8k.jsonl --max-tokens 4"
    lines = run(capsys, f"{command} --num-samples 3 --temperature 1 --out several")
    assert [line.split()[0] for line in lines if "pass@" in line] == ["pass@1", "pass@2", "pass@3"]
    record = json.loads(Path("several/odd/gsm8k.jsonl").read_text(encoding="utf-8").splitlines()[0])
    texts = [sample["text"] for sample in record["samples"]]
    assert len(set(texts)) > 1
    run(capsys, f"{command} --num-samples 3 --temperature 1 --out again --batch-size 2")
    assert Path("several/odd/gsm8k.jsonl").read_bytes() == Path("again/odd/gsm8k.jsonl").read_bytes()


def test_reasoning_asks_sums_and_tools(capsys):
    lines = run(capsys, "eval reasoning --load odd --gsm8k gsm8k.jsonl --tools tools.jsonl --max-tokens 4")
    assert sum("think rate" in line for line in lines) == 2


def test_examples_come_before_the_question_from_another_file(capsys):
    run(capsys, "eval arc --load even --data arc.jsonl --few-shot 2 --examples train.jsonl --out few")
    record = json.loads(Path("few/even/arc.jsonl").read_text(encoding="utf-8").splitlines()[3])
    assert [turn["role"] for turn in record["prompt"]] == ["user", "assistant"] * 2 + ["user"]
    assert [turn["content"].splitlines()[0] for turn in record["prompt"][::2]] == [
        "known q0?",
        "known q6?",
        "q3?",
    ]
    assert record["prompt"][1]["content"] == "The answer is A."


def test_examples_are_of_the_same_level_where_there_are_enough(tmp_path: Path):
    rows = [{"question": f"{i}?", "answer": f"#### {i}", "level": "aab"[i % 3]} for i in range(9)]
    write(tmp_path / "train.jsonl", rows)
    asked = load_problems(
        TASKS["gsm8k"], [tmp_path / "train.jsonl"], few_shot=4, examples=tmp_path / "train.jsonl"
    )
    by_level = {problem.level: [turn.text for turn in problem.messages[:-1:2]] for problem in asked}
    assert by_level == {"a": ["0?", "1?", "4?", "6?"], "b": ["0?", "2?", "4?", "6?"]}


def test_few_problems_are_taken_from_everywhere():
    some = load_problems(TASKS["arc"], ["arc.jsonl"], max_problems=3)
    assert [problem.id for problem in some] == ["a0", "a4", "a8"]
    assert len(load_problems(TASKS["arc"], ["arc.jsonl", "train.jsonl"])) == 24


def test_the_built_in_world_is_asked_by_default(monkeypatch: pytest.MonkeyPatch, capsys):
    from picochat.data.builtin import write as builtin

    world = Path("world").absolute()
    (world / "arc").mkdir(parents=True)
    (world / "arc" / "test.jsonl").write_bytes(Path("arc.jsonl").read_bytes())
    (world / "arc" / "train.jsonl").write_bytes(Path("train.jsonl").read_bytes())
    monkeypatch.setattr(builtin, "default_world_dir", lambda: world)
    lines = run(capsys, "eval arc --load even --few-shot 1 --max-problems 4 --out builtin")
    assert "4 problems" in lines[1]
    record = json.loads(Path("builtin/even/arc.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert record["prompt"][0]["content"].startswith("known q0?")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("eval arc", ["--load"]),
        ("eval arc --load nope", ["nope"]),
        ("eval arc --load even even", ["--load names even twice"]),
        ("eval arc --load even --data nope.jsonl", ["nope.jsonl", "no such file"]),
        ("eval arc --load even --data gsm8k.jsonl", ["gsm8k.jsonl:1", "'choices'"]),
        ("eval arc --load even --data arc.jsonl --few-shot 1", ["--few-shot needs --examples"]),
        (
            "eval arc --load even --data arc.jsonl --few-shot 13 --examples train.jsonl",
            ["train.jsonl", "12 problems", "--few-shot 13"],
        ),
        ("eval arc --load even --few-shot -1", ["--few-shot must be at least 0"]),
        ("eval arc --load even --scoring loud", ["--scoring", "loud"]),
        ("eval mmlu --load even", ["no MMLU", "--data"]),
        ("eval gsm8k --load even --num-samples 2", ["--num-samples", "--temperature"]),
        ("eval gsm8k --load even --batch-size 0", ["--batch-size must be at least 1"]),
        ("eval gsm8k --load even --data gsm8k.jsonl --html mmlu", ["--html mmlu", "folder"]),
        ("eval nothing --load even", ["eval nothing"]),
    ],
)
def test_a_mistake_is_one_line(line: str, words: list[str], capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(line.split())
    err = capsys.readouterr().err
    assert end.value.code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert all(word in err for word in words), err


def test_file_names_of_models():
    assert file_name("runs/demo@500") == "runs_demo@500"
    assert file_name("../..") == "_"
