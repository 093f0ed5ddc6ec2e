"""Multiple choice by likelihood: rigged models have known scores, and batching changes nothing."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from picochat.eval.intervals import wilson_interval
from picochat.eval.likelihood import Alternatives, log_likelihoods
from picochat.eval.multiple_choice import (
    choice_requests,
    evaluate_choices,
    letter_ids,
    write_choice_records,
)
from picochat.model.config import ModelConfig
from picochat.model.gpt import GPT
from picochat.tasks.multiple_choice import LETTERS, choice_problem
from picochat.tasks.registry import TASKS
from picochat.tasks.task import Problem, with_examples
from picochat.tokenizer.conversation import render_conversation
from picochat.tokenizer.tokenizer import Tokenizer

BYTES = Tokenizer.from_merges([], 256 + 16)
SPACE = ord(" ")
MERGED = Tokenizer.from_merges([(SPACE, ord("A")), (SPACE, ord("B")), (SPACE, ord("C"))], 256 + 3 + 16)
"""Here " A", " B", " C" are one token each; " D" and " E" are two."""


class Rigged:
    """A model whose next-token logits are `rule(ids so far)`. It keeps ids where a model keeps keys."""

    device = torch.device("cpu")
    compute_dtype = torch.float32

    def __init__(self, rule: Callable[[list[int]], torch.Tensor], sequence_len: int = 400):
        self.rule = rule
        self.config = ModelConfig(
            sequence_len=sequence_len, vocab_size=272, n_layer=1, n_head=2, n_kv_head=1, n_embd=32
        )

    def __call__(self, ids_BT, *, cache, num_new, last_only=False):
        logits_BTV = torch.zeros(*ids_BT.shape, self.config.vocab_size)
        for b, new in enumerate(num_new):
            held = cache.lengths[b]
            cache.keys_LBGCK[0, b, 0, held : held + new, 0] = ids_BT[b, :new].float()
            for t in range(new):
                ids = cache.keys_LBGCK[0, b, 0, : held + t + 1, 0].int().tolist()
                logits_BTV[b, t] = self.rule(ids)
        cache.advance(num_new)
        return logits_BTV


def problem(stem: str, choices: list[str], right: int, level: str = "") -> Problem:
    return choice_problem(
        id=stem, task="arc", stem=stem, choices=choices, right=right, level=level, where="rows:1"
    )


def problems(count: int) -> list[Problem]:
    """Three to five choices, every letter right in its turn."""
    made = []
    for i in range(count):
        number = 3 + i % 3
        choices = [f"choice {i} {k}" + "x" * k for k in range(number)]
        made.append(problem(f"question {i}?" * (1 + i % 4), choices, (i // 3) % number, f"{number} choices"))
    return made


def gold_rule(some: list[Problem], wanted: Callable[[Problem], str]) -> Callable[[list[int]], torch.Tensor]:
    """Always go on with the text that `wanted` says for the question that was asked."""
    turns = []
    for one in some:
        solution = Problem(id="", task="arc", messages=one.messages, solution=one.solution, answer="")
        prompt = render_conversation(BYTES, solution.messages).ids
        turns.append([*prompt, BYTES.special["<|assistant_start|>"], *BYTES.encode(wanted(one))])

    def rule(ids: list[int]) -> torch.Tensor:
        logits_V = torch.zeros(272)
        for turn in turns:
            if turn[: len(ids)] == ids and len(turn) > len(ids):
                logits_V[turn[len(ids)]] = 9.0
        return logits_V

    return rule


def test_a_model_that_always_answers_gold_scores_100_percent_and_one_that_never_does_0():
    some = problems(12)
    by_letter = Rigged(gold_rule(some, lambda one: one.solution.text))
    assert evaluate_choices(by_letter, BYTES, some).accuracy == 1.0
    by_text = Rigged(gold_rule(some, lambda one: one.choices[LETTERS.index(one.answer)]))
    result = evaluate_choices(by_text, BYTES, some, scoring="text")
    assert result.accuracy == 1.0
    assert [record.chosen for record in result.records] == [one.answer for one in some]

    def next_letter(one: Problem) -> str:
        wrong = LETTERS[(LETTERS.index(one.answer) + 1) % len(one.choices)]
        return f"The answer is {wrong}."

    assert evaluate_choices(Rigged(gold_rule(some, next_letter)), BYTES, some).accuracy == 0.0


@pytest.mark.parametrize("scoring", ["letter", "text"])
def test_a_uniform_model_scores_chance(scoring):
    some = problems(18)
    result = evaluate_choices(Rigged(lambda ids: torch.zeros(272)), BYTES, some, scoring=scoring)
    chance = (1 / 3 + 1 / 4 + 1 / 5) / 3
    assert result.accuracy == pytest.approx(chance)
    assert result.chance == pytest.approx(chance)
    assert result.interval == wilson_interval(sum(r.credit for r in result.records), 18)
    for record in result.records:
        assert record.confidence == pytest.approx(1 / len(record.choices))
        if scoring == "letter":
            assert record.logprobs == pytest.approx([-math.log(272)] * len(record.choices))


def test_text_is_scored_per_byte_of_utf8():
    one = problem("?", ["é" * 4, "ab", "abc"], 0)

    def rule(ids: list[int]) -> torch.Tensor:
        logits_V = torch.zeros(272)
        logits_V["é".encode()[0]] = logits_V["é".encode()[1]] = 2.0
        logits_V[ord("a")] = 2.5
        return logits_V

    record = evaluate_choices(Rigged(rule), BYTES, [one], scoring="text").records[0]
    total = math.log(269 + 2 * math.exp(2) + math.exp(2.5))
    expected = [8 * (2 - total), 2.5 - 2 * total, 2.5 - 3 * total]
    assert record.logprobs == pytest.approx(expected)
    assert record.scores == pytest.approx([expected[0] / 8, expected[1] / 2, expected[2] / 3])
    # Summed, the shorter would have won.
    assert record.chosen == "A"
    assert max(record.logprobs) == record.logprobs[1]


def test_letters_stand_where_the_whole_answer_has_them():
    assert letter_ids(BYTES) == (list(b"The answer is "), [(ord(letter),) for letter in LETTERS])
    common, letters = letter_ids(MERGED)
    assert common == list(b"The answer is")
    assert letters == [(256,), (257,), (258,), (SPACE, ord("D")), (SPACE, ord("E"))]


@pytest.mark.parametrize("tokenizer", [BYTES, MERGED], ids=["bytes", "merged"])
@pytest.mark.parametrize("scoring", ["letter", "text"])
def test_what_is_scored_is_what_a_conversation_with_that_answer_holds(tokenizer: Tokenizer, scoring):
    one = with_examples(problems(3)[2], problems(2))
    (request,) = choice_requests(tokenizer, [one], scoring)
    for letter, choice, continuation in zip(LETTERS, one.choices, request.continuations, strict=True):
        turn = problem("?", ["a", "b", "c"], 0).solution
        text = f"The answer is {letter}." if scoring == "letter" else choice
        part = type(turn.parts[0])(type="text", text=text)
        whole = render_conversation(tokenizer, [*one.messages, type(turn)(role="assistant", parts=(part,))])
        scored = [*request.context, *continuation]
        rest = whole.ids[len(scored) :]
        assert whole.ids[: len(scored)] == scored
        assert tokenizer.decode(rest) == ("." if scoring == "letter" else "") + "<|assistant_end|>"


def random_model(vocab_size: int) -> GPT:
    torch.manual_seed(0)
    shape = {"n_layer": 2, "n_head": 2, "n_kv_head": 1, "n_embd": 64}
    model = GPT(ModelConfig(sequence_len=400, vocab_size=vocab_size, **shape))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.requires_grad_(False)


@pytest.mark.parametrize("scoring", ["letter", "text"])
def test_batch_size_and_order_change_nothing(scoring):
    model, some = random_model(MERGED.vocab_size), problems(11)
    results = [
        evaluate_choices(model, MERGED, some, scoring=scoring, batch_size=size).records
        for size in range(1, 8)
    ]
    backwards = evaluate_choices(model, MERGED, some[::-1], scoring=scoring, batch_size=5).records[::-1]
    for records in [*results[1:], backwards]:
        for record, first in zip(records, results[0], strict=True):
            assert (record.id, record.chosen, record.credit) == (first.id, first.chosen, first.credit)
            assert record.logprobs == pytest.approx(first.logprobs, rel=1e-6)


@settings(max_examples=25)
@given(st.data())
def test_likelihood_equals_the_definition(data: st.DataObject):
    model = random_model(272)
    ids = st.lists(st.integers(0, 255), min_size=1, max_size=9).map(tuple)
    request = st.builds(
        lambda context, continuations: Alternatives(context=context, continuations=continuations),
        ids,
        st.lists(ids, min_size=1, max_size=4).map(tuple),
    )
    requests = data.draw(st.lists(request, min_size=1, max_size=4))
    scored = log_likelihoods(model, requests, batch_size=data.draw(st.integers(1, 7)))
    for one, likelihoods in zip(requests, scored, strict=True):
        for continuation, likelihood in zip(one.continuations, likelihoods, strict=True):
            whole = torch.tensor([[*one.context, *continuation]])
            logprob_TV = model(whole)[0].double().log_softmax(-1)[len(one.context) - 1 : -1]
            targets_T1 = torch.tensor(continuation)[:, None]
            assert likelihood.logprob == pytest.approx(
                logprob_TV.gather(-1, targets_T1).sum().item(), rel=2e-6
            )
            assert likelihood.is_greedy == (logprob_TV.argmax(-1).tolist() == list(continuation))


def test_a_context_is_read_once_whatever_the_number_of_choices():
    read = []

    class Counting(Rigged):
        def __call__(self, ids_BT, **options):
            read.append(tuple(ids_BT.shape))
            return super().__call__(ids_BT, **options)

    one = problem("?", list("abcde"), 0)
    (request,) = choice_requests(BYTES, [one], "letter")
    evaluate_choices(Counting(lambda ids: torch.zeros(272)), BYTES, [one])
    assert read == [(1, len(request.context) - 1), (1, 1)]


def test_problems_that_do_not_fit_are_wrong_and_counted():
    some = problems(4)
    lengths = [request.num_positions for request in choice_requests(BYTES, some, "letter")]
    model = Rigged(gold_rule(some, lambda one: one.solution.text), sequence_len=max(lengths) - 1)
    result = evaluate_choices(model, BYTES, some)
    too_long = [length == max(lengths) for length in lengths]
    assert result.num_too_long == sum(too_long) == 1
    assert [record.credit for record in result.records] == [0.0 if long else 1.0 for long in too_long]
    exactly = Rigged(gold_rule(some, lambda one: one.solution.text), sequence_len=max(lengths))
    assert evaluate_choices(exactly, BYTES, some).accuracy == 1.0


def test_records_as_json_lines(tmp_path: Path):
    row = {"question": "Größe?", "choices": ["x", "y", "z"], "answer_key": "B", "id": "a1"}
    one = TASKS["arc"].parse(row, where="rows:1")
    result = evaluate_choices(Rigged(lambda ids: torch.arange(272) / 100), BYTES, [one])
    write_choice_records(tmp_path / "arc.jsonl", result)
    (line,) = (tmp_path / "arc.jsonl").read_text(encoding="utf-8").splitlines()
    read = json.loads(line)
    assert "Größe?" in line
    assert (read["id"], read["gold"], read["chosen"], read["credit"]) == ("a1", "B", "C", 0.0)
    # Logits 0.65, 0.66, 0.67 of the letters.
    weights = [math.exp(x) for x in (0.65, 0.66, 0.67)]
    assert read["confidence"] == pytest.approx(weights[2] / sum(weights), rel=1e-5)
