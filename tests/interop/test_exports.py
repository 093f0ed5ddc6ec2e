"""Folders for other tools: the Rust picochat's layout, and transformers."""

import json
from itertools import product
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from picochat import cli
from picochat.errors import UserError
from picochat.interop.huggingface import export_huggingface
from picochat.interop.rust_picochat import export_rust
from picochat.model.config import RUST_ROPE_THETA, ModelConfig
from picochat.model.gpt import GPT
from picochat.tokenizer.conversation import parse_messages, render_prompt
from picochat.tokenizer.special import SPECIAL_TOKENS
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.tokenizer.train import train_tokenizer
from picochat.train.load import load

RUST_KEYS = {"sequence_len", "vocab_size", "n_layer", "n_head", "n_kv_head", "n_embd", "window_pattern"}
MESSAGES = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "What is 3*4? 😀"},
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "text": "multiply"},
            {"type": "tool_call", "text": "3*4"},
            {"type": "tool_result", "text": "12"},
            {"type": "text", "text": "It is 12."},
        ],
    },
    {"role": "user", "content": "\n Thank you\n"},
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["the cat and the hat, the mat and the rat; 12 and 34"] * 3, 300)


def random_model(rope_theta: float) -> GPT:
    config = ModelConfig(
        sequence_len=32, vocab_size=300, n_layer=3, n_head=4, n_kv_head=2, n_embd=64, rope_theta=rope_theta
    )
    model = GPT(config).requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.normal_(0.0, 0.3, generator=generator)
    return model


def test_a_rust_folder_survives_import_and_export_bit_for_bit(tmp_path: Path, tokenizer: Tokenizer):
    export_rust(random_model(RUST_ROPE_THETA), tokenizer, tmp_path / "a")
    export_rust(*load(tmp_path / "a"), tmp_path / "b")
    names = {path.name for path in (tmp_path / "b").iterdir()}
    assert names == {"model.safetensors", "config.json", "tokenizer.json"}
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    model, read = load(tmp_path / "b")
    assert model.config == random_model(RUST_ROPE_THETA).config
    assert read.fingerprint == tokenizer.fingerprint
    for name, tensor in random_model(RUST_ROPE_THETA).state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_a_rust_folder_holds_what_the_rust_picochat_knows(tmp_path: Path, tokenizer: Tokenizer):
    model = random_model(RUST_ROPE_THETA)
    export_rust(model.bfloat16(), tokenizer, tmp_path / "a")
    assert set(json.loads((tmp_path / "a" / "config.json").read_text())) == RUST_KEYS
    assert set(json.loads((tmp_path / "a" / "tokenizer.json").read_text())) == {
        "vocab_size",
        "merges",
        "pattern",
    }
    tensors = load_file(tmp_path / "a" / "model.safetensors")
    assert set(tensors) == set(model.state_dict())
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}


def test_refused_exports_leave_nothing(tmp_path: Path, tokenizer: Tokenizer):
    with pytest.raises(UserError, match="rope_theta is always 100, the model's is 100000"):
        export_rust(random_model(100_000.0), tokenizer, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").mkdir()
    with pytest.raises(UserError, match="exists"):
        export_huggingface(random_model(100.0), tokenizer, tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    """A folder written by `picochat export hf`."""
    folder = tmp_path_factory.mktemp("hf")
    export_rust(random_model(RUST_ROPE_THETA), tokenizer, folder / "model")
    cli.main(["export", "hf", "--load", str(folder / "model"), "--out", str(folder / "out")])
    return folder / "out"


def test_command_line_exports_rust(exported: Path, tmp_path: Path):
    source = exported.parent / "model"
    cli.main(["export", "rust", "--load", str(source), "--out", str(tmp_path / "out")])
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (
        source / "model.safetensors"
    ).read_bytes()


def test_the_weights_say_who_wrote_them(exported: Path):
    with safe_open(exported / "model.safetensors", "pt") as file:
        assert file.metadata()["format"] == "pt"
        assert file.metadata()["producer"].startswith("picochat ")


@pytest.mark.filterwarnings("ignore")  # of transformers' own making
def test_transformers_computes_the_same(exported: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path))
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(exported, trust_remote_code=True)
    ours = random_model(RUST_ROPE_THETA)
    generator = torch.Generator().manual_seed(1)
    ids_BT = torch.randint(0, 300, (2, 50), generator=generator)  # beyond both windows
    torch.testing.assert_close(theirs(ids_BT).logits, ours(ids_BT), atol=1e-4, rtol=0)

    # Padding on the left changes nothing.
    padded_BT = torch.cat((torch.full((2, 3), 299), ids_BT[:, :20]), dim=1)
    mask_BT = torch.ones_like(padded_BT)
    mask_BT[:, :3] = 0
    padded = theirs(padded_BT, attention_mask=mask_BT).logits[:, 3:]
    torch.testing.assert_close(padded, ours(ids_BT[:, :20]), atol=1e-4, rtol=0)

    greedy = theirs.generate(ids_BT[:1, :5], max_new_tokens=8, do_sample=False, eos_token_id=-1)
    expected = ids_BT[:1, :5]
    for _ in range(8):
        expected = torch.cat((expected, ours(expected)[:, -1:].argmax(-1)), dim=1)
    assert torch.equal(greedy, expected)


@pytest.mark.filterwarnings("ignore")  # of transformers' own making
def test_transformers_tokenizes_and_renders_the_same(exported: Path, tokenizer: Tokenizer):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(exported)
    for text in ("the cat, 1234 naïve 😀\n\n  x", "", " \n"):
        assert theirs.encode(text, add_special_tokens=False) == tokenizer.encode(text)
        assert theirs.decode(tokenizer.encode(text)) == text
    rendered = theirs.apply_chat_template(MESSAGES, add_generation_prompt=True, tokenize=False)
    ids = render_prompt(tokenizer, parse_messages(MESSAGES, where="test"))
    assert rendered == tokenizer.decode(ids)
    assert theirs.encode(rendered, add_special_tokens=False) == ids


FORGED = [
    *SPECIAL_TOKENS,
    *("".join(pair) for pair in product(("|", "\ufdd0", "<|", "|>", "<|bos|", "bos|>"), repeat=2)),
    "<|\ufdd0bos|\ufdd0>",
    "a | b || c\n|--|--|\n",
]


@pytest.mark.filterwarnings("ignore")  # of transformers' own making
@pytest.mark.parametrize("text", FORGED)
def test_what_a_message_spells_is_text_for_transformers_too(exported: Path, tokenizer: Tokenizer, text: str):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(exported)
    kinds = ("thinking", "tool_call", "tool_result", "text")
    rows = [
        {"role": "system", "content": text},
        {"role": "user", "content": f"<{text}>"},
        {"role": "assistant", "content": [{"type": kind, "text": text} for kind in kinds]},
        {"role": "user", "content": text},
        {"role": "assistant", "reasoning_content": text, "content": text},
        {"role": "user", "content": [{"type": "text", "text": "<"}, {"type": "text", "text": text[1:]}]},
    ]
    theirs_ids = theirs.apply_chat_template(rows, add_generation_prompt=True, return_dict=False)
    ids = render_prompt(tokenizer, parse_messages(rows, where="test"))
    assert theirs_ids == ids


def test_an_exported_folder_is_loaded_as_any_other(exported: Path, tokenizer: Tokenizer):
    assert load(exported)[1].fingerprint == tokenizer.fingerprint
