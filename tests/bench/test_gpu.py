"""The arithmetic of the GPU table, and one run of it in small on the CPU."""

import json
import sys
from pathlib import Path

import pytest
import torch

from picochat.model.config import ModelConfig
from tests.bench import gpu
from tests.bench.gpu import Line, bytes_per_token, mfu, show
from tests.bench.models import make_model


def test_the_share_of_the_peak():
    config = ModelConfig.from_depth(1, vocab_size=512, sequence_len=64)
    matrices = 2 * 128**2 + 2 * 64 * 128 + 8 * 128**2 + 512 * 128
    expected = 6 * matrices + 12 * 128 * 64
    assert mfu(config, 64, 1000.0, 1000.0 * expected) == pytest.approx(100)
    assert mfu(config, 64, 500.0, 1000.0 * expected) == pytest.approx(50)


@pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("bfloat16", 2)])
def test_a_token_reads_blocks_and_head(dtype: str, size: int):
    weights = 2 * 128**2 + 2 * 64 * 128 + 8 * 128**2 + 32 * 1 + 512 * 128
    assert bytes_per_token(make_model(1, dtype, vocab_size=512)) == size * weights


@pytest.mark.parametrize(("target", "met"), [(40.0, True), (50.1, False), (None, None)])
def test_when_a_target_is_met(target: float | None, met: bool | None):
    line = Line(what="x", tokens_per_second=1.0, share=50.0, target=target, memory=0)
    assert line.is_met is met
    assert len(show({"device": "x"}, [line]).rows) == 1


def test_it_cuts_a_step_until_it_fits(monkeypatch):
    tried = []

    def measure_parts(options, depth, device, peak, parts):
        tried.append(parts)
        if parts < 4:
            raise torch.OutOfMemoryError
        return parts

    monkeypatch.setattr(gpu, "_training_line", measure_parts)
    assert gpu.training_line(gpu.Options(), 12, torch.device("cpu"), 1.0) == 4
    assert tried == [1, 2, 4]


def test_a_small_run_on_the_cpu(tmp_path: Path, monkeypatch, capsys):
    out = tmp_path / "bench" / "gpu.json"
    sizes = "--depth 1 --rows 2 --length 16 --vocab-size 512 --steps 1 --answer 3 --kernels auto plain"
    monkeypatch.setattr(sys, "argv", ["gpu", "--device", "cpu", *sizes.split(), "--json", str(out)])
    gpu.main()
    written = json.loads(out.read_text(encoding="utf-8"))
    assert [line["what"].split(",")[0] for line in written["lines"]] == ["training", "decoding", "decoding"]
    for line in written["lines"]:
        assert line["share"] > 0
        assert line["tokens_per_second"] > 0
    assert written["machine"]["peak TFLOP/s"] > 0
    assert "decoding, depth 1, batch 1" in capsys.readouterr().out
