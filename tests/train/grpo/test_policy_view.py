"""Looking at the tokens of a group: what the numbers are, and that looking changes nothing."""

import math

import pytest
import torch

from picochat.plots.rollouts import CURVES, practice_curves
from picochat.train.events import StepDone
from picochat.train.groups import judge
from picochat.train.policy_view import view_group
from picochat.train.rewards import Reward


def make_steps(run, count):
    while run.trainer.step < count:
        next(run)
    return run.trainer.batches


def view(run, group):
    pad_id = run.tokenizer.special["<|pad|>"]
    rollouts = run.trainer.batches
    temperature = run.options.temperature
    return view_group(run.model, rollouts.reference, group, temperature=temperature, pad_id=pad_id)


def test_before_a_step_nothing_has_changed(practise):
    run = practise()
    rollouts = run.trainer.batches
    next(rollouts)
    for group in rollouts.latest:
        for answer, tokens in zip(group.answers, view(run, group), strict=True):
            assert [token.id for token in tokens] == answer.ids
            for token in tokens:
                assert token.change == pytest.approx(0, abs=1e-3)
                assert token.kl == pytest.approx(0, abs=1e-6)
                assert 0 < token.entropy < math.log(run.model.config.vocab_size)


def test_changes_and_divergence_are_those_of_whole_forward_passes(practise):
    """Against the softmax of all logits of each answer alone, without padding."""
    run = practise(lr=3e-3, temperature=1.3)
    rollouts = make_steps(run, 2)
    group = rollouts.latest[0]
    moved = 0.0
    for answer, tokens in zip(group.answers, view(run, group), strict=True):
        ids_1T = torch.tensor([group.prompt_ids + answer.ids])
        place = torch.arange(len(group.prompt_ids) - 1, ids_1T.shape[1] - 1)
        now_TV, then_TV = (
            (model(ids_1T)[0, place] / 1.3).log_softmax(-1).detach()
            for model in (run.model, rollouts.reference)
        )
        at = torch.arange(len(tokens)), torch.tensor(answer.ids)
        now_T, then_T = now_TV[at], then_TV[at]
        change_T = now_T - torch.tensor(answer.logprobs)
        r_T = then_T - now_T
        for i, token in enumerate(tokens):
            assert token.change == pytest.approx(change_T[i].item(), abs=1e-3)
            assert token.kl == pytest.approx((r_T[i].exp() - 1 - r_T[i]).item(), abs=1e-4)
            moved = max(moved, abs(token.change))
    assert moved > 0.01


def test_what_is_rewarded_becomes_likelier(practise):
    run = practise(lr=3e-3, kl_beta=0.0)
    rollouts = make_steps(run, 1)
    assert rollouts.reference is None
    change = 0.0
    for group in rollouts.latest:
        for answer, tokens in zip(group.answers, view(run, group), strict=True):
            change += answer.advantage * sum(token.change for token in tokens)
            assert all(token.kl is None for token in tokens)
    assert change > 0


def test_forced_tokens_have_no_numbers(practise, complete, problems, tokenizer):

    call = ("<|tool_call_start|>", "1+2", "<|tool_call_end|>", "#### 3", "<|assistant_end|>")
    rewards = {"nothing": Reward(function=lambda problem, completion: 0.0, weight=1.0)}
    group = judge(problems[0], [1, 2], [complete(*call)], rewards, divide_by_std=True)
    [answer], [tokens] = group.answers, view(practise(), group)
    assert any(answer.forced)
    assert [token.change is None for token in tokens] == answer.forced
    assert [token.kl is None for token in tokens] == answer.forced


def test_looking_changes_nothing(practise):
    def losses(run, *, look):
        found = []
        for event in run:
            if isinstance(event, StepDone):
                found.append(event.loss.hex())
                if look:
                    for group in run.trainer.batches.latest:
                        view(run, group)
        return found

    assert losses(practise("a"), look=False) == losses(practise("b"), look=True)


def test_nothing_is_left_to_look_at_after_a_resume(practise):
    run = practise(steps=4)
    make_steps(run, 2)
    assert run.trainer.batches.latest
    run.trainer.load_state_dict(run.trainer.state_dict())
    assert run.trainer.batches.latest == []


def test_what_a_run_reports_is_drawn(practise):
    """The names that the figures look for against those that a run gives."""
    run = practise(steps=1, length_weight=0.1)
    list(run)
    curves = practice_curves(run.directory.rows("step"), run.directory.rows("eval"))
    assert list(curves) == list(CURVES)
    names = {curve.name for some in curves.values() for curve in some}
    assert {"reward (weighted sum)", "right", "too long", "groups without signal", "pass@3"} <= names
