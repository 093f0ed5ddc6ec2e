"""`picochat eval bpb` from files to a table."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from picochat.commands.eval import EvalBpb
from picochat.errors import UserError
from picochat.eval.bpb import bits_per_byte
from picochat.model.config import ModelConfig
from picochat.model.gpt import GPT
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.train.load import load

TEXTS = ("abcabc, said the parrot.", "é" * 50, "x")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PICOCHAT_CACHE", str(tmp_path / "cache"))


def save_model(folder: Path, *, zero_head: bool, merges: list[tuple[int, int]]) -> Path:
    """Write a checkpoint in the Rust picochat's layout; with a zero head all tokens are equally likely."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    tokenizer = Tokenizer.from_merges(merges, 256 + len(merges) + 16)
    shape = {"n_layer": 2, "n_head": 2, "n_kv_head": 1, "n_embd": 64}
    config = ModelConfig(sequence_len=16, vocab_size=tokenizer.vocab_size, **shape)
    model = GPT(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    if zero_head:
        torch.nn.init.zeros_(model.lm_head.weight)
    folder.mkdir()
    save_file(model.state_dict(), folder / "model.safetensors")
    config.save(folder / "config.json")
    tokenizer.save(folder)
    return folder


def run(capsys: pytest.CaptureFixture[str], **options) -> dict[str, list[str]]:
    """Run the command on the CPU; return the cells of each model's row."""
    EvalBpb(device="cpu", dtype="float32", **options).execute()
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]
    return {cells[0]: cells[1:] for cells in rows}


def test_table_of_several_models(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    save_model(Path("even"), zero_head=True, merges=[])
    save_model(Path("odd"), zero_head=False, merges=[(97, 98), (256, 99)])
    Path("texts.txt").write_text("\n\n".join(TEXTS), encoding="utf-8")
    rows = run(capsys, load=("even", "odd"), data=("texts.txt",), batch_size=2)
    num_bytes = sum(len(text.encode()) for text in TEXTS)
    assert rows["even"] == [
        f"{torch.tensor(272.0).log2():.4f}",
        "5.6058",
        str(num_bytes),
        str(num_bytes),
        "3",
    ]
    model, tokenizer = load("odd")
    expected = bits_per_byte(
        model, [tokenizer.encode(text) for text in TEXTS], tokenizer=tokenizer, seq_len=16
    )
    assert rows["odd"] == [
        f"{expected.bpb:.4f}",
        f"{expected.loss:.4f}",
        str(num_bytes),
        str(num_bytes - 4),
        "3",
    ]


def test_mistakes_are_user_errors(tmp_path: Path):
    folder = str(save_model(tmp_path / "model", zero_head=True, merges=[]))
    (tmp_path / "empty.txt").touch()
    with pytest.raises(UserError, match="--seq-len must be at least 1"):
        EvalBpb(load=(folder,), seq_len=0)
    with pytest.raises(UserError, match="--load names no model"):
        EvalBpb(load=())
    with pytest.raises(UserError, match="no such file"):
        EvalBpb(load=(folder,), data=(str(tmp_path / "missing.txt"),), device="cpu").execute()
    with pytest.raises(UserError, match="no text in it"):
        EvalBpb(load=(folder,), data=(str(tmp_path / "empty.txt"),), device="cpu").execute()
    with pytest.raises(UserError, match="no run called"):
        EvalBpb(load=("nowhere",), runs_dir=str(tmp_path), device="cpu").execute()


def test_importing_the_command_imports_no_torch():
    code = "import sys, picochat.commands.eval; sys.exit('torch' in sys.modules or 'pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
