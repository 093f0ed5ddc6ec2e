"""What a page says of its run: what it is doing, how long it will take, what went wrong, how to go on."""

import marimo as mo

from picochat.data.builtin.write import is_default_world_written
from picochat.errors import UserError
from picochat.train.controller import Controller
from picochat.train.events import Saved, StepDone
from picochat.train.history import History
from picochat.train.options import PretrainOptions

NEXT_PAGE = {"pretrain": "sft", "sft": "grpo", "grpo": "eval"}
"""The notebook that goes on with the model of a stage."""
_SHRINK = "<style>div:has(> marimo-plotly), div:has(> div > marimo-plotly) {min-width: 0}</style>"
"""Lets figures beside each other shrink with the window; else a column stays as wide as what it holds."""
_STATES = {
    "building": "getting ready",
    "paused": "waiting for you",
    "running": "training",
    "finished": "finished",
    "failed": "stopped by an error",
}


def status(controller: Controller) -> mo.Html:
    """Return a line on how far the run is, what went wrong or is worth knowing, and at the end the way on."""
    step, steps = controller.progress
    parts = [f"**{_state(controller)}**"]
    if steps:
        parts.append(f"step **{step:,}** of {steps:,}")
    last, saved = controller.history.last(StepDone), controller.history.last(Saved)
    if controller.state == "running" and not controller.is_first_step:
        if last is not None:
            parts.append(f"{last.tokens_per_second:,.0f} tokens a second")
        if left := controller.seconds_left:
            parts.append(f"about {duration(left)} left")
    if (directory := controller.directory) is not None:
        parts.append(f"`{directory.path}`" + (f", saved at step {saved.step:,}" if saved is not None else ""))
    notes = [mo.callout(mo.plain_text(note), kind="warn") for note in controller.notes]
    errors = [] if controller.error is None else [trouble(controller.error)]
    line = mo.Html(mo.md(" · ".join(parts)).text + _SHRINK)
    return mo.vstack([line, *notes, *errors, *_ending(controller)])


def _state(controller: Controller) -> str:
    if controller.state == "building":
        if controller.doing:
            return f"getting ready: {controller.doing}"
        options = getattr(controller, "options", None)
        if not getattr(options, "data", ()) and not is_default_world_written():
            return "getting ready: the built-in world is written, once; this takes some ten seconds"
        return "getting ready: tokenizer, text and weights"
    if controller.is_pausing:
        return "pausing after this step"
    if controller.is_first_step:
        return "making the first step; it takes longer, for it prepares what all others use"
    return _STATES[controller.state]


def model_line(controller: Controller, options: PretrainOptions) -> mo.Html:
    """Return what is trained, on what, and which tokenizer it reads with."""
    config = controller.model_config
    if config is None:
        return mo.md("*the model is being made …*")
    text = ", ".join(f"`{path}`" for path in options.data) or "the built-in world"
    source = f"from `{options.tokenizer}`" if options.tokenizer else "trained on this text"
    return mo.md(
        f"**The model:** {config.n_layer} layers, {config.num_parameters():,} weights. **Its text:** {text}. "
        f"**Its tokenizer:** {config.vocab_size:,} tokens, {source}. A step reads {options.step_text}."
    )


def duration(seconds: float) -> str:
    """Return a time in words, as exact as one wants to know it."""
    if seconds < 50:
        return f"{max(5 * round(seconds / 5), 5)} s"
    if seconds < 90 * 60:
        return f"{max(round(seconds / 60), 1)} min"
    return f"{seconds / 3600:.1f} hours"


def _ending(controller: Controller) -> list[mo.Html]:
    """Return where the model of a run that has ended is, and what can be done with it."""
    directory, (step, steps) = controller.directory, controller.progress
    if controller.state != "finished" or directory is None or not directory.exists():
        return []
    path = directory.checkpoints().get(step)
    stage = directory.info()["stage"]
    folder = directory.path.parent
    where = f" --runs-dir {folder}" if str(folder) != "runs" else ""
    again = f"just app {stage} -- --run {directory.name}{where} --resume"
    lines = [] if path is None else [f"**The model is saved** as `{path}`."]
    if step < steps:
        lines.append(f"The run was stopped before its end. `{again}` goes on with it.")
    else:
        page = NEXT_PAGE[stage]
        lines.append(
            "- **Next page**, in another terminal (this one serves the page until Ctrl-C): "
            f"`just app {page}`; choose **{directory.name}** there."
        )
        lines.append(f"- To train it further, to step {2 * steps:,} say: `{again} --steps {2 * steps}`.")
    lines.append("- *Reset* begins another run with fresh weights; this one is kept.")
    return [mo.callout(mo.md("\n".join([lines[0], "", *lines[1:]])), kind="success")]


def trouble(error: BaseException) -> mo.Html:
    """Return what the page shows of an error: a user's mistake as it is, a bug by its name."""
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return mo.callout(mo.plain_text(text), kind="danger")


def change_marks(history: History, batch_size: int | None) -> list[tuple[int, str]]:
    """Return what is to be written at each change of a run that began with `batch_size`."""
    marks = []
    before = (1.0, batch_size)
    for change in history.changes():
        words = []
        if change.lr_scale != before[0]:
            words.append(f"lr ×{change.lr_scale:g}")
        if change.batch_size != before[1]:
            words.append(f"batch {change.batch_size}")
        before = (change.lr_scale, change.batch_size)
        if words:
            marks.append((change.step, ", ".join(words)))
    return marks
