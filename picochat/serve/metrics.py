"""What the server counts, in Prometheus's text format (version 0.0.4)."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper edges of the histograms' buckets."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Histogram:
    """Counts of durations by size."""

    def __init__(self) -> None:
        self._counts = [0] * (len(SECONDS) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self._counts[sum(seconds > edge for edge in SECONDS)] += 1
        self._sum += seconds

    def lines(self, name: str) -> Iterator[str]:
        """Yield the samples."""
        total = 0
        for edge, count in zip((*SECONDS, "+Inf"), self._counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{edge}"}} {total}'
        yield f"{name}_sum {self._sum:.6f}"
        yield f"{name}_count {total}"


class Metrics:
    """Counters of one server. Each is written by one thread only."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        """Answers by route and status."""
        self.num_prompt_tokens = 0
        self.num_tokens = 0
        """Tokens written by the models."""
        self.num_steps = 0
        self.num_cancelled = 0
        self.num_rejected = 0
        self.step_seconds = Histogram()
        self.first_token_seconds = Histogram()
        self.request_seconds = Histogram()

    def render(self, gauges: Mapping[str, tuple[str, float]]) -> str:
        """Return all of it as text; `gauges` are values of this moment with their descriptions."""
        lines: list[str] = []
        requests = [
            f'picochat_requests_total{{route="{route}",status="{status}"}} {count}'
            for (route, status), count in sorted(self.requests.items())
        ]
        _add(lines, "picochat_requests_total", "counter", "HTTP answers.", requests)
        for name, help_, value in (
            ("prompt_tokens", "Tokens of prompts.", self.num_prompt_tokens),
            ("generated_tokens", "Tokens written by the models.", self.num_tokens),
            ("decode_steps", "Steps of the decoder.", self.num_steps),
            ("cancelled", "Answers given up because the client went away.", self.num_cancelled),
            ("rejected", "Requests refused because the queue was full.", self.num_rejected),
        ):
            name = f"picochat_{name}_total"
            _add(lines, name, "counter", help_, [f"{name} {value}"])
        for name, (help_, value) in gauges.items():
            _add(lines, name, "gauge", help_, [f"{name} {value:g}"])
        for name, help_, histogram in (
            ("decode_step_seconds", "Duration of a step.", self.step_seconds),
            ("first_token_seconds", "From a request to its first token.", self.first_token_seconds),
            ("request_seconds", "From a request to the end of its answer.", self.request_seconds),
        ):
            name = f"picochat_{name}"
            _add(lines, name, "histogram", help_, histogram.lines(name))
        return "\n".join(lines) + "\n"


def _add(lines: list[str], name: str, kind: str, help_: str, samples: Iterable[Any]) -> None:
    lines += [f"# HELP {name} {help_}", f"# TYPE {name} {kind}", *samples]


def resident_bytes() -> int:
    """Return the memory that this process has in use, in bytes; 0 where the system does not tell."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return 0
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
