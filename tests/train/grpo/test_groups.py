"""Advantages and statistics of groups, against numpy and counting."""

from itertools import combinations
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from picochat.train.groups import Group, advantages, judge, statistics
from picochat.train.rewards import Reward, accuracy

END = "<|assistant_end|>"


@pytest.mark.parametrize("divide_by_std", [True, False])
@given(rewards=st.lists(st.integers(-5, 5), min_size=2, max_size=9))
def test_advantages(rewards: list[int], divide_by_std: bool):
    result = np.array(advantages([r / 4 for r in rewards], divide_by_std=divide_by_std))
    values = np.array(rewards) / 4
    if values.std() == 0:
        assert not result.any()
    else:
        expected = (values - values.mean()) / (values.std() if divide_by_std else 1)
        np.testing.assert_allclose(result, expected, atol=1e-12)
        assert abs(result.sum()) < 1e-9


def test_equal_rewards_carry_no_signal_whatever_their_digits():
    assert advantages([0.1 + 0.2] * 7, divide_by_std=True) == [0.0] * 7


@pytest.fixture
def groups(problems, complete) -> list[Group]:
    """Of four answers to three problems, 2, 0 and 4 are right."""
    rewards = {
        "accuracy": Reward(function=accuracy, weight=1.0),
        "words": Reward(function=lambda problem, completion: len(completion.text.split()), weight=0.5),
    }
    made = []
    for problem, num_right in zip(problems, (2, 0, 4), strict=False):
        right = complete(f"#### {problem.answer}", END)
        wrong = complete("<|tool_call_start|>", "1+1", "<|tool_call_end|>", "no no", max_tokens=9)
        completions = [right] * num_right + [wrong] * (4 - num_right)
        made.append(judge(problem, [1, 2, 3], completions, rewards, divide_by_std=True))
    return made


def test_a_group_holds_what_was_made_of_its_answers(groups, problems):
    first = groups[0]
    assert (first.problem, first.task, first.gold) == (problems[0].id, "gsm8k", "0")
    assert [answer.correct for answer in first.answers] == [True, True, False, False]
    assert [answer.extracted for answer in first.answers] == ["0", "0", None, None]
    assert [answer.rewards for answer in first.answers] == [{"accuracy": 1, "words": 2}] * 2 + [
        {"accuracy": 0, "words": 2}
    ] * 2
    assert [answer.reward for answer in first.answers] == [2, 2, 1, 1]
    assert [answer.advantage for answer in first.answers] == [1, 1, -1, -1]
    assert first.answers[2].parts[:2] == [
        {"type": "tool_call", "text": "1+1"},
        {"type": "tool_result", "text": "2"},
    ]
    assert [group.has_signal for group in groups] == [True, False, False]
    assert Group.from_row(first.row()) == first


def test_statistics(groups):
    stats = statistics(groups)
    answers = [answer for group in groups for answer in group.answers]
    assert stats["reward"] == pytest.approx(np.mean([answer.reward for answer in answers]))
    assert stats["reward_std"] == pytest.approx(np.std([answer.reward for answer in answers]))
    assert stats["reward_accuracy"] == stats["accuracy"] == stats["pass@1"] == 6 / 12
    assert stats["reward_words"] == 2
    assert stats["length_max"] == max(answer.num_tokens for answer in answers)
    assert stats["truncated"] == 6 / 12
    assert stats["no_signal"] == pytest.approx(2 / 3)
    for k in (1, 2, 4):
        # By definition: the share of all choices of k answers that hold a right one.
        choices = [
            any(answer.correct for answer in chosen)
            for group in groups
            for chosen in combinations(group.answers, k)
        ]
        assert stats[f"pass@{k}"] == pytest.approx(fmean(choices))


def test_the_event_is_the_group_without_its_ids(groups):
    row = groups[0].event(step=3, index=1, is_trained=False).row()
    assert row["event"] == "rollout"
    assert (row["step"], row["index"], row["is_trained"]) == (3, 1, False)
    assert "prompt_ids" not in row
    assert {"ids", "forced"}.isdisjoint(row["answers"][0])
    assert row["answers"][0]["reward"] == 2
