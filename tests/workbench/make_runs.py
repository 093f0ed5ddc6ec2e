"""A folder of runs as trainings leave it, made in milliseconds, and the app on it."""

import asyncio
import json
import math
import os
import struct
import sys
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from picochat.train.run_dir import HOST, write_json
from workbench.app import Workbench

NOW = 1_800_000_000.0
"""The time of day in these tests."""
FAKE = (sys.executable, str(Path(__file__).parent / "fake_pair_worker.py"))


def drive(
    script: Callable[[Workbench, Any], Coroutine[Any, Any, None]], size: tuple[int, int] = (120, 40)
) -> None:
    """Run the app on ./runs and let a script use it."""

    async def use() -> None:
        app = Workbench(runs_dir="runs", chats_dir="chats", command=FAKE)
        async with app.run_test(size=size, notifications=True) as pilot:
            await script(app, pilot)

    asyncio.run(use())


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray], metadata: dict[str, str] | None = None):
    """Write a safetensors file."""
    formats = {"f4": "F32", "f2": "F16", "i1": "I8", "f8": "F64", "u2": "BF16", "u1": "F8_E4M3"}
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    values = b""
    for name, array in tensors.items():
        start = len(values)
        values += array.tobytes()
        dtype = formats[array.dtype.str[1:]]
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": [start, len(values)]}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + values)


def weights(seed: int, scale: float = 1.0) -> dict[str, np.ndarray]:
    """Return the tensors of a small model."""
    draw = np.random.default_rng(seed)
    shapes = {
        "h.0.attn.c_q.weight": (8, 8),
        "h.1.attn.c_q.weight": (8, 8),
        "h.10.attn.c_q.weight": (8, 8),
        "h.0.mlp.c_fc.weight": (32, 8),
        "lm_head.weight": (20, 8),
        "x0_lambdas": (2,),
    }
    return {name: (scale * draw.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}


def write_weights(folder: Path, seed: int = 0) -> None:
    """Write the files that make a folder a checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / "model.safetensors", weights(seed))
    (folder / "config.json").write_text('{"n_layer": 2}', encoding="utf-8")
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")


def step_row(step: int, loss: float, **stats: float) -> dict[str, Any]:
    return {
        "event": "step", "step": step, "loss": loss, "tokens": 64, "tokens_seen": 64 * step, "seconds": 0.5,
        "tokens_per_second": 1000.0 + step, "mfu": None, "lr": {"matrices": 0.02}, "grad_norm": 1.0 / step,
        "update_ratio": {}, "stats": stats, "stop": False,
    }  # fmt: skip


def write_rows(path: Path, rows: list[dict[str, Any]], mode: str = "w") -> None:
    with path.open(mode, encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def write_run(
    path: Path,
    *,
    stage: str = "pretrain",
    state: str = "finished",
    steps: int = 200,
    done: int | None = None,
    parent: str | None = None,
    age: float = 7200.0,
    saved: tuple[int, ...] = (100, 200),
    **status: Any,
) -> Path:
    """Write a run of 200 steps that was begun two hours ago."""
    done = steps if done is None else done
    path.mkdir(parents=True)
    model = {"n_layer": 2, "n_embd": 128}
    options = {"lr": 0.5, "steps": steps, "seed": 0}
    info = {"stage": stage, "options": options, "parent": parent, "created": NOW - age, "model": model}
    write_json(path / "run.json", {**info, "num_parameters": 4_456_584, "device": "cpu", "dtype": "float32"})
    told = {"state": state, "step": done, "steps": steps, "pid": os.getpid(), "host": HOST, "heartbeat": NOW}
    write_json(path / "status.json", {**told, **status})
    rows: list[dict[str, Any]] = []
    for step in range(1, done + 1):
        stats = {"reward": 1 - 1 / step, "accuracy": 0.5 - 0.4 / step} if stage == "grpo" else {}
        rows.append(step_row(step, 0.5 + 6 * math.exp(-step / 30) + 0.1 * math.sin(step), **stats))
        if step % 50 == 0:
            metrics = {"bpb": 0.3 + 1 / step, "val_loss": 0.6 + 5 * math.exp(-step / 30)}
            metrics = {"error": 0.5 - step / 1000} if stage == "grpo" else metrics
            rows.append({"event": "eval", "step": step, "metrics": metrics, "seconds": 1.5})
    write_rows(path / "metrics.jsonl", rows)
    said = [
        {"event": "sample", "step": step, "prompt": "Once", "text": f" upon a time, at step {step}"}
        for step in range(0, done + 1, 100)
    ]
    write_rows(path / "samples.jsonl", said)
    for step in saved:
        folder = path / "checkpoints" / f"step-{step:08d}"
        write_weights(folder, seed=step)
        write_json(folder / "state.json", {"score": 0.3 + 1 / step})
        write_json(folder / "MANIFEST.json", {"sha256": {}})
        os.utime(folder / "MANIFEST.json", (NOW - age / 2, NOW - age / 2))
    return path


def rollout_row(step: int, index: int = 0) -> dict[str, Any]:
    """Return a group of two answers, one of them right."""
    answers = [
        {
            "parts": [
                {"type": "thinking", "text": "I add."},
                {"type": "tool_call", "text": "2+3"},
                {"type": "tool_result", "text": "5"},
                {"type": "text", "text": "It is 5."},
            ],
            "extracted": "5", "correct": True, "rewards": {"accuracy": 1.0, "format": 0.2}, "reward": 1.2,
            "advantage": 1.0, "num_tokens": 12, "finish_reason": "stop", "seed": 1,
        },
        {
            "parts": "It is [red]6\x1b[31m.", "extracted": "6", "correct": False,
            "rewards": {"accuracy": 0.0}, "reward": 0.0, "advantage": -1.0, "num_tokens": 5,
            "finish_reason": "stop", "seed": 2,
        },
    ]  # fmt: skip
    prompt = [{"role": "user", "content": f"What is 2 and 3, problem {step}?"}]
    return {
        "event": "rollout", "step": step, "index": index, "task": "gsm8k", "problem": f"train/{step}",
        "level": "easy", "prompt": prompt, "gold": "5", "is_trained": True, "answers": answers,
    }  # fmt: skip


def write_world(runs: Path) -> None:
    """Write a lineage of three runs, one of them live, and folders in every bad state."""
    write_run(runs / "base")
    write_run(
        runs / "tuned", stage="sft", parent="runs/base/checkpoints/step-00000200", age=3600, saved=(200,)
    )
    demo = write_run(
        runs / "demo",
        stage="grpo",
        state="running",
        parent="runs/tuned/checkpoints/step-00000200",
        age=600,
        done=60,
        saved=(50,),
    )
    write_rows(demo / "rollouts.jsonl", [rollout_row(step) for step in range(1, 61)])
    (runs / "void").mkdir()
    (runs / "odd").mkdir()
    (runs / "odd" / "run.json").write_text('{"stage": ', encoding="utf-8")
    write_weights(runs / "rust")
    os.utime(runs / "rust" / "model.safetensors", (NOW - 86400, NOW - 86400))
