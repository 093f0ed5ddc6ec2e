"""The shape of a model: what follows from depth, what is refused, config.json."""

import json
import re

import pytest

from picochat.errors import UserError
from picochat.model.config import RUST_ROPE_THETA, ModelConfig

SMALL = {"sequence_len": 64, "vocab_size": 300, "n_layer": 2, "n_head": 2, "n_kv_head": 1, "n_embd": 128}


@pytest.mark.parametrize(
    ("depth", "n_embd", "n_head", "n_kv_head"),
    [(1, 128, 2, 1), (2, 128, 2, 1), (3, 256, 4, 2), (8, 512, 8, 4)],
)
def test_depth_is_the_one_dial(depth: int, n_embd: int, n_head: int, n_kv_head: int):
    config = ModelConfig.from_depth(depth)
    assert (config.n_layer, config.n_embd, config.n_head, config.n_kv_head) == (
        depth,
        n_embd,
        n_head,
        n_kv_head,
    )
    assert config.head_dim == 64
    assert config.has_value_embedding(depth - 1)
    assert sum(map(config.has_value_embedding, range(depth))) == (depth + 1) // 2


@pytest.mark.parametrize(
    ("pattern", "windows"),
    [
        ("SSSL", (32, 32, 32, 64, 64)),
        ("L", (64,) * 5),
        ("s", (32, 32, 32, 32, 64)),
        ("SL", (32, 64, 32, 64, 64)),
    ],
)
def test_windows_repeat_the_pattern_and_end_long(pattern: str, windows: tuple[int, ...]):
    assert ModelConfig(**{**SMALL, "n_layer": 5, "window_pattern": pattern}).windows == windows


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n_layer": 0}, "n_layer"),
        ({"n_layer": 2.0}, "n_layer"),
        ({"n_head": True}, "n_head"),
        ({"vocab_size": "300"}, "vocab_size"),
        ({"n_embd": 129}, "n_embd 129"),
        ({"n_embd": 130, "n_head": 26, "n_kv_head": 26}, "n_embd 130"),
        ({"n_head": 4, "n_kv_head": 3}, "n_head 4"),
        ({"n_embd": 16}, "at least 32"),
        ({"window_pattern": ""}, "window_pattern"),
        ({"window_pattern": "SXL"}, "window_pattern"),
        ({"window_pattern": 3}, "window_pattern"),
        ({"rope_theta": 1.0}, "rope_theta"),
        ({"rope_theta": float("nan")}, "rope_theta"),
        ({"rope_theta": float("inf")}, "rope_theta"),
        ({"rope_theta": "big"}, "rope_theta"),
    ],
)
def test_impossible_shapes_are_refused(change: dict, words: str):
    with pytest.raises(UserError, match=words):
        ModelConfig(**{**SMALL, **change})


def test_depth_0_is_refused():
    with pytest.raises(UserError, match=r"--depth must be at least 1, not 0"):
        ModelConfig.from_depth(0)


def test_a_config_is_saved_and_loaded(tmp_path):
    config = ModelConfig(**SMALL, window_pattern="SL", rope_theta=5000.0)
    config.save(tmp_path / "config.json")
    assert ModelConfig.load(tmp_path / "config.json") == config


def test_seven_keys_are_a_rust_config(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**SMALL, "window_pattern": "SSSL"}), encoding="utf-8")
    config = ModelConfig.load(path)
    assert config.rope_theta == RUST_ROPE_THETA
    assert ModelConfig(**SMALL).rope_theta != RUST_ROPE_THETA


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[1]", "JSON object"),
        (b"{}", "lacks sequence_len, vocab_size"),
        (json.dumps({**SMALL, "window_pattern": "SSSL", "n_layer": None}).encode(), "n_layer"),
    ],
)
def test_a_bad_config_file_is_explained(text: bytes, words: str, tmp_path):
    path = tmp_path / "config.json"
    path.write_bytes(text)
    with pytest.raises(UserError, match=re.escape(words)) as error:
        ModelConfig.load(path)
    assert "\n" not in str(error.value)


def test_flops_count_matrices_and_attended_positions():
    """By hand: width 128, one layer, full window, 10 tokens."""
    config = ModelConfig(**{**SMALL, "n_layer": 1, "vocab_size": 64})
    matrices = 128 * 128 * 2 + 64 * 128 * 2 + 2 * 4 * 128 * 128 + 64 * 128
    assert config.flops_per_token(10) == 6 * matrices + 12 * 128 * 10
