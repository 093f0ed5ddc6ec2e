"""Open a trained model."""

from pathlib import Path

from picochat.model.gpt import GPT
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.train.checkpoint import load_checkpoint
from picochat.train.device import pick_device, pick_dtype
from picochat.train.run_dir import resolve_checkpoint


def load(
    path: str | Path, *, device: str = "cpu", dtype: str = "float32", runs_dir: str | Path = "runs"
) -> tuple[GPT, Tokenizer]:
    """Return the model, ready for inference, and the tokenizer of a checkpoint.

    `path` is a run's name or folder (its newest checkpoint), `NAME@500`, `NAME@best`, a checkpoint folder, or
    a folder in the Rust picochat's layout. `device` and `dtype` are names; `auto` picks what suits here.
    """
    where = pick_device(device)
    model, tokenizer = load_checkpoint(resolve_checkpoint(path, Path(runs_dir)), device=where)
    model.compute_dtype = pick_dtype(dtype, where)
    return model.to(model.compute_dtype).requires_grad_(False), tokenizer
