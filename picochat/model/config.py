"""The shape of a model. `depth` is the one dial; everything else follows from it."""

import json
import math
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from picochat.errors import UserError

RUST_ROPE_THETA = 100.0
"""RoPE base of a config without `rope_theta`.

The Rust picochat computes 1 / 10000^(i/D); written as theta^(-2i/D) that is theta = 100.
"""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The eight numbers that fix every tensor of a model."""

    sequence_len: int
    """Context the model is trained at, in tokens."""
    vocab_size: int
    """Number of token ids, the sixteen special tokens included."""
    n_layer: int
    """Number of transformer blocks."""
    n_head: int
    """Number of query heads."""
    n_kv_head: int
    """Number of key/value heads; each is shared by `n_head / n_kv_head` consecutive query heads."""
    n_embd: int
    """Width of the residual stream."""
    window_pattern: str = "SSSL"
    """Attention window per layer, repeated: L = whole context, S = half of it; the last layer is always L."""
    rope_theta: float = 100_000.0
    """Base of the rotary position frequencies."""

    def __post_init__(self) -> None:
        for name in ("sequence_len", "vocab_size", "n_layer", "n_head", "n_kv_head", "n_embd"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UserError(f"model config: {name} must be a whole number of at least 1, not {value!r}")
        if self.n_embd % self.n_head or self.head_dim % 2:
            raise UserError(
                f"model config: n_embd {self.n_embd} must be an even multiple of n_head {self.n_head}"
            )
        if self.n_head % self.n_kv_head:
            raise UserError(
                f"model config: n_head {self.n_head} must be a multiple of n_kv_head {self.n_kv_head}"
            )
        if self.n_embd < GATE_CHANNELS:
            raise UserError(f"model config: n_embd must be at least {GATE_CHANNELS}, not {self.n_embd}")
        if not isinstance(self.window_pattern, str) or not re.fullmatch("[SLsl]+", self.window_pattern):
            raise UserError(
                f"model config: window_pattern must be made of letters S and L, not {self.window_pattern!r}"
            )
        if not isinstance(self.rope_theta, int | float) or not 1.0 < self.rope_theta < math.inf:
            raise UserError(f"model config: rope_theta must be a number over 1, not {self.rope_theta!r}")

    @classmethod
    def from_depth(cls, depth: int, *, vocab_size: int = 32768, sequence_len: int = 2048) -> "ModelConfig":
        """Return the configuration of `depth` layers: width 64 * depth rounded up to 128, heads of 64."""
        if depth < 1:
            raise UserError(f"--depth must be at least 1, not {depth}")
        n_embd = -(-64 * depth // 128) * 128
        n_head = n_embd // 64
        return cls(
            sequence_len=sequence_len,
            vocab_size=vocab_size,
            n_layer=depth,
            n_head=n_head,
            n_kv_head=max(n_head // 2, 1),
            n_embd=n_embd,
        )

    @property
    def head_dim(self) -> int:
        """Channels of one head."""
        return self.n_embd // self.n_head

    @property
    def padded_vocab_size(self) -> int:
        """Rows of the embedding tables: the vocabulary rounded up to a multiple of 64."""
        return -(-self.vocab_size // 64) * 64

    @property
    def windows(self) -> tuple[int, ...]:
        """How many positions back each layer sees (the position itself not counted)."""
        sizes = {"L": self.sequence_len, "S": self.sequence_len // 2}
        pattern = self.window_pattern.upper()
        windows = [sizes[pattern[i % len(pattern)]] for i in range(self.n_layer)]
        windows[-1] = self.sequence_len
        return tuple(windows)

    def has_value_embedding(self, layer: int) -> bool:
        """Every second layer has a value embedding, the last one included."""
        return layer % 2 == (self.n_layer - 1) % 2

    def num_parameters(self) -> int:
        """Return the number of weights, by formula (embeddings, head, blocks, gates, per-layer scalars)."""
        num_value_layers = sum(self.has_value_embedding(i) for i in range(self.n_layer))
        kv_dim = self.n_kv_head * self.head_dim
        tables = 2 * self.padded_vocab_size * self.n_embd + num_value_layers * self.padded_vocab_size * kv_dim
        block = 2 * self.n_embd * self.n_embd + 2 * kv_dim * self.n_embd + 8 * self.n_embd * self.n_embd
        return tables + self.n_layer * (block + 2) + num_value_layers * self.n_kv_head * GATE_CHANNELS

    def flops_per_token(self, seq_len: int) -> int:
        """Return floating-point operations of one training token (forward and backward) at `seq_len`.

        Six per weight of every matrix product, and 12 * heads * head_dim per attended position
        (PaLM, appendix B), windows respected.
        """
        kv_dim = self.n_kv_head * self.head_dim
        block = 2 * self.n_embd * self.n_embd + 2 * kv_dim * self.n_embd + 8 * self.n_embd * self.n_embd
        matrices = self.n_layer * block + self.padded_vocab_size * self.n_embd
        attended = sum(min(window + 1, seq_len) for window in self.windows)
        return 6 * matrices + 12 * self.n_embd * attended

    def save(self, path: Path) -> None:
        """Write config.json."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "ModelConfig":
        """Read config.json; unknown keys are ignored, a missing `rope_theta` means a Rust checkpoint."""
        try:
            row = json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: not JSON ({error}); is the checkpoint complete?") from error
        if not isinstance(row, dict):
            raise UserError(f"{path}: a model config is a JSON object with n_layer, n_embd, ...")
        names = [field.name for field in fields(cls)]
        missing = [name for name in names if name not in row and name != "rope_theta"]
        if missing:
            raise UserError(f"{path}: lacks {', '.join(missing)}; a model config has {', '.join(names)}")
        row.setdefault("rope_theta", RUST_ROPE_THETA)
        return cls(**{name: row[name] for name in names})


GATE_CHANNELS = 32
"""Channels of the normed input that a value-embedding gate reads."""
