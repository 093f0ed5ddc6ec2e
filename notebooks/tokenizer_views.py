"""What the page of the tokenizer shows: functions of a vocabulary and of what it was learned from."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import marimo as mo
import numpy as np

from notebooks.layout import grid
from picochat.plots import token_boxes as token_view
from picochat.plots import vocabulary as plots
from picochat.tokenizer.examples import KINDS
from picochat.tokenizer.steps import Step
from picochat.tokenizer.study import differing
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.tokenizer.train import Lesson
from picochat.tokenizer.vocabulary import MIN_VOCAB_SIZE, NUM_BYTES


@dataclass(frozen=True, kw_only=True)
class Learning:
    """How far the learning is."""

    stage: str = "reading"
    done: int = 0
    total: int | None = None
    lesson: Lesson | None = None


def learning_note(now: Learning) -> mo.Html:
    """Return what is being done."""
    if now.stage == "reading":
        return mo.md(f"Cutting the text into words and signs: **{now.done:,} characters** so far ...")
    return mo.md(f"Learning merges: **{now.done:,}** of {now.total:,} ...")


def learned_note(lesson: Lesson) -> mo.Html:
    """Return what came out."""
    return grid(
        mo.stat(f"{lesson.characters:,}", label="characters read"),
        mo.stat(f"{lesson.documents:,}", label="documents"),
        mo.stat(f"{len(lesson.counts):,}", label="different words and signs"),
        mo.stat(f"{len(lesson.merges):,}", label="merges learned"),
        least="8rem",
    )


def next_merge(lesson: Lesson, tokenizer: Tokenizer, trail: Sequence[Step], made: int) -> str:
    """Return in words which merge comes after `made` of those that change a text; `trail` has them all."""
    step = trail[made]
    if step.rank is None:
        return "No merge is left that changes this text. These are its tokens."
    merge = lesson.merges[step.rank]
    left, right, new = (
        f"`{token_view.visible(tokenizer.token_bytes(id))}`"
        for id in (merge.left, merge.right, NUM_BYTES + step.rank)
    )
    times = "once" if len(step.places) == 1 else f"{len(step.places)} times"
    return (
        f"Next is number {made + 1:,} of the {len(trail) - 1:,} that change this text. In the vocabulary it "
        f"is merge {step.rank + 1:,}: it joins {left} and {right} to {new}, "
        f"id {NUM_BYTES + step.rank}; here {times}. In the text it learned from they stood side by side "
        f"**{merge.count:,} times**."
    )


def vocabulary_sizes(lesson: Lesson) -> list[int]:
    """Return the sizes that the slider offers: dense where each merge counts most."""
    count = len(lesson.merges)
    steps = np.unique(np.geomspace(1, count + 1, 80).round().astype(int)) - 1 if count else np.zeros(1, int)
    return [int(MIN_VOCAB_SIZE + step) for step in steps]


def tokens_of(
    tokenizer: Tokenizer, ids: Sequence[int], *, ringed: Collection[int] = (), with_ids: bool = False
) -> mo.Html:
    """Return tokens as coloured boxes."""
    spans = token_view.spans(tokenizer, ids, ringed=ringed)
    return mo.Html(token_view.STYLE + token_view.tokens_html(spans, with_ids=with_ids))


def side_by_side(first: Tokenizer, second: Tokenizer, sample: str) -> mo.Html:
    """Return a text cut by two tokenizers, and what they make of other texts."""
    pair = [first, second]
    names = [f"this one, {first.vocab_size:,} ids", f"the other, {second.vocab_size:,} ids"]
    ids = [tokenizer.encode(sample) for tokenizer in pair]
    flags = differing(*([one.num_bytes[id] for id in some] for one, some in zip(pair, ids, strict=True)))
    boxes = []
    for name, tokenizer, some, flag in zip(names, pair, ids, flags, strict=True):
        ringed = {place for place, is_other in enumerate(flag) if is_other}
        boxes.append(
            mo.vstack([mo.md(f"**{name}**: {len(some)} tokens"), tokens_of(tokenizer, some, ringed=ringed)])
        )
    ratios = {
        name: {kind: len(some.encode()) / len(tokenizer.encode(some)) for kind, some in KINDS.items()}
        for name, tokenizer in zip(names, pair, strict=True)
    }
    return mo.vstack([grid(*boxes, least="20rem"), plots.kinds_figure(ratios)])
