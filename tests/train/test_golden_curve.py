"""The curve of a tiny run, as it was when its file was made.

Tests that compare a run with another one see no change that alters both alike: of a formula, an initial
value, the order of the data, a schedule. Where such a change is meant, make the file anew and say why in the
commit:

    python -m tests.train.test_golden_curve
"""

import json
import tempfile
from pathlib import Path

import pytest
import torch

from picochat.train.pretrain import pretrain
from picochat.train.run import Run

GOLDEN = Path(__file__).with_name("golden_curve.json")
TEXT = "the cat and a dog ran to an old house where Tom sat on mats"


def tiny_run(folder: Path) -> Run:
    """A run of two layers: a window, value embeddings, both optimizers, decay, a schedule, two epochs.

    It learns slowly: that makes differences of rounding larger less than learning fast.
    """
    data = folder / "text.txt"
    words = TEXT.split()
    # Not drawn at random: a generator's numbers may change with its version.
    paragraphs = [" ".join(words[(i * i + i * j + j) % 15] for j in range(8 + i % 9)) for i in range(40)]
    data.write_text("\n\n".join(paragraphs), encoding="utf-8")
    return pretrain(
        run="golden",
        runs_dir=str(folder / "runs"),
        data=(str(data),),
        vocab_size=280,
        depth=2,
        batch_size=4,
        grad_accum=2,
        seq_len=32,
        steps=16,
        lr=0.005,
        weight_decay=0.1,
        warmup=3,
        eval_every=4,
        eval_tokens=200,
        sample_every=0,
        save_every=0,
        prompts=(),
        seed=7,
        device="cpu",
        dtype="float32",
        kernels="plain",
    )


def measure(folder: Path) -> dict[str, list[float]]:
    """Train the run; return its losses, gradient norms and validation results."""
    run = tiny_run(folder)
    list(run)
    steps, evals = run.directory.rows("step"), run.directory.rows("eval")
    return {
        "loss": [row["loss"] for row in steps],
        "grad_norm": [row["grad_norm"] for row in steps],
        "bpb": [row["metrics"]["bpb"] for row in evals],
    }


def test_the_curve_is_the_one_on_file(tmp_path):
    """Vector units of another width, or more threads, change the losses by about 2e-6 of them."""
    golden, now = json.loads(GOLDEN.read_text(encoding="utf-8")), measure(tmp_path)
    assert golden["loss"][-1] < 0.6 * golden["loss"][0]
    for name, rel in (("loss", 1e-5), ("bpb", 1e-5), ("grad_norm", 1e-4)):
        assert now[name] == pytest.approx(golden[name], rel=rel), name


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        GOLDEN.write_text(json.dumps(measure(Path(folder)), indent=1) + "\n", encoding="utf-8")
