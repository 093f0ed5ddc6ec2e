"""Practice as pictures: how the answers of a step were rewarded, and how the curves of GRPO go.

A group is a row of rollouts.jsonl (`picochat.train.events.RolloutDone`): one problem and all answers to it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from picochat.plots import style
from picochat.plots.curves import Curve
from picochat.plots.tokens import COLD, WARM

DIVERGING = ((0.0, COLD), (0.5, "#999999"), (1.0, WARM))
"""From an answer that is to be given less often to one that is to be given more often."""

Group = Mapping[str, Any]

CURVES: dict[str, tuple[str, ...]] = {
    "reward": ("reward", "reward_*"),
    "right answers": ("accuracy", "pass@k", "held out"),
    "tokens per answer": ("length", "length_max"),
    "entropy, nats": ("entropy",),
    "KL from the start, nats": ("kl",),
    "share of groups or answers": ("no_signal", "truncated"),
}
"""Figures of a run and the statistics in each: `reward_*` are the parts of the reward, `pass@k` is the one of
the largest k, `held out` the validation."""


def has_signal(group: Group) -> bool:
    """Whether some answer was rewarded better than another."""
    return any(answer["advantage"] for answer in group["answers"])


def strip_figure(groups: Sequence[Group], *, chosen: int | None = None, title: str = "") -> go.Figure:
    """Return the rewards of a step: a column per problem, a dot per answer, coloured by its advantage.

    Right answers are round, wrong ones crosses. Groups all of whose answers were rewarded alike have no
    advantage and are drawn hollow and grey: nothing is learned from them. `chosen` marks one column.
    """
    figure = style.figure(
        x={
            "title": {"text": "problem of the step"},
            "tickvals": list(range(len(groups))),
            "ticktext": [str(i + 1) for i in range(len(groups))],
            "range": [-0.7, len(groups) - 0.3],
            "zeroline": False,
        },
        y={"title": {"text": "reward"}, "zeroline": False},
        title=title,
        height=330,
    )
    if chosen is not None:
        figure.add_shape(
            type="rect",
            x0=chosen - 0.5,
            x1=chosen + 0.5,
            y0=0,
            y1=1,
            yref="paper",
            line={"width": 0},
            fillcolor="rgba(136, 136, 136, 0.18)",
            layer="below",
        )
    limit = max((abs(a["advantage"]) for group in groups for a in group["answers"]), default=0.0) or 1.0
    for is_right in (True, False):
        figure.add_trace(_dots(groups, is_right, limit))
    for name, mark in {"right": "circle", "wrong": "x", "nothing to learn from": "circle-open"}.items():
        figure.add_trace(_legend(name, mark))
    return figure


def _dots(groups: Sequence[Group], is_right: bool, limit: float) -> go.Scatter:
    dots = [
        (column, shift, group, number, answer)
        for column, group in enumerate(groups)
        for number, (shift, answer) in enumerate(zip(_shifts(group), group["answers"], strict=True))
        if answer["correct"] == is_right
    ]
    signal = [has_signal(group) for _, _, group, _, _ in dots]
    symbol = "circle" if is_right else "x"
    return go.Scatter(
        x=[column + shift for column, shift, *_ in dots],
        y=[answer["reward"] for *_, answer in dots],
        mode="markers",
        showlegend=False,
        marker={
            "size": 9,
            "symbol": [symbol if any_signal else f"{symbol}-open" for any_signal in signal],
            "color": [answer["advantage"] for *_, answer in dots],
            "colorscale": DIVERGING,
            "cmin": -limit,
            "cmax": limit,
            "showscale": is_right,
            "colorbar": {"title": {"text": "advantage"}, "thickness": 10, "outlinewidth": 0},
        },
        customdata=[
            [f"{group['problem']}, answer {number + 1}", _reward_text(answer), answer["advantage"]]
            for _, _, group, number, answer in dots
        ],
        hovertemplate="%{customdata[0]}<br>reward %{y:.2f} from %{customdata[1]}"
        "<br>advantage %{customdata[2]:+.2f}<extra></extra>",
    )


def _legend(name: str, symbol: str) -> go.Scatter:
    marker = {"symbol": symbol, "color": style.NEUTRAL, "size": 9}
    return go.Scatter(x=[None], y=[None], mode="markers", name=name, marker=marker)


def _shifts(group: Group) -> list[float]:
    """Return how far from the middle of its column each dot stands: equal rewards lie side by side."""
    places: dict[float, list[int]] = {}
    for number, answer in enumerate(group["answers"]):
        places.setdefault(round(answer["reward"], 3), []).append(number)
    shifts = [0.0] * len(group["answers"])
    for numbers in places.values():
        for i, number in enumerate(numbers):
            shifts[number] = 0.8 * (i - (len(numbers) - 1) / 2) / max(len(shifts), 1)
    return shifts


def _reward_text(answer: Mapping[str, Any]) -> str:
    rewards: list[tuple[str, float]] = list(answer["rewards"].items())
    return ", ".join(f"{style.label(REWARDS.get(name, name))} {value:.2f}" for name, value in rewards)


def practice_curves(
    steps: Sequence[Mapping[str, Any]], evals: Sequence[Mapping[str, Any]]
) -> dict[str, list[Curve]]:
    """Return the curves of each figure of `CURVES`; a figure without any is left out.

    steps, evals: the `step` and `eval` rows of a GRPO run's metrics.jsonl.
    """
    known = list(dict.fromkeys(name for row in steps for name in row["stats"]))
    held_out = [(row["step"], row["metrics"]["accuracy"]) for row in evals]
    made: dict[str, list[Curve]] = {}
    for figure, wanted in CURVES.items():
        names = [name for pattern in wanted for name in _matching(pattern, known)]
        points = {
            name: [(r["step"], r["stats"][name]) for r in steps if name in r["stats"]] for name in names
        }
        if "held out" in wanted and held_out:
            points["held out"] = held_out
        if points:
            made[figure] = [
                Curve(
                    name=READABLE.get(name, name.removeprefix("reward_")),
                    steps=at,
                    values=values,
                    is_measured=name == "held out",
                )
                for name, some in points.items()
                for at, values in [zip(*some, strict=True)]
            ]
    return made


def _matching(pattern: str, names: Sequence[str]) -> list[str]:
    """Return the statistics that an entry of `CURVES` asks for."""
    if pattern == "pass@k":
        ks = [int(name.removeprefix("pass@")) for name in names if name.startswith("pass@")]
        return [f"pass@{max(ks)}"] if ks else []
    if pattern.endswith("*"):
        return [name for name in names if name.startswith(pattern[:-1]) and name != "reward_std"]
    return [pattern] if pattern in names else []


REWARDS = {"accuracy": "right", "format": "well built", "tool": "calculator", "length": "too long"}
"""What the built-in parts of the reward are called; others have their own names."""

READABLE = {
    "reward": "reward (weighted sum)",
    **{f"reward_{name}": text for name, text in REWARDS.items()},
    "accuracy": "of all answers",
    "held out": "held-out problems",
    "length": "mean",
    "length_max": "longest",
    "no_signal": "groups without signal",
    "truncated": "answers cut off",
}
"""What statistics are called in legends."""


def weighted_names(names: Iterable[str], options: Mapping[str, Any]) -> dict[str, str]:
    """Return what the parts of the reward are called, with the weights that they are summed up by.

    options: those of the run, as run.json has them.

    For instance `right × 1` and `too long × −0.1`.
    """
    weights = {name: options.get(f"{name}_weight", 1.0) for name in REWARDS}
    weights["length"] = -weights["length"]
    for spec in options.get("reward", ()):
        weights[spec] = float(spec.split(":")[2]) if spec.count(":") == 2 else 1.0
    shown = {name: f"{weights.get(name, 1.0):g}".replace("-", "−") for name in names}
    return {name: f"{REWARDS.get(name, name)} ×\N{NO-BREAK SPACE}{weight}" for name, weight in shown.items()}
