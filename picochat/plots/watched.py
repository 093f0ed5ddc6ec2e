"""Runs that are watched: which of their quantities are offered first, and curves, a picture per stage."""

from collections.abc import Iterable, Mapping, Sequence

import plotly.graph_objects as go

from picochat.plots.curves import Curve, loss_figure

STAGES = {"pretrain": "pretraining", "sft": "fine-tuning", "grpo": "practice"}
"""What pages call the stages, in their order."""

USUAL = {
    "loss": "loss",
    "held-out val_loss": "held-out loss",
    "held-out bpb": "held-out bits per byte",
    "held-out accuracy": "held-out problems right, share",
    "accuracy": "practised problems right, share",
    "reward": "reward of practice",
    "grad norm": "length of the gradient",
    "tokens per second": "tokens a second",
}
"""Quantities (see `picochat.train.watch.flatten`) that most people look at, and what they are called."""


def choices(found: Iterable[str], *, more: bool = False) -> dict[str, str]:
    """Return the quantities to choose from, by what they are called: the usual ones, of those that there are.

    more: also all others, by the names that they have in metrics.jsonl.

    >>> choices(["lr head", "loss", "reward"])
    {'loss': 'loss', 'reward of practice': 'reward'}
    >>> choices(["lr head", "loss"], more=True)
    {'loss': 'loss', 'lr head': 'lr head'}
    """
    there = list(dict.fromkeys(found))
    named = {text: name for name, text in USUAL.items() if name in there or name == "loss"}
    return named | {name: name for name in there if more and name not in USUAL}


def stage_figures(
    curves: Mapping[str, Sequence[Curve]], quantity: str, *, smooth_over: int, log_x: bool, log_y: bool
) -> list[go.Figure]:
    """Return a figure per stage that has a curve, for a loss of one stage can not be compared with another's.

    curves: by stage. Of several figures each says in its title which stage it is.
    """
    stages = sorted((stage for stage in curves if curves[stage]), key=[*STAGES, *curves].index)
    return [
        loss_figure(
            curves[stage],
            smooth_over=smooth_over,
            y_title=USUAL.get(quantity, quantity),
            log_x=log_x,
            log_y=log_y,
            title=STAGES.get(stage, stage) if len(stages) > 1 else "",
            height=300 if len(stages) > 1 else 360,
        )
        for stage in stages
    ]
