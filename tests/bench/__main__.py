"""`just bench`: measure, print the table of targets, write it as JSON.

Each case runs in a process of its own (an allocator setting holds for a whole process), built and warm before
the first measurement. The cases of a group then take turns, so that what else the machine does hits all
alike.
"""

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
from rich.console import Console
from rich.table import Table as RichTable

from tests.bench.cases import Settings
from tests.bench.measure import has_bf16, machine, measure
from tests.bench.table import Results, Row, all_rows


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure how fast picochat is against its targets."""

    quick: bool = False
    """Few repetitions and the rows of few cases; fails only where a ratio is under half of its target."""
    rounds: int = 9
    """Repetitions of each case, at least 3; the median counts."""
    threads: int = min(2, os.cpu_count() or 1)
    """Threads of torch and of the kernels, processes of the tokeniser."""
    clock: Literal["wall", "cpu"] = "wall"
    """cpu: processor time, for one thread on a machine that does other work too."""
    only: tuple[str, ...] = ()
    """Groups to measure: b8, b2, demo, decode-4, decode-8, decode-16, decode-64, prefill, tokenise,
    tokenizer, start."""
    text: str = ""
    """A text file for the tokenizer rows (default: the built-in world's stories, over and over)."""
    json: Path = Path("build/bench.json")
    """Where the table is written."""


def describe(row: Row, results: Results, *, has_bf16: bool) -> dict[str, object]:
    """Return a row as JSON values; `met` is None where the target was set for another kind of processor."""
    value = row.value(results)
    applies = has_bf16 or not row.needs_bf16
    most = None if row.most is None else row.most(results)
    notes = [] if applies else ["no bf16 instructions here: measured in fp32"]
    if most is not None and most < row.target:
        notes.append(f"the memory of this machine allows {most:.1f}")
    return {
        "what": row.what,
        "against": row.against,
        "target": row.target,
        "unit": row.unit,
        "at_most": row.at_most,
        "value": round(value, 3),
        "met": row.is_met(value) if applies else None,
        "half_met": row.is_met(value, 0.5, most) if applies else None,
        "note": "; ".join(notes),
        "rates": {case: results[case].rate for case in row.cases},
    }


def show(lines: list[dict]) -> None:
    """Print the table."""
    table = RichTable("what", "against", "target", "measured", "met", "note")
    for line in lines:
        unit = line["unit"]
        sign = "<= " if line["at_most"] else ""
        met = {True: "yes", False: "no", None: "-"}[line["met"]]
        target, value = f"{sign}{line['target']:g} {unit}", f"{line['value']:.2f} {unit}"
        table.add_row(line["what"], line["against"], target, value, met, line["note"])
    Console().print(table)


def main() -> int:
    """Measure; return 1 where a target is missed (with --quick: missed by more than half)."""
    options = tyro.cli(Options, description=__doc__)
    is_native = has_bf16()
    settings = Settings(threads=options.threads, quick=options.quick, text=options.text)
    rounds = 3 if options.quick else max(3, options.rounds)
    rows = [
        row
        for row in all_rows()
        if (not options.only or row.group.replace(" ", "-") in options.only)
        and not (options.quick and row.slow)
    ]
    lines = []
    for group in dict.fromkeys(row.group for row in rows):
        members = [row for row in rows if row.group == group]
        cases = list(dict.fromkeys(case for row in members for case in row.cases))
        began = time.perf_counter()
        results = measure(cases, settings, rounds=rounds, clock=options.clock)
        took = time.perf_counter() - began
        print(f"{group}: {len(cases)} cases in {took:.0f} s", file=sys.stderr, flush=True)
        lines += [describe(row, results, has_bf16=is_native) for row in members]
    show(lines)
    where = machine(options.threads, options.clock)
    print(", ".join(f"{name} {value}" for name, value in where.items()))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"machine": where, "rows": lines}, indent=2) + "\n", encoding="utf-8")
    failed = [line for line in lines if line["half_met" if options.quick else "met"] is False]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
