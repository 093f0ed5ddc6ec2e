"""`picochat quantize`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from picochat.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from picochat.model.gpt import GPT
    from picochat.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Quantize:
    """Write a checkpoint with int8 weights, and measure what that changes."""

    load: str
    """Model: a run or a checkpoint (NAME, NAME@500, NAME@best or a folder)."""
    out: Path
    """Folder to write; it must not exist. It is loaded as any checkpoint is."""
    device: str = "auto"
    """Where to measure: auto, cpu, cuda, cuda:N or mps."""
    dtype: str = "auto"
    """What products are computed in while measuring: auto, float32 or bfloat16."""
    eval_tokens: int = 20_000
    """Tokens of the built-in world's validation text to measure bits per byte on; 0 leaves it out."""

    def execute(self) -> None:
        """Quantize, save, load again, compare."""
        from picochat.engine.quantize import decode_rate, quantize
        from picochat.train.checkpoint import load_checkpoint, save_checkpoint
        from picochat.train.load import load
        from picochat.train.run_dir import resolve_checkpoint

        if self.out.exists():
            raise UserError(f"{self.out}: exists; give --out a new folder")
        source = resolve_checkpoint(self.load)
        model, tokenizer = load_checkpoint(source)
        small, errors = quantize(model)
        save_checkpoint(self.out, model=small, tokenizer=tokenizer)
        width = max(len(error.name) for error in errors)
        print(f"{'tensor':<{width}}  relative error  largest error")
        for error in errors:
            print(f"{error.name:<{width}}  {error.relative:13.2%}  {error.largest:13.2g}")

        sizes = [(path / "model.safetensors").stat().st_size for path in (source, self.out)]
        rows = [("file, MB", [f"{size / 1e6:.2f}" for size in sizes], sizes[1] / sizes[0])]
        models = [load(path, device=self.device, dtype=self.dtype)[0] for path in (source, self.out)]
        if self.eval_tokens:
            bpb = [self._bits_per_byte(model, tokenizer) for model in models]
            rows.append(("bits per byte", [f"{value:.4f}" for value in bpb], bpb[1] / bpb[0]))
        rates = [decode_rate(model, tokenizer) for model in models]
        rows.append(("tokens a second", [f"{rate:.0f}" for rate in rates], rates[1] / rates[0]))
        print(f"\n{'':16}{'before':>10}{'int8':>10}{'ratio':>10}")
        for name, values, ratio in rows:
            print(f"{name:<16}{values[0]:>10}{values[1]:>10}{ratio:>10.3f}")
        print(f"\nwrote {self.out}")

    def _bits_per_byte(self, model: "GPT", tokenizer: "Tokenizer") -> float:
        from picochat.eval.bpb import bits_per_byte

        seq_len = model.config.sequence_len
        return bits_per_byte(model, self._documents(tokenizer), tokenizer=tokenizer, seq_len=seq_len).bpb

    def _documents(self, tokenizer: "Tokenizer") -> "Iterator[np.ndarray]":
        from picochat.data.builtin.write import default_world_dir
        from picochat.data.shards import tokenize_to_shards

        path = default_world_dir() / "pretrain" / "val.parquet"
        shards = tokenize_to_shards((str(path),), tokenizer)
        num_tokens = 0
        for index in range(shards.num_documents):
            if num_tokens >= self.eval_tokens:
                return
            document = shards.document(index)
            num_tokens += len(document)
            yield document
