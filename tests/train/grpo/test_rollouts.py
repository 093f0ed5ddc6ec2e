"""The batches that a policy writes for itself."""

import copy
import json
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from picochat.data.batch import IGNORE
from picochat.data.mixture import Mixture
from picochat.engine.events import Completion
from picochat.engine.generate import Engine
from picochat.model.config import ModelConfig
from picochat.model.gpt import GPT
from picochat.model.init import initialize
from picochat.tokenizer.conversation import render_conversation, render_prompt
from picochat.train.options import GrpoOptions
from picochat.train.policy_loss import chosen_logprobs
from picochat.train.rewards import Reward
from picochat.train.rollouts import Question, Rollouts

THINK, END_THINK = "<|think_start|>", "<|think_end|>"
CALL, END_CALL, END = "<|tool_call_start|>", "<|tool_call_end|>", "<|assistant_end|>"

VOWELS = {"vowels": Reward(function=lambda _, c: sum(letter in "aeiou" for letter in c.text), weight=1.0)}

Make = Callable[..., Rollouts]


@pytest.fixture
def make(model: GPT, tokenizer, problems) -> Make:
    """Return a source on the first `count` problems; `options` are those of the command."""

    def make(*, count: int = 12, rewards=VOWELS, reference: GPT | None = None, **options) -> Rollouts:
        questions = [Question(p, render_prompt(tokenizer, p.messages)) for p in problems[:count]]
        chosen = GrpoOptions(
            **{"prompts": 3, "group_size": 4, "max_tokens": 10, "dynamic_sampling": False, **options}
        )
        mixture = Mixture([questions], [1.0], chosen.seed)
        return Rollouts(model, tokenizer, mixture, rewards, chosen, reference=reference)

    return make


def test_answers_are_what_the_engine_gives_alone_with_their_seeds(make, model, tokenizer):
    """G = 16 from one prompt, each against a stream of its own."""
    rollouts = make(prompts=1, group_size=16, temperature=1.2, max_tokens=20)
    next(rollouts)
    [event] = rollouts.report(1)
    [group] = rollouts._drawn
    assert len({tuple(answer.ids) for answer in group.answers}) > 8
    for answer in group.answers:
        options = replace(rollouts.options.sampling(seed=0), seed=answer.seed)
        generation = Engine(model, tokenizer).generate(group.prompt_ids, options)
        list(generation)
        assert generation.completion.ids == answer.ids
    assert [answer["seed"] for answer in event.answers] == [answer.seed for answer in group.answers]


def test_the_policy_in_training_is_the_one_that_was_sampled_from(make, model, tokenizer):
    """The log-probabilities of the cached decoder against those of a training-style pass."""
    rollouts = make(temperature=1.3)
    batch = next(rollouts)
    logprob_N, _ = chosen_logprobs(model, batch.ids_BT, batch.targets_BT, 1.3)
    sampled = []
    for group in rollouts._drawn:
        options = replace(rollouts.options.sampling(seed=0), seed=group.answers[0].seed)
        [completions] = Engine(model, tokenizer).generate_batch([group.prompt_ids], options, 4)
        sampled += [t.sampling_logprob for c in completions for t in c.tokens if not t.forced]
    torch.testing.assert_close(logprob_N, torch.tensor(sampled), atol=2e-4, rtol=0)


def scripted(monkeypatch: pytest.MonkeyPatch, answers: Callable[[int], list[Completion]]) -> list[int]:
    """Let the engine give `answers(n)` to the n-th prompt it is asked; returns the sizes of its batches."""
    asked: list[int] = []

    def generate_batch(self, prompts, options, num_samples):
        first = sum(asked)
        asked.append(len(prompts))
        return [answers(first + i)[:num_samples] for i in range(len(prompts))]

    monkeypatch.setattr(Engine, "generate_batch", generate_batch)
    return asked


def test_only_what_the_policy_chose_is_learned(make, complete, tokenizer, problems, monkeypatch):
    """Oracle: the mask of the chat renderer, which fine-tuning goes by."""
    answers = [
        complete(THINK, "I add.", END_THINK, CALL, "3+4", END_CALL, "#### 7", END),
        complete(CALL, "12*12", END_CALL, CALL, "1", END_CALL, END),
        complete("no", END),
    ]
    scripted(monkeypatch, lambda n: answers)
    rollouts = make(prompts=1, group_size=3, count=1)
    batch = next(rollouts)
    message = problems[0].messages[0]
    for row, answer in enumerate(answers):
        turn = replace(message, role="assistant", parts=answer.parts)
        rendered = render_conversation(tokenizer, [message, turn])
        n = len(rendered.ids)
        assert batch.ids_BT[row, : n - 1].tolist() == rendered.ids[:-1]
        expected = [
            id if learned else IGNORE for id, learned in zip(rendered.ids[1:], rendered.mask[1:], strict=True)
        ]
        assert batch.targets_BT[row].tolist() == expected + [IGNORE] * (batch.targets_BT.shape[1] - n + 1)
        assert (batch.ids_BT[row, n - 1 :] == tokenizer.special["<|pad|>"]).all()


def test_a_forced_end_of_thinking_is_not_learned(make, complete, tokenizer, monkeypatch):
    answers = [complete(THINK, "I add and add", "#### 7", END, thinking_budget=3), complete("no", END)]
    scripted(monkeypatch, lambda n: answers)
    batch = next(make(prompts=1, group_size=2, count=1))
    end = tokenizer.special[END_THINK]
    assert (batch.ids_BT[0] == end).sum() == 1
    assert not (batch.targets_BT[0] == end).any()


def test_one_batch_serves_for_several_steps(make, model):
    rollouts = make(epochs=3)
    first = next(rollouts)
    before = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.01 * parameter.sign()
    later = [next(rollouts), next(rollouts)]
    assert "old_logprobs" not in first.extras
    assert first.stats["reward"] > 0
    chosen_BT = first.targets_BT != IGNORE
    expected_N, _ = chosen_logprobs(before, first.ids_BT, first.targets_BT, 1.0)
    for batch in later:
        assert torch.equal(batch.ids_BT, first.ids_BT)
        assert torch.equal(batch.extras["advantages"], first.extras["advantages"])
        assert torch.equal(batch.extras["old_logprobs"][chosen_BT], expected_N)
        assert batch.stats == {}
    assert not rollouts.report(3)
    assert not torch.equal(next(rollouts).ids_BT, first.ids_BT)


def test_the_reference_stays(make, model):
    reference = copy.deepcopy(model)
    rollouts = make(reference=reference, epochs=2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.01
    for _ in range(4):
        batch = next(rollouts)
        expected_N, _ = chosen_logprobs(reference, batch.ids_BT, batch.targets_BT, 1.0)
        assert torch.equal(batch.extras["reference_logprobs"][batch.targets_BT != IGNORE], expected_N)


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_source_goes_on_where_another_stopped(epochs: int, make):
    whole = make(epochs=epochs)
    states, batches = [], []
    for _ in range(7):
        states.append(json.dumps(whole.state_dict()))
        batches.append(next(whole))
    for n in range(7):
        other = make(epochs=epochs)
        other.load_state_dict(json.loads(states[n]))
        for expected in batches[n : n + 3]:
            batch = next(other)
            assert torch.equal(batch.ids_BT, expected.ids_BT)
            assert batch.extras.keys() == expected.extras.keys()
            assert all(torch.equal(batch.extras[name], expected.extras[name]) for name in batch.extras)


def test_seed_and_batch_decide_what_is_drawn(make):
    batches = [next(make(seed=seed)).ids_BT for seed in (1, 1, 2)]
    assert torch.equal(batches[0], batches[1])
    assert batches[0].shape != batches[2].shape or not torch.equal(batches[0], batches[2])


def test_no_prompt_twice_in_a_batch(make):
    """Two batches of 3 from 5 problems: the second crosses into a new pass over the problems."""
    rollouts = make(count=5)
    for _ in range(4):
        next(rollouts)
        assert len({group.problem for group in rollouts._drawn}) == 3


@pytest.mark.parametrize(
    ("dull", "asked"), [(0, [4]), (1, [4, 1]), (3, [4, 3]), (4, [4, 4]), (6, [4, 4, 2]), (99, [4, 4, 4])]
)
def test_groups_without_signal_are_replaced(dull, asked, make, complete, monkeypatch):
    """The first `dull` problems are answered alike by all; `asked`: problems per round of drawing."""
    alike = [complete("a", END)] * 3
    unlike = [complete("a", END), complete("aa", END), complete("b", END)]
    sizes = scripted(monkeypatch, lambda n: alike if n < dull else unlike)
    rollouts = make(count=30, prompts=4, group_size=3, dynamic_sampling=True, max_draws=3)
    batch = next(rollouts)
    assert sizes == asked
    assert batch.ids_BT.shape[0] == 12
    drawn = sum(asked)
    num_good = max(0, drawn - dull)
    assert batch.stats["replaced"] == drawn - 4
    assert batch.stats["no_signal"] == pytest.approx(min(dull, drawn) / drawn)
    assert (batch.extras["advantages"] != 0).any(dim=0) == (num_good > 0)
    trained = [event.is_trained for event in rollouts.report(1)]
    assert len(trained) == drawn
    assert sum(trained) == 4
    good = [index for index in range(drawn) if index >= dull]
    assert all(trained[index] for index in good[:4])


def test_without_dynamic_sampling_all_groups_are_trained_on(make, complete, monkeypatch):
    sizes = scripted(monkeypatch, lambda n: [complete("a", END)] * 3)
    batch = next(make(prompts=4, group_size=3))
    assert sizes == [4]
    assert (batch.stats["no_signal"], batch.stats["replaced"]) == (1, 0)
    assert not batch.extras["advantages"].any()


def test_the_record_can_be_cut_short(make):
    rollouts = make(log_groups=2)
    next(rollouts)
    assert [event.index for event in rollouts.report(5)] == [0, 1]


@pytest.mark.slow
def test_a_group_is_decoded_at_least_six_times_faster_than_its_answers_one_by_one(tokenizer):
    model = GPT(ModelConfig.from_depth(4, vocab_size=tokenizer.vocab_size, sequence_len=256))
    initialize(model, seed=0)
    engine = Engine(model, tokenizer)
    engine.forbidden += [tokenizer.special[END], tokenizer.special["<|bos|>"]]  # equally long answers
    prompt = list(range(100, 200))
    options = GrpoOptions(max_tokens=100).sampling(seed=3)
    ratios = []
    for _ in range(5):
        began = time.perf_counter()
        [together] = engine.generate_batch([prompt], options, 16)
        middle = time.perf_counter()
        alone = [engine.generate_batch([prompt], replace(options, seed=3 + j))[0][0] for j in range(16)]
        ratios.append((time.perf_counter() - middle) / (middle - began))
        assert [completion.ids for completion in together] == [completion.ids for completion in alone]
    assert max(ratios) > 6, ratios
