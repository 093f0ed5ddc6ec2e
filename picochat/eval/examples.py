"""Single problems and what models made of them, as a piece of a page. What models and data say is escaped."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from picochat.eval.scores import Example, ModelScores, TaskScore

Kind = Literal["all", "right", "wrong", "changed"]

STYLE = """\
<style>
.pc-example { border: 1px solid rgba(136, 136, 136, 0.35); border-radius: 8px; padding: 0.7rem 0.9rem;
  margin-bottom: 0.8rem; }
.pc-example .about { opacity: 0.6; font-size: 0.8rem; }
.pc-example .text { white-space: pre-wrap; overflow-wrap: anywhere; }
.pc-example .question { margin: 0.3rem 0; font-weight: 500; }
.pc-example .answers { display: grid; gap: 0.8rem; margin-top: 0.5rem;
  grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); }
.pc-example .answer { border-left: 4px solid #888; padding-left: 0.7rem; min-width: 0; }
.pc-example .answer.good { border-color: #009E73; }
.pc-example .answer.bad { border-color: #D55E00; }
.pc-example .answer.part { border-color: #E69F00; }
.pc-example .thinking { opacity: 0.7; font-style: italic; font-size: 0.9em; }
.pc-example code { font-size: 0.9em; padding: 0 0.2em; background: rgba(136, 136, 136, 0.15);
  border-radius: 3px; }
.pc-example .option { display: grid; grid-template-columns: minmax(6rem, 1fr) 40% 3.6rem; gap: 0.5rem;
  align-items: center; font-size: 0.88rem; }
.pc-example .option.chosen { font-weight: 650; }
.pc-example .bar { background: rgba(136, 136, 136, 0.2); border-radius: 3px; height: 0.6rem; }
.pc-example .bar div { background: #0072B2; border-radius: 3px; height: 100%; }
.pc-example .gold .bar div { background: #009E73; }
.pc-example .option span:last-child { text-align: right; font-variant-numeric: tabular-nums; }
</style>
"""


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some of the problems that were asked for."""

    indices: tuple[int, ...]
    total: int
    """Problems of the kind, on all pages."""


def choose(
    scores: Sequence[TaskScore], kind: Kind, *, containing: str = "", page: int = 1, per_page: int = 5
) -> Page:
    """Return which problems a page shows.

    right, wrong: all models are; changed: they differ, or a single model's answers to the problem do.
    containing: only problems whose question, right answer or some answer holds this, in any case.
    Scores that are still filling are compared on the problems they share.
    """
    count = min(len(score.examples) for score in scores)
    found = []
    for index in range(count):
        examples = [score.examples[index] for score in scores]
        texts = [examples[0].question, examples[0].gold, *(one.answer + one.thinking for one in examples)]
        is_found = any(containing.lower() in text.lower() for text in texts)
        if is_found and kind in ("all", kind_of(examples)):
            found.append(index)
    start = (page - 1) * per_page
    return Page(indices=tuple(found[start : start + per_page]), total=len(found))


def kind_of(examples: Sequence[Example]) -> Kind:
    """Return whether all are right, all wrong, or neither."""
    credits = {one.credit for one in examples}
    return "right" if credits == {1} else "wrong" if credits == {0} else "changed"


def examples_html(models: Sequence[ModelScores], task: str, indices: Sequence[int]) -> str:
    """Return the problems with every model's way to its answer side by side. Needs `STYLE`."""
    scores = [model.tasks[task] for model in models]
    return "".join(_problem([model.name for model in models], scores, index) for index in indices)


def _problem(names: Sequence[str], scores: Sequence[TaskScore], index: int) -> str:
    first = scores[0].examples[index]
    about = " · ".join(part for part in (f"problem {index + 1}", first.id, first.level) if part)
    answers = "".join(
        _answer(name, score.examples[index], num_samples=score.num_samples)
        for name, score in zip(names, scores, strict=True)
    )
    return (
        f'<div class="pc-example"><div class="about">{html.escape(about)}</div>'
        f'<div class="text question">{html.escape(first.question)}</div>'
        f"<div>right answer: <b>{html.escape(first.gold)}</b></div>"
        f'<div class="answers">{answers}</div></div>'
    )


def _answer(name: str, one: Example, *, num_samples: int) -> str:
    style, mark = ("good", "✓") if one.credit == 1 else ("bad", "✗") if one.credit == 0 else ("part", "~")
    if num_samples > 1:
        mark += f" {round(one.credit * num_samples)} of {num_samples} right; the first:"
    parts = [f"<div><b>{mark}</b> {html.escape(name)}</div>"]
    if one.thinking:
        parts.append(f'<div class="text thinking">{html.escape(one.thinking)}</div>')
    for number, call in enumerate(one.tool_calls):
        result = one.tool_results[number] if number < len(one.tool_results) else "(never closed)"
        parts.append(
            f"<div>calculator: <code>{html.escape(call)}</code> → <code>{html.escape(result)}</code></div>"
        )
    if one.options:
        parts += _options(one)
        parts.append(f'<div class="about">sure by {100 * (one.confidence or 0):.0f} %</div>')
    else:
        parts.append(f'<div class="text">{html.escape(one.answer) or "(nothing)"}</div>')
        found = (
            "no answer found"
            if one.extracted is None
            else f"taken as the answer: <b>{html.escape(one.extracted)}</b>"
        )
        ended = "" if one.finish_reason in ("", "stop") else f"; ended by {html.escape(one.finish_reason)}"
        parts.append(f'<div class="about">{found}{ended}</div>')
    return f'<div class="answer {style}">{"".join(parts)}</div>'


def _options(one: Example) -> list[str]:
    """Return a bar per choice: its share in the likelihood of all, and its log-probability."""
    highest = max(logprob for _, logprob in one.options)
    weights = [math.exp(logprob - highest) for _, logprob in one.options]
    rows = []
    for (text, logprob), weight in zip(one.options, weights, strict=True):
        classes = ["option"]
        classes += [name for name, said in (("gold", one.gold), ("chosen", one.answer)) if said == text]
        rows.append(
            f'<div class="{" ".join(classes)}"><span>{html.escape(text)}</span>'
            f'<div class="bar"><div style="width:{100 * weight / sum(weights):.1f}%"></div></div>'
            f'<span title="log-probability in nats">{logprob:.2f}</span></div>'
        )
    return rows
