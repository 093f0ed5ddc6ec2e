"""The curves of a run as pages show them."""

import math
from collections.abc import Sequence

import marimo as mo
import plotly.graph_objects as go

from notebooks.layout import grid
from picochat.model.config import ModelConfig
from picochat.plots.curves import Curve, loss_figure
from picochat.plots.training import mark_changes, mark_place, ratio_figure
from picochat.train.events import EvalDone, Event, StepDone
from picochat.train.history import History

NO_STEP = "*No step was made yet: press* Step 1."


def loss_view(
    history: History,
    *,
    smooth_over: int,
    y_title: str,
    log_x: bool = False,
    log_y: bool = False,
    height: int = 400,
    changes: Sequence[tuple[int, str]] = (),
    shown_below: int | None = None,
) -> go.Figure | mo.Html:
    """Return the training and the validation loss over the steps.

    changes: what the user changed, a step and a word each. shown_below: the step that the page is about.
    """
    steps, values = history.curve(StepDone, "loss")
    if not len(steps):
        return mo.md(NO_STEP)
    train = Curve(name="training", steps=steps, values=values)
    validation = _curve(history, EvalDone, "metrics", "val_loss", name="validation", is_measured=True)
    figure = loss_figure(
        [train, validation],
        smooth_over=smooth_over,
        y_title=y_title,
        log_x=log_x,
        log_y=log_y,
        height=height,
    )
    mark_changes(figure, train, changes)
    if shown_below is not None:
        mark_place(figure, validation, shown_below, "")
    return figure


def beginning_note(history: History, config: ModelConfig | None) -> mo.Html:
    """Return how surprised the untrained model was, and why just so much."""
    first = next(iter(history.evals()), None)
    if config is None or first is None or first.step > 0:
        return mo.md("")
    loss, bits = first.metrics["val_loss"], first.metrics["bpb"]
    vocabulary = config.vocab_size
    num_bytes = loss / math.log(2) / bits
    return mo.md(
        f"Before its first step this model had a loss of **{loss:.2f} nats a token**. To guess blindly "
        f"among {vocabulary:,} tokens is ln {vocabulary:,} = {math.log(vocabulary):.2f} nats, or log₂ "
        f"{vocabulary:,} = {math.log2(vocabulary):.1f} bits; a token stands for {num_bytes:.1f} bytes "
        f"of this text, so that makes **{bits:.1f} bits per byte**. What is below these it has learned."
    )


def health_view(history: History, *, log_x: bool) -> mo.Html:
    """Return what tells whether training is healthy, two figures beside each other."""
    if not history.steps():
        return mo.md(NO_STEP)
    groups = history.names(StepDone, "lr")
    usual = {"log_x": log_x, "height": 270}
    bpb = _curve(history, EvalDone, "metrics", "bpb", name="validation", is_measured=True)
    speed = _curve(history, StepDone, "tokens_per_second", name="tokens a second")
    norm = _curve(history, StepDone, "grad_norm", name="gradient norm")
    rates = [_curve(history, StepDone, "lr", group, name=group) for group in groups]
    ratios = [_curve(history, StepDone, "update_ratio", group, name=group) for group in groups]
    return mo.vstack(
        [
            grid(
                loss_figure([bpb], y_title="bits per byte", **usual),
                loss_figure([speed], y_title="tokens / s", **usual),
                loss_figure([norm], y_title="norm", log_y=True, **usual),
                ratio_figure(ratios, **usual),
            ),
            loss_figure(rates, smooth_over=1, y_title="learning rate", log_y=True, **usual),
        ]
    )


def _curve(history: History, kind: type[Event], *path: str, name: str, is_measured: bool = False) -> Curve:
    steps, values = history.curve(kind, *path)
    return Curve(name=name, steps=steps, values=values, is_measured=is_measured)
