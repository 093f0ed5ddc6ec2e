"""What the pictures of practice show, dot by dot."""

import pytest

from picochat.plots.answers import Judged, group_html
from picochat.plots.rollouts import practice_curves, strip_figure, weighted_names


def answer(reward: float, advantage: float, *, correct: bool):
    return {"reward": reward, "advantage": advantage, "correct": correct, "rewards": {"accuracy": reward}}


GROUPS = [
    {
        "problem": "train.jsonl:3",
        "answers": [
            answer(1.2, 1.0, correct=True),
            answer(0.2, -1.0, correct=False),
            answer(1.2, 1.0, correct=True),
            answer(0.2, -1.0, correct=False),
        ],
    },
    {"problem": "train.jsonl:9", "answers": [answer(0.2, 0.0, correct=False)] * 4},
]


def test_every_answer_is_a_dot():
    figure = strip_figure(GROUPS, chosen=1)
    right, wrong, *legend = figure.data
    assert [entry.name for entry in legend] == ["right", "wrong", "nothing to learn from"]
    assert list(right.y) == [1.2, 1.2]
    assert list(wrong.y) == [0.2] * 6
    assert list(right.marker.color) == [1.0, 1.0]
    assert (right.marker.cmin, right.marker.cmax) == (-1.0, 1.0)
    assert list(wrong.marker.symbol) == ["x"] * 2 + ["x-open"] * 4
    # In its own column, and none on another.
    places = [*zip(right.x, right.y, strict=True), *zip(wrong.x, wrong.y, strict=True)]
    assert len(set(places)) == 8
    assert sorted(round(x) for x, _ in places) == [0] * 4 + [1] * 4
    assert right.customdata[0][:2] == ["train.jsonl:3, answer 1", "right 1.20"]
    assert {"xaxis", "yaxis"}.isdisjoint(figure.to_plotly_json()["layout"])
    [mark] = figure.layout.shapes
    assert (mark.x0, mark.x1) == (0.5, 1.5)


def test_a_step_without_any_signal_can_be_drawn():
    figure = strip_figure(GROUPS[1:])
    assert (figure.data[1].marker.cmin, figure.data[1].marker.cmax) == (-1, 1)


def step(number: int, **stats: float):
    return {"step": number, "stats": stats}


def test_curves_are_found_by_name():
    steps = [
        step(
            1, reward=0.5, reward_std=9, reward_accuracy=0.4, reward_mine=1, **{"pass@1": 0.4, "pass@8": 0.7}
        ),
        step(
            2, reward=0.6, reward_std=9, reward_accuracy=0.5, reward_mine=2, **{"pass@1": 0.5, "pass@8": 0.8}
        ),
        step(3, entropy=0.3),
    ]
    curves = practice_curves(steps, [{"step": 0, "metrics": {"accuracy": 0.25}}])
    assert list(curves) == ["reward", "right answers", "entropy, nats"]
    assert [curve.name for curve in curves["reward"]] == ["reward (weighted sum)", "right", "mine"]
    assert [(c.name, c.steps, c.values) for c in curves["right answers"]] == [
        ("pass@8", (1, 2), (0.7, 0.8)),
        ("held-out problems", (0,), (0.25,)),
    ]
    assert (curves["entropy, nats"][0].steps, curves["entropy, nats"][0].values) == ((3,), (0.3,))


def test_the_table_calls_rewards_as_the_curves_do():
    rewards = {"accuracy": 1.0, "length": 0.5, "mine:fun": 2.0, "mine:less:-2": 0.0}
    stats = {f"reward_{name}": value for name, value in rewards.items()}
    curves = [curve.name for curve in practice_curves([step(1, **stats)], [])["reward"]]
    options = {"accuracy_weight": 1.0, "length_weight": 0.1, "reward": ["mine:fun", "mine:less:-2"]}
    called = weighted_names(rewards, options)
    heads = ["right ×\xa01", "too long ×\xa0−0.1", "mine:fun ×\xa01", "mine:less:-2 ×\xa0−2"]
    assert list(called.values()) == heads
    assert [head.rpartition(" ×\xa0")[0] for head in heads] == curves
    answer = Judged(parts="a", is_right=True, rewards=rewards, reward=1.0, advantage=0.0)
    page = group_html("q", "g", [answer], called=called)
    assert [page.index(f">{head}<") for head in heads] == sorted(page.index(f">{head}<") for head in heads)
    assert ">accuracy<" not in page


@pytest.mark.parametrize("steps", [[], [step(1)]])
def test_no_statistics_no_figures(steps):
    assert practice_curves(steps, []) == {}
