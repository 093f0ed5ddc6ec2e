"""The models of a server: names, kinds, several at once."""

import shutil
from pathlib import Path

import pytest

from picochat.engine.quantize import quantize
from picochat.errors import UserError
from picochat.model.gpt import GPT
from picochat.serve.models import load_models
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.train.checkpoint import save_checkpoint
from picochat.train.run_dir import write_json
from tests.serve.conftest import client_of


def load(*specs: str | Path):
    return load_models([str(spec) for spec in specs], device="cpu", dtype="float32")


def test_an_int8_model_beside_its_parent(checkpoint: Path, model: GPT, tokenizer: Tokenizer, tmp_path: Path):
    small, _ = quantize(model)
    save_checkpoint(tmp_path / "int8", model=small, tokenizer=tokenizer)
    models = load(checkpoint, tmp_path / "int8")
    with client_of(models) as client:
        cards = client.get("/v1/models").json()["data"]
        assert [(card["id"], card["int8"]) for card in cards] == [("tiny", False), ("int8", True)]
        fields = {"prompt": "the cat", "temperature": 0, "max_tokens": 12, "logprobs": 0}
        scores = {}
        for name in ("tiny", "int8"):
            answer = client.post("/v1/completions", json={"model": name, **fields}).json()
            assert answer["model"] == name
            scores[name] = answer["choices"][0]["logprobs"]["token_logprobs"]
        assert scores["tiny"][0] == pytest.approx(scores["int8"][0], abs=0.3)
        assert scores["tiny"] != scores["int8"]
        first = client.post("/v1/completions", json=fields).json()
        assert first["model"] == "tiny"


def test_models_are_called_as_they_were_asked_for(checkpoint: Path, tmp_path: Path):
    run = tmp_path / "night"
    shutil.copytree(checkpoint, run / "checkpoints" / "step-00000003")
    about = {"stage": "grpo", "options": {}, "parent": None, "created": "2026-01-01T00:00:00"}
    write_json(run / "run.json", about)
    models = load(run, f"{run}@3")
    assert list(models) == ["night", "night@3"]
    assert [model.stage for model in models.values()] == ["grpo", "grpo"]
    with pytest.raises(UserError, match="two models are called tiny"):
        load(checkpoint, checkpoint)
    with pytest.raises(UserError, match="no run called 'nothing'"):
        load("nothing")
