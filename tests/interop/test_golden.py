"""A folder as the Rust picochat writes it, made here byte by byte: in, out and in again."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from picochat import cli
from picochat.interop.rust_picochat import export_rust
from picochat.train.load import load

TESTS = Path(__file__).parents[1]
MODEL = json.loads((TESTS / "model" / "golden_logits.json").read_text(encoding="utf-8"))["cases"][1]
TOKENIZER = json.loads((TESTS / "tokenizer" / "golden_rust.json").read_text(encoding="utf-8"))
PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]|\s+(?!\S)|\s+"
)
SIZES = {"wte": 1.0, "lm_head": 0.5, "ve": 1.0, "x0_lambdas": 0.3}
NAMES = ("model.safetensors", "config.json", "tokenizer.json")


def shapes() -> dict[str, tuple[int, ...]]:
    """Return the tensors of the Rust picochat for the golden configuration: 4 layers, width 256."""
    shapes: dict[str, tuple[int, ...]] = {
        "wte.weight": (320, 256),
        "lm_head.weight": (320, 256),
        "resid_lambdas": (4,),
        "x0_lambdas": (4,),
    }
    for layer in range(4):
        shapes |= {
            f"h.{layer}.attn.c_q.weight": (256, 256),
            f"h.{layer}.attn.c_k.weight": (128, 256),
            f"h.{layer}.attn.c_v.weight": (128, 256),
            f"h.{layer}.attn.c_proj.weight": (256, 256),
            f"h.{layer}.mlp.c_fc.weight": (1024, 256),
            f"h.{layer}.mlp.c_proj.weight": (256, 1024),
        }
    for layer in (1, 3):
        shapes |= {f"ve.{layer}.weight": (320, 128), f"h.{layer}.attn.ve_gate.weight": (2, 32)}
    return shapes


def filled(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return a tensor by the formula in golden_logits.json."""
    i, s = np.arange(np.prod(shape)), sum(name.encode()) % 97
    if name == "resid_lambdas":
        return (1 + 0.1 * np.sin(i + s)).astype(np.float32)
    size = 1.0 if "ve_gate" in name else SIZES.get(name.partition(".")[0], 2 / np.sqrt(shape[-1]))
    values = size * np.sin(0.7 * (i % 1009) + 0.013 * (i // 1009) + s)
    return values.astype(np.float32).reshape(shape)


def pretty(value: Any) -> bytes:
    """Return JSON as serde_json's `to_string_pretty` writes it."""
    return json.dumps(value, indent=2, ensure_ascii=False).encode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "rust"
    path.mkdir()
    tensors = {name: filled(name, shape) for name, shape in shapes().items()}
    (path / "model.safetensors").write_bytes(save(tensors))
    (path / "config.json").write_bytes(pretty(MODEL["config"]))
    vocab_size = MODEL["config"]["vocab_size"]
    merges = TOKENIZER["merges"][: vocab_size - 272]
    (path / "tokenizer.json").write_bytes(
        pretty({"vocab_size": vocab_size, "merges": merges, "pattern": PATTERN})
    )
    return path


def test_the_golden_folder_survives_bit_for_bit(folder: Path, tmp_path: Path):
    export_rust(*load(folder), tmp_path / "out")
    for name in NAMES:
        assert (tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes(), name
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(NAMES)
    model, tokenizer = load(tmp_path / "out")
    for name, shape in shapes().items():
        assert np.array_equal(model.state_dict()[name].numpy(), filled(name, shape)), name
    assert [list(pair) for pair in tokenizer.merges] == TOKENIZER["merges"][:28]
    ids_1T = torch.tensor([[(7 * i * i + 3 * i + 1) % 300 for i in range(MODEL["num_tokens"])]])
    logits_TV = model(ids_1T)[0]
    assert logits_TV.argmax(-1).tolist() == MODEL["argmax"]
    for position, first in MODEL["rows"].items():
        torch.testing.assert_close(
            logits_TV[int(position), : len(first)], torch.tensor(first), atol=1e-4, rtol=0
        )


def test_the_command_line_does_the_same(folder: Path, tmp_path: Path):
    cli.main(["export", "rust", "--load", str(folder), "--out", str(tmp_path / "out")])
    for name in NAMES:
        assert (tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes(), name
