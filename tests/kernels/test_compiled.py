"""What compiled loops compute does not depend on who compiled them."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from picochat import kernels
from picochat.train.run_dir import RunDir

FOLDER = Path(kernels.__file__).parent


def test_no_compiled_loop_calls_another():
    """Linked, they might round otherwise in the process that compiled them; `part` is compiled into them."""
    compiled, called = set(), {}
    for path in FOLDER.glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.FunctionDef):
                continue
            decorators = {d.id for d in node.decorator_list if isinstance(d, ast.Name)}
            if "compiled" in decorators:
                compiled.add(node.name)
            if decorators & {"compiled", "part", "inlined"}:
                calls = (call.func for call in ast.walk(node) if isinstance(call, ast.Call))
                called[node.name] = {func.id for func in calls if isinstance(func, ast.Name)}
    assert len(compiled) > 10
    assert {name: calls & compiled for name, calls in called.items() if calls & compiled} == {}


TRAIN = """
import json, sys
import picochat
options = json.loads(sys.argv[1])
list(picochat.pretrain(**options))
"""


@pytest.mark.slow
def test_the_process_that_compiles_makes_the_same_curve(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "compiled"))
    monkeypatch.setenv("PICOCHAT_CACHE", str(tmp_path / "cache"))
    options = {"runs_dir": str(tmp_path), "steps": 25, "depth": 2, "batch_size": 4, "seq_len": 64}
    quiet = {"eval_every": 0, "save_every": 0, "sample_every": 0, "dtype": "float32", "device": "cpu"}
    for name in ("first", "second"):
        row = json.dumps({**options, **quiet, "run": name})
        subprocess.run([sys.executable, "-c", TRAIN, row], check=True)
    first, second = (
        [(row["loss"], row["grad_norm"]) for row in RunDir(tmp_path / name).rows("step")]
        for name in ("first", "second")
    )
    assert len(first) == 25
    assert first == second
