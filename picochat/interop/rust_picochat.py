"""The Rust picochat's checkpoints: model.safetensors (float32, no metadata), config.json with seven keys,
tokenizer.json of its own format. Reading one is loading it (`picochat.load`); this writes them."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file

from picochat.errors import UserError
from picochat.interop.folder import new_folder
from picochat.model.config import RUST_ROPE_THETA
from picochat.model.gpt import GPT
from picochat.tokenizer.tokenizer import Tokenizer


def export_rust(model: GPT, tokenizer: Tokenizer, out: Path) -> None:
    """Write `out`, a folder that the Rust picochat loads.

    Raises UserError if `out` exists, or if the Rust picochat would compute something else than `model` does:
    its rotary base is fixed, and its loader fills a tensor that it does not find with random numbers.
    """
    if model.config.rope_theta != RUST_ROPE_THETA:
        raise UserError(
            f"the Rust picochat can not represent this model: its rope_theta is always {RUST_ROPE_THETA:g}, "
            f"the model's is {model.config.rope_theta:g}; use `picochat export hf`"
        )
    weights = {name: tensor.detach().cpu().float().contiguous() for name, tensor in float_weights(model)}
    config = {name: value for name, value in asdict(model.config).items() if name != "rope_theta"}
    with new_folder(out) as folder:
        save_file(weights, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
        tokenizer.save_rust(folder)


def float_weights(model: GPT) -> list[tuple[str, torch.Tensor]]:
    """Return the weights by name. Raises UserError if some are int8: other tools want the full model."""
    weights = list(model.state_dict().items())
    if not all(tensor.is_floating_point() for _, tensor in weights):
        raise UserError("an int8 checkpoint can not be exported; export the one it was made from")
    return weights
