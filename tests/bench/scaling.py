"""How speed and memory of a training step go with its size: `just bench-scaling`.

Depth, length of a row and vocabulary grow one at a time from the same middle. Each size runs with the kernels
of this machine and plainly, which take turns; the figures go by the floating-point operations of a token
(`ModelConfig.flops_per_token`). Writes build/scaling.json and build/scaling.html.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import plotly.graph_objects as go
import tyro

from picochat.model.config import ModelConfig
from picochat.plots import style
from tests.bench.cases import Settings
from tests.bench.measure import machine, measure

TOKENS = 2048
"""Tokens of a step, whatever the length of its rows."""
KERNELS = ("auto", "plain")
CONFIG = {"displaylogo": False, "responsive": True}


@dataclass(frozen=True, kw_only=True)
class Size:
    """What a step is made of."""

    depth: int = 4
    length: int = 512
    vocab_size: int = 8192

    def case(self, kernels: str) -> str:
        """Return the name of the case that measures it."""
        return f"training.step:{kernels}:{self.depth}:{TOKENS // self.length}:{self.length}:{self.vocab_size}"

    def flops_per_token(self) -> int:
        """Return what `ModelConfig` counts for it."""
        config = ModelConfig.from_depth(self.depth, vocab_size=self.vocab_size, sequence_len=self.length)
        return config.flops_per_token(self.length)


SERIES = {
    "depth": [Size(depth=depth) for depth in (2, 4, 6, 8, 10, 12)],
    "length": [Size(length=length) for length in (128, 256, 512, 1024, 2048)],
    "vocab_size": [Size(vocab_size=size) for size in (1024, 4096, 8192, 16384, 65536)],
}
"""What grows, and the sizes of it."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """A size that was measured."""

    kernels: str
    size: Size
    flops_per_token: int
    tokens_per_second: float
    memory: int
    """Bytes that the first step takes beyond the weights."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure how the speed and memory of a training step go with its size."""

    rounds: int = 5
    """Repetitions of each size, of which the median counts."""
    threads: int = 2
    """Threads of torch and of the kernels."""
    out: Path = Path("build")
    """Folder of scaling.json and scaling.html."""


def measure_size(size: Size, options: Options) -> list[Point]:
    """Return the size with each set of kernels."""
    cases = {kernels: size.case(kernels) for kernels in KERNELS}
    settings = Settings(threads=options.threads, quick=False)
    results = measure(list(cases.values()), settings, rounds=options.rounds, clock="wall")
    return [
        Point(
            kernels=kernels,
            size=size,
            flops_per_token=size.flops_per_token(),
            tokens_per_second=results[case].rate,
            memory=results[case].memory,
        )
        for kernels, case in cases.items()
    ]


def figures(points: Sequence[Point]) -> list[go.Figure]:
    """Return tokens a second and memory over the operations of a token, a line for what grows."""
    axis = {"type": "log", "dtick": "D2", "exponentformat": "SI"}
    x = {**axis, "title": {"text": "floating-point operations of a token"}}
    speed = style.figure(
        x=x,
        y={**axis, "title": {"text": "tokens a second"}},
        title="Speed of a training step (dotted: plain)",
    )
    memory = style.figure(
        x=x, y={**axis, "title": {"text": "MB"}}, title="Memory beyond the weights (dotted: plain)"
    )
    for index, (grows, sizes) in enumerate(SERIES.items()):
        for kernels in KERNELS:
            chosen = {point.size: point for point in points if point.kernels == kernels}
            row = [chosen[size] for size in sizes if size in chosen]
            look = {
                "name": grows.replace("_size", "ulary"),
                "legendgroup": grows,
                "showlegend": kernels == "auto",
                "x": [point.flops_per_token for point in row],
                "text": [f"{grows} {getattr(point.size, grows)}" for point in row],
                "mode": "lines+markers",
                "line": {"color": style.color(index), "dash": "solid" if kernels == "auto" else "dot"},
                "marker": {"symbol": style.symbol(index), "size": 8},
                "hovertemplate": "%{text}: %{y:.4s}",
            }
            speed.add_trace(go.Scatter(**look, y=[point.tokens_per_second for point in row]))
            memory.add_trace(go.Scatter(**look, y=[point.memory / 1e6 for point in row]))
    return [speed, memory]


def page(points: Sequence[Point], where: str) -> str:
    """Return both figures as a page of its own."""
    parts = [
        figure.to_html(full_html=False, include_plotlyjs=index == 0, config=CONFIG)
        for index, figure in enumerate(figures(points))
    ]
    boxes = "".join(f"<div>{part}</div>\n" for part in parts)
    return f"""<!doctype html>
<html lang='en'><head><meta charset='utf-8'><title>How a training step scales</title></head>
<body style='font: 14px system-ui, sans-serif; margin: 16px; color-scheme: light dark'>
<div style='display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 16px'>{boxes}</div>
<p>{style.label(where)}</p>
</body></html>
"""


def main() -> None:
    """Measure all sizes; what is there is written after each."""
    options = tyro.cli(Options, description=__doc__)
    options.out.mkdir(parents=True, exist_ok=True)
    where = machine(options.threads, "wall")
    points: list[Point] = []
    for size in dict.fromkeys(size for sizes in SERIES.values() for size in sizes):
        points += measure_size(size, options)
        told = "; ".join(
            f"{point.kernels} {point.tokens_per_second:.0f} tok/s, {point.memory / 1e6:.0f} MB"
            for point in points[-len(KERNELS) :]
        )
        print(f"depth {size.depth}, length {size.length}, vocabulary {size.vocab_size}: {told}", flush=True)
        write(points, where, options.out)


def write(points: Sequence[Point], where: dict[str, object], folder: Path) -> None:
    """Write scaling.json and scaling.html."""
    rows = {"machine": where, "points": [asdict(point) for point in points]}
    (folder / "scaling.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    text = ", ".join(f"{name} {value}" for name, value in where.items())
    (folder / "scaling.html").write_text(page(points, text), encoding="utf-8")


if __name__ == "__main__":
    main()
