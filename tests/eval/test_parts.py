"""Evaluation in parts: what fills is at last what `evaluate` gives at once."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from picochat.background import Stopped
from picochat.data.bad_rows import BadRows
from picochat.engine.options import SamplingOptions
from picochat.errors import UserError
from picochat.eval.bpb import bits_per_byte
from picochat.eval.live import Findings, Plan, measure
from picochat.eval.parts import TextScore, evaluate_parts, measure_parts, text_difference
from picochat.eval.suite import Job, evaluate, load_problems
from picochat.model.config import ModelConfig
from picochat.model.gpt import GPT
from picochat.tasks.registry import TASKS
from picochat.tokenizer.tokenizer import Tokenizer

TOKENIZER = Tokenizer.from_merges([], 272)
SAMPLING = SamplingOptions(temperature=0.9, seed=3, max_tokens=6)


def make_model(seed: int) -> GPT:
    torch.manual_seed(seed)
    config = ModelConfig(sequence_len=200, vocab_size=272, n_layer=2, n_head=2, n_kv_head=1, n_embd=64)
    model = GPT(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.requires_grad_(False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models, a few problems and a text."""
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("parts")
    for seed, name in enumerate(("one", "two"), start=1):
        model = make_model(seed)
        (folder / name).mkdir()
        save_file(model.state_dict(), folder / name / "model.safetensors")
        model.config.save(folder / name / "config.json")
        TOKENIZER.save(folder / name)
    arc = [
        {"question": f"q{i}?", "choices": ["x", "yy", "zzz"], "answer_key": "ABC"[i % 3]} for i in range(7)
    ]
    sums = [{"question": f"{i}+1?", "answer": f"#### {i + 1}"} for i in range(5)]
    for name, rows in (("arc", arc), ("gsm8k", sums)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    (folder / "text.txt").write_text(
        "a text\n\nthat is not long\n\nbut has parts\n\nfour\n", encoding="utf-8"
    )
    return folder


def job(folder: Path, name: str, method="letter") -> Job:
    problems = load_problems(TASKS[name], [folder / f"{name}.jsonl"], bad_rows=BadRows.of("stop"))
    return Job(task=TASKS[name], problems=problems, method=method)


@pytest.mark.parametrize(
    ("task", "method", "num_samples"),
    [("arc", "letter", 1), ("arc", "text", 1), ("arc", "written", 1), ("gsm8k", "written", 3)],
)
def test_the_last_part_is_the_whole(folder: Path, task: str, method, num_samples: int):
    model = make_model(1)
    asked = job(folder, task, method)
    parts = list(
        evaluate_parts(model, TOKENIZER, asked, sampling=SAMPLING, num_samples=num_samples, part_size=3)
    )
    counts = [len(part.examples) for part in parts]
    assert counts == ([3, 6, 7] if task == "arc" else [3, 5])
    whole = evaluate(model, TOKENIZER, asked, sampling=SAMPLING, num_samples=num_samples)
    without = [replace(one, confidence=None, options=()) for one in whole.examples]
    assert [replace(one, confidence=None, options=()) for one in parts[-1].examples] == without
    assert parts[-1].value == whole.value
    assert parts[-1].pass_at_k == whole.pass_at_k
    for mine, other in zip(parts[-1].examples, whole.examples, strict=True):
        assert mine.confidence == pytest.approx(other.confidence, abs=1e-4)
        assert [text for text, _ in mine.options] == [text for text, _ in other.options]
        assert [value for _, value in mine.options] == pytest.approx(
            [value for _, value in other.options], abs=1e-4
        )
    assert parts[0].examples == parts[-1].examples[:3]


def test_examples_tell_how_each_choice_was_rated(folder: Path):
    (*_, score) = evaluate_parts(make_model(1), TOKENIZER, job(folder, "arc"), sampling=SAMPLING)
    for one in score.examples:
        assert [text for text, _ in one.options] == ["A. x", "B. yy", "C. zzz"]
        best = max(one.options, key=lambda option: option[1])
        assert (one.answer, one.extracted) == (best[0], best[0][0])


def test_bits_per_byte_in_parts_are_those_of_the_whole():
    model = make_model(1)
    documents = TOKENIZER.encode_batch(["some text", "x", "and more of it", "", "yes", "no and no"])
    scores = list(measure_parts(model, documents, tokenizer=TOKENIZER, part_size=2))
    whole = bits_per_byte(model, documents, tokenizer=TOKENIZER, seq_len=200)
    assert len(scores) == 3
    assert scores[-1].bpb == pytest.approx(whole.bpb, rel=1e-6)
    assert scores[-1].num_bytes == whole.bytes
    low, high = scores[-1].interval
    assert min(part.bpb for part in scores[-1].parts) <= low <= scores[-1].bpb <= high
    same, interval = text_difference(scores[-1], scores[-1])
    assert (same, interval.low, interval.high) == (0, 0, 0), "paired: equal models do not differ at all"
    (*_, other) = measure_parts(make_model(2), documents, tokenizer=TOKENIZER, part_size=2)
    value, interval = text_difference(scores[-1], other)
    assert value == pytest.approx(other.bpb - scores[-1].bpb)
    assert interval.low <= value <= interval.high
    value, _ = text_difference(scores[0], other)
    assert value == pytest.approx(TextScore(parts=other.parts[:1]).bpb - scores[0].bpb)


def plan(folder: Path) -> Plan:
    jobs = (job(folder, "arc"), job(folder, "gsm8k", "written"))
    specs = (str(folder / "one"), str(folder / "two"))
    sampling = SamplingOptions(temperature=0, seed=0, max_tokens=4)
    return Plan(specs=specs, jobs=jobs, texts=(str(folder / "text.txt"),), sampling=sampling)


def test_a_plan_fills_model_by_model(folder: Path):
    told: list[Findings] = []
    measure(plan(folder), told.append)
    last = told[-1]
    assert [model.name for model in last.models] == ["one", "two"]
    assert all(
        {name: len(score.examples) for name, score in model.tasks.items()} == {"arc": 7, "gsm8k": 5}
        for model in last.models
    )
    assert last.texts.keys() == {"one", "two"}
    assert (last.doing, last.done, last.total) == ("", 2 * (7 + 5 + 4), 2 * (7 + 5 + 4))
    assert [one.done for one in told] == sorted(one.done for one in told)
    sizes = [
        len(one.models[-1].tasks["gsm8k"].examples)
        for one in told
        if one.models and "gsm8k" in one.models[-1].tasks
    ]
    assert sizes[0] == 5
    assert told[0].doing == "loading one"
    expected = evaluate(
        make_model(2), TOKENIZER, job(folder, "gsm8k", "written"), sampling=plan(folder).sampling
    )
    assert last.models[1].tasks["gsm8k"].examples == expected.examples


def test_a_plan_can_be_stopped_and_complains_early(folder: Path):
    told: list[Findings] = []

    def stop_soon(found: Findings) -> None:
        told.append(found)
        if len(told) == 4:
            raise Stopped

    with pytest.raises(Stopped):
        measure(plan(folder), stop_soon)
    assert len(told) == 4
    with pytest.raises(UserError, match="no run called"):
        measure(replace(plan(folder), specs=("nowhere",)), told.append)
    with pytest.raises(UserError, match="twice"):
        measure(replace(plan(folder), specs=("one", "one")), told.append)
