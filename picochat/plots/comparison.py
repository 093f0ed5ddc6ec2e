"""Models against each other on the same problems, and one model over its training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from picochat.plots import style
from picochat.plots.scores import Point, interval_bars


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Problems of a task by which of two models does them right."""

    both: int
    first_only: int
    second_only: int
    neither: int


def agreement_figure(
    tasks: Mapping[str, Agreement], *, first: str, second: str, title: str = ""
) -> go.Figure:
    """Return a bar per task: what both models do, what one of them does, what neither does."""
    figure = style.figure(
        x={"title": {"text": "problems"}},
        y={"autorange": "reversed", "showgrid": False},
        title=title,
        height=130 + 38 * len(tasks),
    )
    series = (
        ("both", style.NEUTRAL, [one.both for one in tasks.values()]),
        (f"only {first}", style.color(0), [one.first_only for one in tasks.values()]),
        (f"only {second}", style.color(1), [one.second_only for one in tasks.values()]),
        ("neither", "rgba(136, 136, 136, 0.25)", [one.neither for one in tasks.values()]),
    )
    for name, color, counts in series:
        figure.add_trace(
            go.Bar(
                x=counts,
                y=[style.label(task) for task in tasks],
                orientation="h",
                name=style.label(name),
                marker={"color": color},
                texttemplate="%{x}",
                hovertemplate="%{y}: %{x} problems<extra>%{fullData.name}</extra>",
            )
        )
    figure.update_layout(barmode="stack", legend={"traceorder": "normal"})
    return figure


def difference_figure(tasks: Mapping[str, Point], *, title: str = "") -> go.Figure:
    """Return by how much the second of two models is better, with intervals, around a line at zero.

    An interval that does not touch the line is more than chance would do.
    """
    names = list(tasks)
    bound = max((abs(end) for point in tasks.values() for end in (point.low, point.high)), default=0) * 105
    figure = style.figure(
        x={"title": {"text": "difference, % points"}, "range": [-max(bound, 5), max(bound, 5)]},
        y={
            "tickvals": list(range(len(names))),
            "ticktext": [style.label(name) for name in names],
            "range": [len(names) - 0.5, -0.5],
            "zeroline": False,
        },
        title=title,
        height=110 + 38 * len(names),
    )
    zero = {"color": style.NEUTRAL, "dash": "dot", "width": 1.5}
    figure.add_trace(
        go.Scatter(
            x=[0, 0],
            y=[-0.5, len(names) - 0.5],
            mode="lines",
            line=zero,
            showlegend=False,
            hoverinfo="skip",
        )
    )
    points = list(tasks.values())
    figure.add_trace(
        go.Scatter(
            x=[100 * point.value for point in points],
            y=list(range(len(names))),
            mode="markers",
            showlegend=False,
            marker={"color": style.color(0), "size": 9},
            error_x=interval_bars(points, 100),
            customdata=[[100 * point.low, 100 * point.high, point.num_problems] for point in points],
            hovertemplate="%{x:+.1f} [%{customdata[0]:+.1f}, %{customdata[1]:+.1f}] on "
            "%{customdata[2]} problems<extra></extra>",
        )
    )
    return figure


def bits_figure(points: Mapping[str, Point], *, title: str = "") -> go.Figure:
    """Return bits per byte of each model with its interval; less is better."""
    names = list(points)
    figure = style.figure(
        x={"title": {"text": "bits per byte (less is better)"}},
        y={
            "tickvals": list(range(len(names))),
            "ticktext": [style.label(name) for name in names],
            "range": [len(names) - 0.5, -0.5],
            "zeroline": False,
        },
        title=title,
        height=100 + 34 * len(names),
    )
    for index, (name, point) in enumerate(points.items()):
        figure.add_trace(
            go.Scatter(
                x=[point.value],
                y=[index],
                mode="markers+text",
                name=style.label(name),
                showlegend=False,
                text=[f"{point.value:.3f}"],
                textposition="top center",
                cliponaxis=False,
                marker={"color": style.color(index), "symbol": style.symbol(index), "size": 9},
                error_x=interval_bars([point], 1),
                hovertemplate=f"%{{x:.4f}} [{point.low:.4f}, {point.high:.4f}]"
                "<extra>%{fullData.name}</extra>",
            )
        )
    return figure


def trend_figure(
    scores: Mapping[str, Mapping[str, Sequence[tuple[int, Point]]]], *, title: str = ""
) -> go.Figure:
    """Return scores over the steps of training: scores[run][task] is a list of (step, score).

    A task has a colour, a run a dash; the bars are the intervals.
    """
    figure = style.figure(
        x={"title": {"text": "step"}}, y={"title": {"text": "score, %"}, "range": [-2, 102]}, title=title
    )
    tasks = list(dict.fromkeys(task for some in scores.values() for task in some))
    dashes = ("solid", "dash", "dot", "dashdot")
    for number, (run, some) in enumerate(scores.items()):
        for task, points in some.items():
            index = tasks.index(task)
            values = [point for _, point in points]
            figure.add_trace(
                go.Scatter(
                    x=[step for step, _ in points],
                    y=[100 * point.value for point in values],
                    mode="lines+markers",
                    name=style.label(task if len(scores) == 1 else f"{run}: {task}"),
                    line={"color": style.color(index), "dash": dashes[number % len(dashes)]},
                    marker={"symbol": style.symbol(index), "size": 8},
                    error_y=interval_bars(values, 100, thickness=1),
                    hovertemplate="step %{x}: %{y:.1f} %<extra>%{fullData.name}</extra>",
                )
            )
    return figure
