"""`picochat eval bpb`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from picochat.errors import UserError

if TYPE_CHECKING:
    from picochat.eval.bpb import BitsPerByte


@dataclass(frozen=True, kw_only=True)
class EvalBpb:
    """Bits per byte of one or more models on texts: how well they predict them; less is better."""

    load: tuple[str, ...]
    """Models: runs or checkpoints (NAME, NAME@500, NAME@best or a folder)."""
    data: tuple[str, ...] = ()
    """Files and folders to predict (txt, jsonl, parquet). Without: the built-in world's validation text."""
    column: str = "text"
    """Column (parquet) or field (jsonl) that holds the text."""
    split: str = "paragraphs"
    """How plain text is cut into documents: paragraphs, or a separator."""
    on_bad_row: Literal["stop", "skip"] = "stop"
    """What to do with a row that can not be read; skipped rows are counted."""
    seq_len: int | None = None
    """Tokens a prediction may look back on; the context the model was trained at if not given."""
    batch_size: int = 8
    """Rows at a time; it changes speed and memory, not the result."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """What products are computed in."""
    runs_dir: str = "runs"
    """Folder that holds the runs."""

    def __post_init__(self) -> None:
        if not self.load:
            raise UserError("--load names no model; give a run or a checkpoint")
        for name in ("seq_len", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"--{name.replace('_', '-')} must be at least 1, not {value}")

    def execute(self) -> None:
        """Measure each model and print a table."""
        from rich.console import Console
        from rich.table import Table

        columns = ("model", "bits per byte", "loss per token", "bytes", "tokens", "documents")
        table = Table(*columns)
        for column in table.columns[1:]:
            column.justify = "right"
        for spec in self.load:
            result = self._measure(spec)
            counts = (f"{count:,}" for count in (result.bytes, result.tokens, result.documents))
            table.add_row(spec, f"{result.bpb:.4f}", f"{result.loss:.4f}", *counts)
        Console(highlight=False).print(table)

    def _measure(self, spec: str) -> "BitsPerByte":
        from picochat.data.shards import tokenize_to_shards
        from picochat.eval.bpb import bits_per_byte
        from picochat.progress import progress
        from picochat.train.load import load

        model, tokenizer = load(spec, device=self.device, dtype=self.dtype, runs_dir=self.runs_dir)
        with progress(None, "tokenizing", "B") as update:
            shards = tokenize_to_shards(
                self.data or (_builtin_text(),),
                tokenizer,
                column=self.column,
                split=self.split,
                on_bad_row=self.on_bad_row,
                progress=update,
            )
        if shards.bad_rows:
            print(shards.bad_rows)
        seq_len = self.seq_len or model.config.sequence_len
        with progress(shards.num_tokens, spec, "tokens") as update:
            return bits_per_byte(
                model,
                shards,
                tokenizer=tokenizer,
                seq_len=seq_len,
                batch_size=self.batch_size,
                progress=update,
            )


def _builtin_text() -> str:
    from picochat.data.builtin.write import default_world_dir

    return str(default_world_dir() / "pretrain" / "val.parquet")
