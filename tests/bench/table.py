"""The rows of the table: what is divided by what, and what it should be."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Measured:
    """All repetitions of one case."""

    amount: float
    seconds: list[float]
    """Of each repetition, by the clock that was asked for."""
    memory: int
    """Bytes that the first repetition took beyond what was there before."""

    @property
    def rate(self) -> float:
        """Amount a second, by the median."""
        return self.amount / median(self.seconds)

    @property
    def best_rate(self) -> float:
        """Amount a second of the fastest repetition: what the machine can do."""
        return self.amount / min(self.seconds)


Results = dict[str, Measured]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    what: str
    against: str
    target: float
    cases: Sequence[str]
    """The first is ours."""
    value: Callable[[Results], float]
    group: str
    """Rows of a group are measured together, repetition by repetition in turn."""
    unit: Literal["x", "%"] = "x"
    at_most: bool = False
    needs_bf16: bool = False
    """The target was set for a processor that computes in bfloat16."""
    slow: bool = False
    """Left out of --quick."""
    most: Callable[[Results], float] | None = None
    """What no program could pass on this machine: what the memory delivers, measured in the same run."""

    def is_met(self, value: float, share: float = 1.0, most: float | None = None) -> bool:
        """Whether `value` reaches `share` of the target, or of the most that is possible if that is less."""
        if self.at_most:
            return value <= self.target / share
        return value >= share * (self.target if most is None else min(self.target, most))


@dataclass(kw_only=True)
class Table:
    """Builds rows."""

    rows: list[Row] = field(default_factory=list)

    def rates(self, ours: str, theirs: str, *, floor: str | None = None, **row) -> None:
        """Add a row: the rate of one case over that of another.

        floor: a case that does only what ours can not do without.
        """
        cases = (ours, theirs) if floor is None else (ours, theirs, floor)
        most = None if floor is None else lambda r: r[floor].best_rate / r[theirs].rate
        self.rows.append(Row(cases=cases, value=lambda r: r[ours].rate / r[theirs].rate, most=most, **row))


TRAINING_STEP = "training step, depth 4, vocabulary 32768, B{} x T256"


def _training_against_hugging_face(table: Table) -> None:
    for rows in (8, 2):
        size = f"4:{rows}:256:32768"
        for allocator, name, target in (
            ("usual", "Hugging Face Llama, fused AdamW", 2.2),
            ("kept", "the same, allocator set", 1.2),
        ):
            table.rates(
                f"training.step:auto:{size}",
                f"training.hugging_face:{allocator}:{size}",
                what=TRAINING_STEP.format(rows),
                against=name,
                target=target,
                group=f"b{rows}",
                needs_bf16=True,
                slow=True,
            )


def _training(table: Table) -> None:
    what = TRAINING_STEP.format(8)
    b8, demo = "4:8:256:32768", "4:8:256:2048"
    ours, plain = f"training.step:auto:{b8}", f"training.step:plain:{b8}"
    add = table.rates
    add(ours, plain, what=what, against="the plain version", target=6, group="b8", needs_bf16=True)
    table.rows.append(
        Row(
            what=what,
            against="the peak of matrix products",
            target=55,
            unit="%",
            group="b8",
            cases=(ours, "training.product"),
            value=lambda r: (
                100 * r[ours].rate * flops_per_token(4, 256, 32768) / r["training.product"].best_rate
            ),
        )
    )
    portable = f"training.step:portable:{b8}"
    add(
        portable,
        plain,
        what=f"{what}, portable",
        against="the plain version",
        target=2.5,
        group="b8",
        slow=True,
    )
    table.rows.append(
        Row(
            what="memory of that step",
            against="the plain version",
            target=0.4,
            at_most=True,
            group="b8",
            cases=(ours, plain),
            value=lambda r: r[ours].memory / max(1, r[plain].memory),
        )
    )
    add(
        f"training.step:auto:{demo}",
        f"training.step:plain:{demo}",
        what="training step of the demo, vocabulary 2048",
        against="the plain version",
        target=3,
        group="demo",
        needs_bf16=True,
    )


def _decoding(table: Table) -> None:
    plain = "decoding.greedy:plain:float32"
    for dtype, target in (("float32", 3), ("bfloat16", 8), ("int8", 15)):
        table.rates(
            f"decoding.greedy:auto:{dtype}:4:1",
            f"{plain}:4:1",
            what=f"decode, depth 4, batch 1, {dtype}",
            against="plain eager float32",
            target=target,
            group="decode 4",
            floor=f"decoding.read:{dtype}:4",
            slow=True,
        )
    table.rates(
        "decoding.greedy:auto:bfloat16:4:1",
        "decoding.hugging_face:bfloat16:4",
        floor="decoding.read:bfloat16:4",
        slow=True,
        what="decode, depth 4, batch 1, bfloat16",
        against="Hugging Face generate, bfloat16",
        target=7,
        group="decode 4",
    )
    for dtype, target in (("float32", 70), ("bfloat16", 55), ("int8", 50)):
        ours, floor = f"decoding.greedy:auto:{dtype}:8:1", f"decoding.read:{dtype}:8"
        table.rows.append(
            Row(
                what=f"decode, depth 8, batch 1, {dtype}",
                against="reading its weights once",
                target=target,
                unit="%",
                group="decode 8",
                slow=dtype == "bfloat16",
                cases=(ours, floor),
                value=lambda r, ours=ours, floor=floor: 100 * r[ours].rate / r[floor].rate,
            )
        )


def _decoding_of_many(table: Table) -> None:
    for rows, plain_rows, target in ((16, 16, 2), (16, 1, 10), (64, 64, 1)):
        table.rates(
            f"decoding.greedy:auto:float32:4:{rows}",
            f"decoding.greedy:plain:float32:4:{plain_rows}",
            what=f"decode, depth 4, batch {rows}, float32",
            against=f"plain eager float32, batch {plain_rows}",
            target=target,
            group=f"decode {rows}",
            slow=True,
        )


def _others(table: Table) -> None:
    table.rates(
        "decoding.prefill:last",
        "decoding.prefill:all",
        what="first token of a 512-token prompt",
        against="prefill with all logits",
        target=2,
        group="prefill",
    )
    table.rates(
        "tokenizing.shards",
        "tokenizing.encode_batch",
        what="tokenising 50 MB into shards",
        against="tokenizers, encode_batch",
        target=4,
        group="tokenise",
        slow=True,
    )
    table.rates(
        "tokenizing.train",
        "tokenizing.train_hugging_face",
        what="tokenizer training, 20 MB, vocabulary 32768",
        against="tokenizers",
        target=1,
        group="tokenizer",
        slow=True,
    )
    table.rows.append(
        Row(
            what="picochat chat to its first token",
            against='python -c "import torch"',
            target=2.5,
            at_most=True,
            group="start",
            cases=("startup.chat", "startup.import_torch"),
            value=lambda r: r["startup.import_torch"].rate / r["startup.chat"].rate,
        )
    )


def flops_per_token(depth: int, length: int, vocab_size: int) -> int:
    """Return the operations of a training token."""
    from picochat.model.config import ModelConfig

    config = ModelConfig.from_depth(depth, vocab_size=vocab_size, sequence_len=length)
    return config.flops_per_token(length)


def all_rows() -> list[Row]:
    """Return the table of the issue."""
    table = Table()
    _training(table)
    _training_against_hugging_face(table)
    _decoding(table)
    _decoding_of_many(table)
    _others(table)
    return table.rows
