"""lm-evaluation-harness on a local task: the numbers of `eval arc`, by way of other people's code."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from picochat import cli
from picochat.eval.multiple_choice import evaluate_choices
from picochat.model.config import ModelConfig
from picochat.model.gpt import GPT
from picochat.tasks.multiple_choice import LETTERS
from picochat.tasks.registry import TASKS
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.train.load import load

needs_harness = pytest.mark.skipif(find_spec("lm_eval") is None, reason="the extra `eval` is not installed")

ROOT = Path(__file__).parents[2]
TASK = """
task: valley
dataset_path: json
dataset_kwargs: {data_files: {test: rows.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{prompt}}"
doc_to_choice: letters
doc_to_target: gold
gen_prefix: "The answer is"
metric_list: [{metric: acc}]
"""
WRITTEN = """
task: written
dataset_path: json
dataset_kwargs: {data_files: {test: rows.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{prompt}}"
doc_to_target: "x"
generation_kwargs: {until: ["\\n"], max_gen_toks: 5}
metric_list: [{metric: exact_match}]
"""
ROLLING = """
task: rolling
dataset_path: json
dataset_kwargs: {data_files: {test: rows.jsonl}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{prompt}}"
metric_list: [{metric: bits_per_byte}]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights, questions in ARC's form, the same as rows of a local task."""
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("harness")
    torch.manual_seed(0)
    space = ord(" ")
    tokenizer = Tokenizer.from_merges([(space, ord("A")), (space, ord("B"))], 274)
    config = ModelConfig(sequence_len=200, vocab_size=274, n_layer=2, n_head=2, n_kv_head=1, n_embd=64)
    model = GPT(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    (folder / "model").mkdir()
    save_file(model.state_dict(), folder / "model" / "model.safetensors")
    config.save(folder / "model" / "config.json")
    tokenizer.save(folder / "model")
    arc = [
        {
            "question": f"Which {i}? <|user_end|>",
            "choices": [f"{k} things" for k in range(3 + i % 3)],
            "answer_key": LETTERS[i % 3],
        }
        for i in range(10)
    ]
    (folder / "arc.jsonl").write_text("".join(json.dumps(row) + "\n" for row in arc), encoding="utf-8")
    rows = [
        {
            "prompt": problem.question,
            "letters": list(LETTERS[: len(problem.choices)]),
            "gold": LETTERS.index(problem.answer),
        }
        for problem in TASKS["arc"].load(folder / "arc.jsonl")
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "tasks").mkdir()
    for name, text in {"valley": TASK, "written": WRITTEN, "rolling": ROLLING}.items():
        (folder / "tasks" / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


def harness(folder: Path, options: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own: the harness warns and logs as it likes, and caches data."""
    command = f"eval harness --load model --include tasks --device cpu --dtype float32 {options}"
    offline = {"HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, "-m", "picochat", *command.split()],
        cwd=folder,
        env={**os.environ, **offline, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@needs_harness
@pytest.mark.slow
def test_it_agrees_with_eval_arc_on_the_same_prompts(folder: Path):
    done = harness(folder, "--tasks valley --chat --out out --batch-size 3")
    assert done.returncode == 0, done.stderr
    model, tokenizer = load(folder / "model")
    ours = evaluate_choices(model, tokenizer, TASKS["arc"].load(folder / "arc.jsonl"))
    scores = json.loads((folder / "out" / "scores.json").read_text(encoding="utf-8"))
    assert scores["model"]["valley"]["acc,none"] == pytest.approx(ours.accuracy)
    assert 0 < ours.accuracy < 1
    assert f"valley acc  {ours.accuracy:.4f} ±" in done.stdout
    lines = (folder / "out" / "model" / "valley.jsonl").read_text(encoding="utf-8").splitlines()
    theirs = sorted((json.loads(line) for line in lines), key=lambda row: row["doc_id"])
    for row, record in zip(theirs, ours.records, strict=True):
        found = [float(response[0][0]) for response in row["resps"]]
        # " A" and " B" are one token, " C" is two whose first is the space: what both count for " C".
        assert found == pytest.approx(record.logprobs, rel=1e-5)


@needs_harness
@pytest.mark.slow
def test_plain_texts_and_answers(folder: Path):
    done = harness(folder, "--tasks written rolling --out plain")
    assert done.returncode == 0, done.stderr
    scores = json.loads((folder / "plain" / "scores.json").read_text(encoding="utf-8"))["model"]
    from picochat.eval.bpb import bits_per_byte

    model, tokenizer = load(folder / "model")
    problems = TASKS["arc"].load(folder / "arc.jsonl")
    documents = [tokenizer.encode(problem.question) for problem in problems]
    expected = bits_per_byte(model, documents, tokenizer=tokenizer, seq_len=200)
    assert scores["rolling"]["bits_per_byte,none"] == pytest.approx(expected.bpb, rel=1e-5)

    from picochat.engine.generate import Engine
    from picochat.engine.options import SamplingOptions

    lines = (folder / "plain" / "model" / "written.jsonl").read_text(encoding="utf-8").splitlines()
    row = next(row for row in map(json.loads, lines) if row["doc_id"] == 3)
    prompt = [tokenizer.special["<|bos|>"], *documents[3]]
    options = SamplingOptions(temperature=0, max_tokens=5, stop=("\n",))
    ((answer,),) = Engine(model, tokenizer).generate_batch([prompt], options)
    assert row["resps"] == [[answer.text]]


@needs_harness
@pytest.mark.slow
def test_an_unknown_task_is_one_line(folder: Path):
    done = harness(folder, "--tasks nonsense_task")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "error: no task nonsense_task in tasks"
    assert "Traceback" not in done.stderr


@needs_harness
@pytest.mark.slow
def test_long_contexts_lose_their_beginning_and_windows_cover_all(folder: Path):
    # In this process only the adapter's own parts run.
    code = """
import torch
from picochat.eval.harness import HarnessModel
from picochat.train.load import load
model, tokenizer = load("model")
lm = HarnessModel(model, tokenizer, batch_size=2)
ids = tokenizer.encode("abcdefgh" * 60)
(scored,) = lm._loglikelihood_tokens([(("", ""), ids[:-3], ids[-3:])])
whole = torch.tensor([ids[-201:]])
logprobs = model(whole[:, :-1])[0].double().log_softmax(-1)
expected = logprobs.gather(-1, whole[0, 1:, None])[-3:].sum().item()
assert abs(scored[0] - expected) < 1e-4, (scored, expected)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [("--tasks x", ["pip install", "picochat[eval]"]), ("--tasks", ["--tasks names no task"])],
)
def test_mistakes_are_one_line(options: str, words: list[str], capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("picochat.commands.eval_harness.find_spec", lambda name: None)
    with pytest.raises(SystemExit) as end:
        cli.main(f"eval harness --load nope {options}".split())
    err = capsys.readouterr().err
    assert end.value.code == 2
    assert err.count("\n") == 1
    assert all(word in err for word in words), err
