"""Scores by writing, with engines that are rigged: the score is known before."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from picochat.engine.events import Completion
from picochat.engine.generate import Engine
from picochat.engine.options import SamplingOptions
from picochat.eval.generative import evaluate_generative, pass_at_k, write_records
from picochat.eval.intervals import wilson_interval
from picochat.model.config import ModelConfig
from picochat.model.gpt import GPT
from picochat.tasks.registry import TASKS
from picochat.tasks.task import Problem, with_examples
from picochat.tokenizer.conversation import Message, Part, render_prompt
from picochat.tokenizer.tokenizer import Tokenizer

TOKENIZER = Tokenizer.from_merges([], 256 + 16)
GREEDY = SamplingOptions(temperature=0, max_tokens=8)


class Rigged:
    """Answers each prompt with the turn that `turns[prompt]` holds, sample j with `turns[prompt][j]`."""

    tokenizer = TOKENIZER

    def __init__(
        self, problems: Sequence[Problem], turns: Sequence[Sequence[Message]], context: int = 10_000
    ):
        prompts = [tuple(render_prompt(TOKENIZER, problem.messages)) for problem in problems]
        self.turns = dict(zip(prompts, turns, strict=True))
        self.context = context
        self.calls: list[tuple[int, int]] = []
        self.seeds: set[int | None] = set()

    def generate_batch(self, prompts, options, num_samples):
        self.calls.append((len(prompts), num_samples))
        self.seeds.add(options.seed)
        return [[completion(self.turns[tuple(ids)][j]) for j in range(num_samples)] for ids in prompts]


def completion(turn: Message) -> Completion:
    return Completion(tokens=(), parts=turn.parts, finish_reason="stop", num_tokens=5, seed=0)


def said(text: str) -> Message:
    return Message(role="assistant", parts=(Part(type="text", text=text),))


def sums(n: int) -> list[Problem]:
    rows = [{"question": f"{i}+1?", "answer": f"<<{i}+1={i + 1}>>{i + 1}\n#### {i + 1}"} for i in range(n)]
    return [TASKS["gsm8k"].parse(row, where=f"sums:{i}") for i, row in enumerate(rows, start=1)]


ROWS = {
    "gsm8k": {"question": "q", "answer": "<<1+1=2>>2\n#### 2"},
    "arc": {"question": "q", "choices": ["x", "y", "z"], "answer_key": "B"},
    "mmlu": {"question": "q", "choices": ["w", "x", "y", "z"], "answer": 3},
    "tools": {"prompt": "p", "expected_answer": 3, "requires_tool": True},
    "qa": {"question": "q", "answer": "a red hat"},
}


@pytest.mark.parametrize("name", list(TASKS))
def test_always_gold_scores_100_percent_and_never_gold_0(name: str):
    problem = TASKS[name].parse(ROWS[name], where="rows:1")
    right = evaluate_generative(Rigged([problem], [[problem.solution]]), TASKS[name], [problem], GREEDY)
    assert (right.accuracy, right.task) == (1.0, name)
    assert right.records[0].samples[0].extracted == right.records[0].gold == problem.answer
    wrong = evaluate_generative(Rigged([problem], [[said("#### 7")]]), TASKS[name], [problem], GREEDY)
    assert wrong.accuracy == 0.0


def test_known_share_and_its_interval_at_any_batch_size():
    problems = sums(30)
    turns = [[problem.solution if i % 3 else said("#### 99")] for i, problem in enumerate(problems)]
    results = []
    for batch_size in (1, 7, 16, 64):
        engine = Rigged(problems, turns)
        results.append(evaluate_generative(engine, TASKS["gsm8k"], problems, GREEDY, batch_size=batch_size))
        assert max(rows for rows, _ in engine.calls) == min(batch_size, 30)
        assert len(engine.seeds) == 1
        assert None not in engine.seeds
    assert results[0].accuracy == pytest.approx(20 / 30)
    assert results[0].interval == wilson_interval(20, 30)
    assert all(result == results[0] for result in results)


def test_pass_at_k_is_the_share_of_subsets_with_a_right_answer():
    for n, c in itertools.product(range(1, 7), range(7)):
        if c > n:
            continue
        answers = [True] * c + [False] * (n - c)
        for k in range(1, n + 1):
            subsets = list(itertools.combinations(answers, k))
            assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


def test_several_samples_give_pass_at_k():
    problems = sums(2)
    wrong = said("#### 99")
    turns = [[problems[0].solution, wrong, wrong, wrong], [wrong] * 4]
    engine = Rigged(problems, turns)
    options = SamplingOptions(temperature=1.0, seed=3)
    result = evaluate_generative(engine, TASKS["gsm8k"], problems, options, num_samples=4, batch_size=4)
    assert engine.calls == [(1, 4), (1, 4)]
    assert result.accuracy == 1 / 8
    assert result.pass_at_k == {1: 1 / 8, 2: 1 / 4, 4: 1 / 2}
    assert result.interval.low <= result.accuracy <= result.interval.high


def test_prompts_that_do_not_fit_are_wrong_and_counted():
    problems = sums(3)
    problems[1] = with_examples(problems[1], [problems[0]] * 5)
    turns = [[problem.solution] for problem in problems]
    done: list[tuple[int, int]] = []
    result = evaluate_generative(
        Rigged(problems, turns, context=40),
        TASKS["gsm8k"],
        problems,
        GREEDY,
        progress=lambda *counts: done.append(counts),
    )
    assert (result.accuracy, result.num_too_long) == (pytest.approx(2 / 3), 1)
    assert result.records[1].samples[0].finish_reason == "prompt too long"
    assert done[-1] == (3, 3)


def test_thoughts_are_kept_but_not_judged(tmp_path: Path):
    problem = sums(1)[0]
    parts = (
        Part(type="thinking", text="#### 1"),
        Part(type="tool_call", text="0+1"),
        Part(type="tool_result", text="1"),
    )
    silent = Message(role="assistant", parts=(*parts, Part(type="text", text="é")))
    result = evaluate_generative(Rigged([problem], [[silent]]), TASKS["gsm8k"], [problem], GREEDY)
    assert result.accuracy == 0.0
    write_records(tmp_path / "gsm8k.jsonl", result)
    (line,) = (tmp_path / "gsm8k.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line) == {
        "task": "gsm8k",
        "id": "sums:1",
        "level": "",
        "prompt": [{"role": "user", "content": "0+1?"}],
        "gold": "1",
        "requires_tool": False,
        "samples": [
            {
                "text": "é",
                "thinking": "#### 1",
                "tool_calls": ["0+1"],
                "tool_results": ["1"],
                "extracted": None,
                "correct": False,
                "finish_reason": "stop",
                "num_tokens": 5,
            }
        ],
    }


def test_accuracy_by_level():
    rows = [{"prompt": f"p{i}", "expected_answer": i, "level": "odd" if i % 2 else "even"} for i in range(4)]
    problems = [TASKS["tools"].parse(row, where=f"rows:{i}") for i, row in enumerate(rows)]
    turns = [[said("#### 2")], [said("#### 1")], [said("#### 2")], [said("#### 3")]]
    result = evaluate_generative(Rigged(problems, turns), TASKS["tools"], problems, GREEDY)
    assert result.accuracy_by_level == {"even": 0.5, "odd": 1.0}


def test_the_true_engine_gives_the_same_in_any_batch():
    torch.manual_seed(0)
    shape = {"n_layer": 2, "n_head": 2, "n_kv_head": 1, "n_embd": 64}
    model = GPT(ModelConfig(sequence_len=64, vocab_size=TOKENIZER.vocab_size, **shape))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    problems = sums(5)
    options = SamplingOptions(temperature=0.7, max_tokens=6, seed=11)
    one, many = (
        evaluate_generative(
            Engine(model, TOKENIZER), TASKS["gsm8k"], problems, options, batch_size=batch_size, num_samples=2
        )
        for batch_size in (1, 16)
    )
    assert one == many
    assert all(1 <= sample.num_tokens <= 6 for record in one.records for sample in record.samples)
