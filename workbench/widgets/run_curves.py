"""Which curves of a run belong into one chart, and in which colours."""

from workbench.canvas import COLOURS, Line
from workbench.series import Curves, smoothed

FAINT_FROM = 30
"""Points from which on a curve is smoothed with its raw values behind it."""


def run_lines(curves: Curves, *, smoothing: float | None = None) -> list[Line]:
    """Return the loss of a run, smoothed, and its validation in the same unit."""
    lines = []
    loss = curves.series.get("loss")
    if loss is not None:
        lines += metric_lines(curves, "loss", "loss", COLOURS[0], smoothing=smoothing)
    held_out = curves.series.get("eval val_loss")
    if held_out is not None:
        lines.append(
            Line(
                name="validation",
                steps=held_out.steps,
                values=held_out.values,
                colour=COLOURS[1],
                has_points=True,
            )
        )
    return lines


def metric_lines(
    curves: Curves, metric: str, name: str, colour: str, *, smoothing: float | None = None
) -> list[Line]:
    """Return the line of one metric, smoothed over `smoothing` steps (None: a fortieth of the run)."""
    series = curves.series.get(metric)
    if series is None or not len(series):
        return []
    if metric.startswith("eval "):
        return [Line(name=name, steps=series.steps, values=series.values, colour=colour, has_points=True)]
    span = (series.steps[-1] - series.steps[0]) / 40 if smoothing is None else smoothing
    if span <= 1 or len(series) < FAINT_FROM:
        return [Line(name=name, steps=series.steps, values=series.values, colour=colour)]
    smooth = smoothed(series, span)
    return [
        Line(name=name, steps=series.steps, values=series.values, colour=colour, is_faint=True),
        Line(name=name, steps=smooth.steps, values=smooth.values, colour=colour),
    ]


FIRST = {
    "grpo": ("reward", "accuracy", "loss", "length", "kl", "grad_norm", "tokens_per_second"),
    "": ("loss", "eval bpb", "grad_norm", "tokens_per_second", "lr matrices"),
}
"""The curves that are looked at first, by stage."""


def chart_metrics(curves: Curves, stage: str) -> list[str]:
    """Return the names of a run's curves, the most telling ones first; validation is part of `loss`."""
    first = FIRST.get(stage, FIRST[""])
    known = [name for name in curves.series if name != "eval val_loss" or "loss" not in curves.series]
    return [name for name in first if name in known] + sorted(name for name in known if name not in first)
