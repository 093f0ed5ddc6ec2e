"""Options of the training stages, importable without torch."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from picochat.errors import UserError
from picochat.optim.options import OptimizerOptions


@dataclass(frozen=True, kw_only=True)
class RunOptions(OptimizerOptions):
    """What every training stage has in common."""

    run: str | None = None
    """Name of the run; a new one made from the stage by default."""
    runs_dir: str = "runs"
    """Folder that holds the runs."""
    resume: bool = False
    """Go on with the run from its newest checkpoint; its own options are the defaults then."""
    steps: int = 1000
    """Optimizer steps."""
    grad_accum: int = 1
    """Micro-batches that a step is cut into, to save memory."""
    warmup: int = 20
    """Steps over which the learning rates rise."""
    warmdown: float = 0.5
    """Share of the steps over which the learning rates fall to zero at the end."""
    clip: float = 1.0
    """Longest gradient allowed; a longer one is scaled down to it. 0 switches this off."""
    seed: int = 0
    """Seed of weights, data order and samples."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """What products are computed in; weights and optimizer stay float32."""
    eval_every: int = 100
    """Steps between validations (0: only at the start and the end)."""
    sample_every: int = 100
    """Steps between samples from fixed prompts (0: only at the start and the end)."""
    save_every: int = 200
    """Steps between checkpoints (0: only at the end)."""
    keep: int = 3
    """Newest checkpoints to keep; the best one is kept besides."""
    on_bad_row: Literal["stop", "skip"] = "stop"
    """What to do about an unreadable row of data."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_at_least_1("steps", "grad_accum")
        self._check_not_negative("warmup", "eval_every", "sample_every", "save_every", "clip")
        if not 0 <= self.warmdown <= 1:
            raise UserError(f"--warmdown is a share of the steps between 0 and 1, not {self.warmdown}")
        if self.keep < 2:
            raise UserError("--keep must be at least 2: the newest checkpoint may be the damaged one")

    def _check_at_least_1(self, *names: str) -> None:
        for name in names:
            if getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')} must be at least 1, not {getattr(self, name)}")

    def _check_not_negative(self, *names: str) -> None:
        for name in names:
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"--{name.replace('_', '-')} must not be negative, not {getattr(self, name)}")

    def check_rows(self, num_processes: int = 1) -> None:
        """Raise UserError unless processes and micro-batches can share the rows of a step evenly."""
        if self.rows_per_step % (num_processes * self.grad_accum):
            processes = f"the {num_processes} processes times " if num_processes > 1 else ""
            raise UserError(
                f"{self.rows_text} must be a multiple of {processes}--grad-accum {self.grad_accum}"
            )

    @property
    def rows_per_step(self) -> int:
        """Sequences of an optimizer step, over all micro-batches and ranks."""
        raise NotImplementedError

    @property
    def rows_text(self) -> str:
        """The options that `rows_per_step` comes from, as they are given."""
        raise NotImplementedError

    @property
    def step_text(self) -> str:
        """What an optimizer step is made of, to be shown."""
        raise NotImplementedError

    def row(self) -> dict[str, Any]:
        """Return the options as JSON values."""
        return asdict(self)

    @property
    def directory(self) -> Path:
        """The run's folder."""
        assert self.run is not None, "the stage names the run before it is built"
        return Path(self.runs_dir) / self.run


@dataclass(frozen=True, kw_only=True)
class PackedOptions(RunOptions):
    """What the stages that train on packed text have in common."""

    batch_size: int = 16
    """Sequences per optimizer step, over all micro-batches and ranks."""
    seq_len: int = 256
    """Tokens per sequence."""
    eval_tokens: int = 65536
    """Validation tokens at most."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_at_least_1("batch_size", "seq_len")
        self._check_not_negative("eval_tokens")
        self.check_rows()

    @property
    def rows_per_step(self) -> int:
        """The batch size."""
        return self.batch_size

    @property
    def rows_text(self) -> str:
        """The batch size as it is given."""
        return f"--batch-size {self.batch_size}"

    @property
    def step_text(self) -> str:
        """Sequences and their length."""
        return f"{self.batch_size} x {self.seq_len} tokens"


@dataclass(frozen=True, kw_only=True)
class PretrainOptions(PackedOptions):
    """Train a model on raw text."""

    data: tuple[str, ...] = ()
    """Text, JSON-lines or parquet files, or folders of them (default: the built-in world)."""
    val_data: tuple[str, ...] = ()
    """Held-out text for validation (default: a hundredth of the documents of --data)."""
    tokenizer: str | None = None
    """A tokenizer.json, or a run or folder that holds one (default: one trained on the data)."""
    vocab_size: int = 2048
    """Size of the tokenizer that is trained when none is given."""
    column: str = "text"
    """Field that holds the text in JSON-lines and parquet files."""
    split: str = "paragraphs"
    """How plain text falls into documents: paragraphs, file, or a separator."""
    depth: int = 4
    """Layers; everything else about the model follows from it."""
    prompts: tuple[str, ...] = ("Once upon a time", "The", "In the morning,")
    """What the model is asked to continue while it trains."""


@dataclass(frozen=True, kw_only=True)
class SftOptions(PackedOptions):
    """Teach a trained model to answer, from conversations."""

    load: str = ""
    """Run or checkpoint to begin with: NAME, NAME@500, NAME@best or a folder."""
    data: tuple[str, ...] = ()
    """Conversations, JSON-lines files with a weight each: a.jsonl:1.0 (default: the built-in world)."""
    val_data: tuple[str, ...] = ()
    """Conversations for validation (default: a twentieth of --data, held out)."""
    prompts: tuple[str, ...] = ("Hello!", "Who are you?")
    """Questions that the model is asked while it trains."""
    lr: float | None = 0.005
    """Learning rate of the block matrices; all groups scale with it."""
    steps: int = 300
    warmup: int = 0
    warmdown: float = 1.0
    eval_every: int = 50
    sample_every: int = 50
    save_every: int = 100
