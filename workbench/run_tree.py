"""The rows of the table of runs: lineage, filter, order. Plain functions of what was found."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rich.text import Text

from picochat.commands.runs_view import age, short_bytes, short_count
from picochat.commands.text_plot import sparkline
from workbench.runs import Checkpoint, Facts
from workbench.visible import visible

ORDERS = ("lineage", "newest", "name", "loss", "score", "size")
COLUMNS = (
    (130, ("run", "stage", "state", "step", "loss", "score", "params", "size", "age", "curve", "parent")),
    (100, ("run", "stage", "state", "step", "loss", "score", "params", "size", "age", "curve")),
    (0, ("run", "stage", "state", "step", "score", "curve")),
)
"""Least width of the screen, and the columns that it has room for."""
RIGHT = ("step", "loss", "params", "size", "age")
STATES = {
    "running": ("●", "green"), "paused": ("‖", "yellow"), "starting": ("◌", "yellow"),
    "silent": ("?", "yellow"), "crashed": ("✗", "red"), "failed": ("✗", "red"), "damaged": ("✗", "red"),
    "finished": ("✓", "dim"), "stopped": ("■", "dim"),
}  # fmt: skip
"""Mark and colour; a state is never told by its colour alone."""
CURVE_WIDTH = 12


@dataclass(frozen=True, kw_only=True)
class Row:
    """A run, or a checkpoint of it."""

    key: str
    """NAME, or NAME/STEP: a run may be called like another one's NAME@STEP."""
    facts: Facts
    checkpoint: Checkpoint | None = None
    depth: int = 0
    is_folded: bool = False
    is_best: bool = False

    @property
    def name(self) -> str:
        """NAME, or NAME@STEP, as commands take it."""
        return self.facts.name if self.checkpoint is None else f"{self.facts.name}@{self.checkpoint.step}"


def tree_rows(
    found: Sequence[Facts], *, order: str = "lineage", words: str = "", folded: Collection[str] = ()
) -> list[Row]:
    """Return what the table holds, in order; `words` must all occur in a run (or in one that came of it)."""
    by_name = {facts.name: facts for facts in found}
    kept = {facts.name for facts in found if _matches(facts, words)}
    if order != "lineage":
        runs = [(facts, 0) for facts in sorted(found, key=lambda facts: _sort_key(facts, order))]
    else:
        for name in list(kept):
            # Ancestors stay, so that the tree holds together.
            while (parent := by_name[name].parent_run) in by_name and parent not in kept:
                kept.add(parent)
                name = parent
        runs = _descend(found, by_name)
    rows: list[Row] = []
    for facts, depth in runs:
        if facts.name not in kept:
            continue
        is_folded = facts.name in folded
        rows.append(Row(key=facts.name, facts=facts, depth=depth, is_folded=is_folded))
        scores = [(c.score, -c.step) for c in facts.checkpoints if c.score is not None]
        best = -min(scores)[1] if len(scores) > 1 else None
        for checkpoint in () if is_folded else facts.checkpoints:
            is_best = checkpoint.step == best
            key = f"{facts.name}/{checkpoint.step}"
            rows.append(Row(key=key, facts=facts, checkpoint=checkpoint, depth=depth, is_best=is_best))
    return rows


def _matches(facts: Facts, words: str) -> bool:
    text = f"{facts.name} {facts.stage} {facts.state} {facts.kind} {facts.parent}".lower()
    return all(word in text for word in words.lower().split())


def _sort_key(facts: Facts, order: str) -> tuple[float, str]:
    missing = float("inf")
    match order:
        case "newest":
            value = -(facts.created or 0.0)
        case "loss":
            value = missing if facts.loss is None else facts.loss
        case "score":
            value = missing if facts.score is None else facts.score
        case "size":
            value = -float(facts.size)
        case _:
            value = 0.0
    return value, facts.name


def _descend(found: Sequence[Facts], by_name: dict[str, Facts]) -> list[tuple[Facts, int]]:
    """Return the runs with their depths, each behind the one that it began from, older ones first."""
    oldest = sorted(found, key=lambda facts: (facts.created or float("inf"), facts.name))
    children: dict[str, list[Facts]] = {}
    for facts in oldest:
        if facts.parent_run in by_name and facts.parent_run != facts.name:
            children.setdefault(facts.parent_run, []).append(facts)
    out: list[tuple[Facts, int]] = []
    seen: set[str] = set()

    def visit(facts: Facts, depth: int) -> None:
        if facts.name in seen:
            return
        seen.add(facts.name)
        out.append((facts, depth))
        for child in children.get(facts.name, ()):
            visit(child, depth + 1)

    for facts in oldest:
        if facts.parent_run not in by_name:
            visit(facts, 0)
    for facts in oldest:
        visit(facts, 0)  # Those of a circle, which only a damaged folder can make.
    return out


def cells(row: Row, columns: Sequence[str], *, now: float, marked: str = "") -> list[Text]:
    """Return a row's cells."""
    values = _checkpoint_cells(row, now) if row.checkpoint else _run_cells(row, now)
    if row.key == marked:
        values["run"].append(" ◆", "bold yellow")
    return [_aligned(values.get(name, Text()), "right" if name in RIGHT else "left") for name in columns]


def _aligned(text: Text, side: str) -> Text:
    text.justify = "right" if side == "right" else "left"
    return text


def _run_cells(row: Row, now: float) -> dict[str, Text]:
    facts = row.facts
    lead = "" if not row.depth else "  " * (row.depth - 1) + "└ "
    fold = ("▸ " if row.is_folded else "▾ ") if facts.checkpoints else "  "
    state = facts.state or ("damaged" if facts.kind == "damaged" else "")
    mark, colour = STATES.get(state, ("", ""))
    step = "" if facts.step is None else f"{facts.step}/{facts.steps}" if facts.steps else str(facts.step)
    cells = {
        "run": Text.assemble((lead, "dim"), (fold, "dim"), (visible(facts.name), "bold")),
        "stage": Text(visible(facts.stage or facts.kind)),
        "state": Text(f"{mark} {state}".strip(), colour),
        "step": Text(step),
        "loss": Text("" if facts.loss is None else f"{facts.loss:.3f}"),
        "score": Text(_score(facts)),
        "params": Text("" if facts.num_parameters is None else short_count(facts.num_parameters)),
        "size": Text(short_bytes(facts.size)),
        "age": Text("" if facts.created is None else age(max(now - facts.created, 0))),
        "curve": Text(sparkline(facts.losses, CURVE_WIDTH), "cyan"),
        "parent": Text(visible(facts.parent), "dim"),
    }
    if facts.problem and facts.kind != "run":
        cells["parent"] = Text(visible(facts.problem), "red" if facts.kind == "damaged" else "dim")
    return cells


def _checkpoint_cells(row: Row, now: float) -> dict[str, Text]:
    checkpoint = row.checkpoint
    assert checkpoint is not None
    text = Text.assemble(("  " * row.depth + "  · ", "dim"), str(checkpoint.step))
    if row.is_best:
        text.append(" ★", "yellow")
    score = "" if checkpoint.score is None else f"{checkpoint.score:.4f}"
    return {
        "run": text,
        "stage": Text("" if checkpoint.is_complete else "incomplete", "red"),
        "step": Text(str(checkpoint.step), "dim"),
        "score": Text(score),
        "size": Text(short_bytes(checkpoint.size), "dim"),
        "age": Text(age(max(now - checkpoint.made, 0)), "dim"),
    }


def _score(facts: Facts) -> str:
    return "{} {:.3f}".format(*next(iter(facts.metrics.items()))) if facts.metrics else ""
