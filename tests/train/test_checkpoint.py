"""Checkpoints: what is loaded, what is refused and how it is said."""

import json
import os
import random
import re
import shutil
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import picochat
from picochat.errors import UserError
from picochat.model.config import ModelConfig
from picochat.model.gpt import GPT
from picochat.model.init import initialize
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.tokenizer.train import train_tokenizer
from picochat.train.checkpoint import (
    load_checkpoint,
    newest_valid,
    remove_checkpoint,
    save_checkpoint,
    set_aside,
    sweep,
)
from picochat.train.run_dir import RunDir

IDS = torch.arange(20)[None]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["the cat and the hat, the mat and the rat"] * 3, 280)


@pytest.fixture(scope="module")
def model() -> GPT:
    model = GPT(
        ModelConfig(
            sequence_len=32, vocab_size=280, n_layer=2, n_head=2, n_kv_head=1, n_embd=32, rope_theta=100.0
        )
    )
    initialize(model, seed=0)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, -0.3, 0.3, generator=generator)
    return model.requires_grad_(False)


@pytest.fixture
def saved(tmp_path: Path, model: GPT, tokenizer: Tokenizer) -> Path:
    """A checkpoint as picochat writes it, in a run's folder."""
    path = tmp_path / "run" / "checkpoints" / "step-00000003"
    save_checkpoint(
        path, model=model, tokenizer=tokenizer, optimizer={"m": torch.ones(3)}, state={"score": None}
    )
    return path


@pytest.fixture
def rust(tmp_path: Path, model: GPT, tokenizer: Tokenizer) -> Path:
    """The same model as the Rust picochat would store it."""
    path = tmp_path / "rust"
    path.mkdir()
    save_file(
        {name: tensor.clone() for name, tensor in model.state_dict().items()}, path / "model.safetensors"
    )
    keys = ("sequence_len", "vocab_size", "n_layer", "n_head", "n_kv_head", "n_embd", "window_pattern")
    config = {key: getattr(model.config, key) for key in keys}
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tokenizer.save_rust(path / "tokenizer.json")
    return path


def change(path: Path, **tensors: torch.Tensor | None) -> None:
    """Replace tensors of a safetensors file; None removes one."""
    old = {name: tensor.clone() for name, tensor in load_file(path).items()}
    names = {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    save_file({name: tensor for name, tensor in {**old, **names}.items() if tensor is not None}, path)


def test_a_checkpoint_comes_back_as_it_was(saved, model, tokenizer):
    loaded, its_tokenizer = picochat.load(saved)
    assert loaded.config == model.config
    assert its_tokenizer.fingerprint == tokenizer.fingerprint
    assert torch.equal(loaded(IDS), model(IDS))
    assert sorted(path.name for path in saved.iterdir()) == [
        "MANIFEST.json", "config.json", "model.safetensors", "optimizer.safetensors", "state.json",
        "tokenizer.json",
    ]  # fmt: skip
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_the_rust_layout_is_a_checkpoint(rust, model, tokenizer):
    loaded, its_tokenizer = picochat.load(rust)
    assert torch.equal(loaded(IDS), model(IDS))
    text = "the hat, 2 cats <|bos|> é"
    assert its_tokenizer.encode(text) == tokenizer.encode(text)


def test_weights_may_be_stored_in_other_float_types(rust, model):
    path = rust / "model.safetensors"
    halved = {name: tensor.bfloat16() for name, tensor in load_file(path).items()}
    save_file(halved, path)
    loaded, _ = picochat.load(rust)
    assert all(parameter.dtype == torch.float32 for parameter in loaded.parameters())
    torch.testing.assert_close(loaded(IDS), model(IDS), atol=0.05, rtol=0)


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"h__1__attn__ve_gate__weight": None}, "lacks the tensor h.1.attn.ve_gate.weight"),
        ({"h__2__mlp__c_fc__weight": torch.zeros(1)}, "holds the tensor h.2.mlp.c_fc.weight"),
        (
            {"h__0__attn__c_k__weight": torch.zeros(32, 16)},
            "h.0.attn.c_k.weight has shape [32, 16], not [16, 32]",
        ),
        ({"x0_lambdas": torch.zeros(2, dtype=torch.int64)}, "x0_lambdas holds torch.int64"),
    ],
)
def test_tensors_that_do_not_fit_are_named(tensors, words, rust):
    change(rust / "model.safetensors", **tensors)
    with pytest.raises(UserError, match=re.escape(words)) as error:
        picochat.load(rust)
    assert str(rust / "model.safetensors") in str(error.value)


def test_a_vocabulary_that_does_not_fit_is_named(rust):
    train_tokenizer(["other text"], 275).save(rust / "tokenizer.json")
    with pytest.raises(UserError, match="the tokenizer has 275 ids but the model 280"):
        picochat.load(rust)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_missing_file_is_named(name, saved, rust):
    for path in (saved, rust):
        (path / name).unlink()
        with pytest.raises(UserError, match=re.escape(name)):
            load_checkpoint(path)


HUGE = struct.pack("<Q", 1 << 60) + b"{" * 100


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:7],
        lambda data: data[:200],
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: HUGE,
        lambda data: b"not a model at all",
    ],
    ids=["empty", "7 bytes", "in the header", "last byte gone", "a byte more", "huge header", "text"],
)
def test_a_file_that_is_no_safetensors_is_named(damage, rust):
    path = rust / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"model\.safetensors: not a readable safetensors file") as error:
        picochat.load(rust)
    assert "\n" not in str(error.value)


def test_flips_in_the_header_load_or_are_named(rust):
    """Without a manifest nothing better can be had; what must not come is a traceback of another kind."""
    path = rust / "model.safetensors"
    data = path.read_bytes()
    header = 8 + struct.unpack("<Q", data[:8])[0]
    draw = random.Random(0)
    outcomes = set()
    for _ in range(150):
        bit = draw.randrange(8 * header)
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            picochat.load(rust)
            outcomes.add("loaded")
        except UserError:
            outcomes.add("refused")
    assert "refused" in outcomes


FILES = ["model.safetensors", "optimizer.safetensors", "config.json", "tokenizer.json", "state.json"]


@pytest.mark.parametrize("name", FILES)
def test_the_manifest_catches_every_flip(name, saved):
    path = saved / name
    data = path.read_bytes()
    draw = random.Random(name)
    for _ in range(15):
        bit = draw.randrange(8 * len(data))
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(UserError, match=re.escape(f"{path}: differs from its checksum")):
            load_checkpoint(saved)
    path.write_bytes(data)
    load_checkpoint(saved)


def test_a_flip_in_the_manifest_itself_is_an_error(saved):
    path = saved / "MANIFEST.json"
    data = path.read_bytes()
    draw = random.Random(0)
    for _ in range(150):
        bit = draw.randrange(8 * len(data))
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            load_checkpoint(saved)
        except UserError:
            continue
        # White space may turn into other white space.
        assert json.loads(flipped) == json.loads(data)


def test_swapped_files_are_caught(saved, tokenizer, model):
    other = saved.with_name("step-00000006")
    twin = GPT(model.config)
    initialize(twin, seed=5)
    save_checkpoint(other, model=twin, tokenizer=tokenizer)
    (saved / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    with pytest.raises(UserError, match="differs from its checksum"):
        load_checkpoint(saved)


def test_a_checkpoint_is_never_written_over(saved, model, tokenizer):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    with pytest.raises(OSError, match=re.escape(saved.name)):
        save_checkpoint(saved, model=model, tokenizer=tokenizer)
    assert before == {path.name: path.read_bytes() for path in saved.iterdir()}
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_a_checkpoint_is_saved_while_its_forerunner_is_mapped(saved, model, tokenizer):
    """A model loaded from a file, trained on, saved again: the file is not changed under the mapping."""
    tensors = load_file(saved / "model.safetensors")
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    loaded, _ = load_checkpoint(saved)
    save_checkpoint(saved.with_name("step-00000009"), model=loaded, tokenizer=tokenizer)
    assert all(torch.equal(tensors[name], before[name]) for name in before)
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), model.parameters(), strict=True))


@pytest.mark.parametrize("folder", ["with space", "schöne Läufe 🙂", "new\nline"])
def test_paths_of_any_spelling(folder, tmp_path, model, tokenizer):
    if os.name == "nt" and "\n" in folder:
        pytest.skip("Windows has no such names")
    path = tmp_path / folder / "step-00000001"
    save_checkpoint(path, model=model, tokenizer=tokenizer)
    loaded, _ = picochat.load(path)
    assert torch.equal(loaded(IDS), model(IDS))


@pytest.fixture
def run(saved: Path, model: GPT, tokenizer: Tokenizer) -> RunDir:
    """A run with checkpoints of steps 3, 6, 9."""
    for step in (6, 9):
        path = saved.with_name(f"step-{step:08d}")
        save_checkpoint(
            path, model=model, tokenizer=tokenizer, optimizer={"m": torch.ones(3)}, state={"score": None}
        )
    return RunDir(saved.parents[1])


def test_the_newest_sound_checkpoint_is_found(run):
    steps = run.checkpoints()
    assert newest_valid(run) == (steps[9], {})
    (steps[9] / "model.safetensors").write_bytes(b"")
    (steps[6] / "MANIFEST.json").unlink()
    path, problems = newest_valid(run)
    assert path == steps[3]
    assert list(problems) == [steps[9], steps[6]]
    assert "model.safetensors: differs" in problems[steps[9]]
    assert "MANIFEST.json: is missing" in problems[steps[6]]
    (steps[3] / "config.json").unlink()
    with pytest.raises(UserError, match=r"no sound checkpoint: .*step-00000009.*; .*step-00000003"):
        newest_valid(run)


def test_what_is_set_aside_counts_no_longer(run):
    for _ in range(2):
        path = run.checkpoints()[9]
        aside = set_aside(path)
        assert list(run.step_folders()) == [3, 6]
        assert (aside / "model.safetensors").is_file()
        shutil.copytree(aside, path)


def test_sweeping_takes_what_killed_processes_left_and_nothing_else(run):
    leftovers = [
        run.path / "checkpoints" / ".step-00000012.tmp-123" / "model.safetensors",
        run.path / ".status.json.123.tmp",
        run.path / ".run.json.9.tmp",
    ]
    stays = [run.path / ".control.json.77.tmp", run.path / "metrics.jsonl", run.path / "step.tmp-1"]
    for path in (*leftovers, *stays):
        path.parent.mkdir(exist_ok=True)
        path.write_text("x", encoding="utf-8")
    sweep(run.path)
    assert not any(path.exists() for path in leftovers)
    assert not leftovers[0].parent.exists()
    assert all(path.exists() for path in stays)
    assert list(run.checkpoints()) == [3, 6, 9]


def test_a_removal_that_is_killed_leaves_no_half_checkpoint(run, monkeypatch):
    removed = []

    def killed(path, **_):
        removed.append(path)
        (path / "config.json").unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        remove_checkpoint(run.checkpoints()[3])
    assert list(run.step_folders()) == [6, 9]
    monkeypatch.undo()
    sweep(run.path)
    assert not removed[0].exists()
