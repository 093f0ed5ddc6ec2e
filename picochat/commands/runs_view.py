"""How runs are shown: a table of all, one in full, several side by side."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from picochat.commands.text_plot import curve, smooth, sparkline
from picochat.train.options import GrpoOptions, PretrainOptions, SftOptions
from picochat.train.run_dir import RunDir

PIPED_WIDTH = 160
SMOOTH_OVER = 20
"""Steps over which losses are averaged."""
ROWS_AT_MOST = 10
OPTIONS = {"pretrain": PretrainOptions, "sft": SftOptions, "grpo": GrpoOptions}
ABOUT_THE_RUN = ("run", "runs_dir", "resume")
"""Options that say where a run is, not what it is."""
STATE_STYLES = {"running": "green", "paused": "yellow", "failed": "red", "crashed": "red"}


def make_console() -> Console:
    """Return a console that has room for tables where nobody's terminal sets the width."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPED_WIDTH)


def overview(run: RunDir) -> dict[str, Any]:
    """Return what the table of runs says of one."""
    info, status = run.info(), run.status()
    losses = [row["loss"] for row in run.rows("step")]
    steps = status.get("steps", info["options"].get("steps", "?"))
    return {
        "created": info["created"],
        "run": run.name,
        "stage": info["stage"],
        "state": status["state"],
        "step": f"{status['step']}/{steps}",
        "loss": f"{smooth(losses, SMOOTH_OVER)[-1]:.3f}" if losses else "",
        "score": _score(last_metrics(run)),
        "params": short_count(info.get("num_parameters", 0)),
        "size": short_bytes(run.size()),
        "age": age(time.time() - info["created"]),
        "parent": short_parent(info["parent"]),
        "curve": sparkline(losses, 12),
    }


def print_overview(rows: Iterable[dict[str, Any]], console: Console) -> None:
    """Print the table of runs, oldest first; on a narrow terminal without the last columns."""
    rows = sorted(rows, key=lambda row: row["created"])
    columns = ["run", "stage", "state", "step", "loss", "score", "params", "age", "size", "parent", "curve"]
    table = _overview_table(rows, columns)
    unlimited = console.options.update(width=1000)
    while console.measure(table, options=unlimited).maximum > console.width and len(columns) > 4:
        columns.pop()
        table = _overview_table(rows, columns)
    console.print(table)


def _overview_table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        is_number = name in ("step", "loss", "params", "size", "age")
        table.add_column(name, justify="right" if is_number else "left", no_wrap=True)
    for row in rows:
        styles = {"state": STATE_STYLES.get(row["state"], "")}
        table.add_row(*(Text(row[name], style=styles.get(name, "")) for name in columns))
    return table


def show(run: RunDir, console: Console) -> None:
    """Print one run: where it stands, options, model, loss, checkpoints, the latest samples."""
    info, status = run.info(), run.status()
    row = overview(run)
    console.print(f"[bold]{escape(run.name)}[/]  {row['stage']}  {row['state']}  step {row['step']}")
    if "message" in status:
        console.print(f"[red]{escape(status['message'])}[/]")
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(info["created"]))
    facts = {
        "created": since,
        "parent": row["parent"],
        "device": info.get("device"),
        "dtype": info.get("dtype"),
    }
    facts |= {"size": row["size"], "parameters": f"{info.get('num_parameters', 0):,}"}
    versions = " ".join(f"{name} {version}" for name, version in info.get("versions", {}).items())
    console.print(_pairs({**{name: fact for name, fact in facts.items() if fact}, "versions": versions}))
    console.print("\n[bold]options[/] (changed ones bold)")
    console.print(_options_text(info["stage"], info["options"]))
    console.print("\n[bold]model[/]")
    console.print(_pairs(info.get("model", {})))
    if steps := run.rows("step"):
        losses = smooth([row["loss"] for row in steps], SMOOTH_OVER)
        console.print(f"\n[bold]loss[/] (mean of {SMOOTH_OVER} steps)")
        width = max(20, min(console.width - 12, 100))
        for line in curve([row["step"] for row in steps], losses, width=width):
            console.print(line, soft_wrap=True)
    if evals := run.rows("eval"):
        console.print(f"\n[bold]{' '.join(evals[-1]['metrics'])}[/]")
        for row in _spread(evals):
            console.print(
                f"  step {row['step']:>6}  " + "  ".join(f"{x:.4f}" for x in row["metrics"].values())
            )
    _show_checkpoints(run, console)
    _show_samples(run, console)


def _show_checkpoints(run: RunDir, console: Console) -> None:
    scores, best = run.scores(), run.best()
    console.print("\n[bold]checkpoints[/]" + ("" if scores else ": none yet"))
    for step, score in scores.items():
        text = "" if score is None else f"  score {score:.4f}"
        console.print(f"  {escape(run.name)}@{step}{text}{'  best' if step == best else ''}")


def _show_samples(run: RunDir, console: Console) -> None:
    samples = run.samples()
    if not samples:
        return
    last = samples[-1]["step"]
    console.print(f"\n[bold]samples[/] of step {last}")
    for sample in samples:
        if sample["step"] == last:
            console.print(f"  [bold]{escape(repr(sample['prompt']))}[/] {escape(repr(sample['text']))}")


def compare(runs: Sequence[RunDir], console: Console) -> None:
    """Print what differs between runs: options, scores, losses at equal steps."""
    infos = [run.info() for run in runs]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for run in runs:
        table.add_column(escape(run.name), justify="right", overflow="fold")

    def add(name: str, values: Sequence[Any]) -> None:
        table.add_row(name, *(escape(_text(value)) for value in values))

    add("stage", [info["stage"] for info in infos])
    add("state", [run.status()["state"] for run in runs])
    add("parameters", [f"{info.get('num_parameters', 0):,}" for info in infos])
    names = dict.fromkeys(name for info in infos for name in info["options"])
    for name in names:
        values = [info["options"].get(name, "") for info in infos]
        if name not in ABOUT_THE_RUN and any(value != values[0] for value in values):
            add(f"--{name.replace('_', '-')}", values)
    metrics = [last_metrics(run) for run in runs]
    for name in dict.fromkeys(name for row in metrics for name in row):
        add(f"last {name}", [f"{row[name]:.4f}" if name in row else "" for row in metrics])
    _add_losses(table, runs)
    console.print(table)


def _add_losses(table: Table, runs: Sequence[RunDir]) -> None:
    """Add the mean losses at up to ten steps that all runs made."""
    curves = []
    for run in runs:
        rows = run.rows("step")
        losses = smooth([row["loss"] for row in rows], SMOOTH_OVER)
        curves.append({row["step"]: loss for row, loss in zip(rows, losses, strict=True)})
    common = sorted(set.intersection(*(set(losses) for losses in curves)))
    for step in _spread(common):
        table.add_row(f"loss at step {step}", *(f"{losses[step]:.4f}" for losses in curves))


def last_metrics(run: RunDir) -> dict[str, float]:
    """Return the last validation of a run; nothing if there was none."""
    rows = run.rows("eval")
    return rows[-1]["metrics"] if rows else {}


def short_parent(parent: str | None) -> str:
    """Return the checkpoint that a run began from in short: NAME@STEP if it is one of a run's.

    >>> short_parent("runs/base/checkpoints/step-00000500")
    'base@500'
    """
    if parent is None:
        return ""
    path = Path(parent)
    if path.parent.name == "checkpoints" and path.name.startswith("step-"):
        return f"{path.parent.parent.name}@{int(path.name.removeprefix('step-'))}"
    return parent


def short_count(number: float) -> str:
    """Return a number in three digits.

    >>> short_count(950), short_count(28_049_544)
    ('950', '28.0M')
    """
    for unit in ("", "K", "M"):
        if number < 1000:
            return f"{number:.1f}{unit}" if unit else str(number)
        number /= 1000
    return f"{number:.1f}B"


def short_bytes(number: float) -> str:
    """Return a size on disk in powers of 1000."""
    return f"{short_count(number).replace('K', ' k').replace('M', ' M').replace('B', ' G')}B"


def age(seconds: float) -> str:
    """Return a span of time in its largest unit.

    >>> age(59), age(3600 * 5), age(86400 * 3)
    ('59 s', '5 h', '3 d')
    """
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def _score(metrics: dict[str, float]) -> str:
    return "{} {:.3f}".format(*next(iter(metrics.items()))) if metrics else ""


def _options_text(stage: str, options: dict[str, Any]) -> str:
    """Return the options as flags, those that are not the stage's defaults in bold."""
    changed = changed_options(stage, options)
    parts = []
    for name, value in options.items():
        if name in ABOUT_THE_RUN:
            continue
        text = escape(f"--{name.replace('_', '-')} {_text(value)}")
        parts.append(f"[bold]{text}[/]" if name in changed else text)
    return "  ".join(parts)


def changed_options(stage: str, options: Mapping[str, Any]) -> list[str]:
    """Return the names of the options in run.json that are not the stage's defaults."""
    known = OPTIONS.get(stage)
    defaults = {field.name: field.default for field in fields(known)} if known else {}
    changed = []
    for name, value in options.items():
        default = defaults.get(name, value)
        if name not in ABOUT_THE_RUN and value != (list(default) if isinstance(default, tuple) else default):
            changed.append(name)
    return changed


def _pairs(values: dict[str, Any]) -> str:
    return "  ".join(f"{name} [bold]{escape(_text(value))}[/]" for name, value in values.items())


def _text(value: Any) -> str:
    return " ".join(repr(item) for item in value) if isinstance(value, list | tuple) else str(value)


def _spread(items: Sequence[Any]) -> list[Any]:
    """Return at most ten of `items`, evenly chosen, the last one included."""
    count = min(len(items), ROWS_AT_MOST)
    return [items[(len(items) * (index + 1)) // count - 1] for index in range(count)]
