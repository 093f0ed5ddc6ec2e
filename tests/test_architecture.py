"""The rules that hold the packages together, checked on the source and on real imports."""

import ast
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from picochat.cli import COMMANDS

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for folder in ("picochat", "workbench") for path in (ROOT / folder).rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").rglob("*.py"))
FORBIDDEN = ("eval", "exec", "os.system", "__import__", "torch.load", "dcp.load", "dcp.load_state_dict")
UNSAFE = ("pickle", "cPickle", "dill", "yaml", "marshal", "shelve", "cloudpickle", "joblib")
FORBIDDEN_OPTIONS = ("shell", "weights_only", "trust_remote_code", "allow_pickle")

LAYERS = {
    "errors": 0,
    "files": 0,
    "background": 0,
    "progress": 0,
    "model": 1,
    "tokenizer": 1,
    "tools": 1,
    "tasks": 2,
    "data": 2,
    "optim": 2,
    "kernels": 2,
    "train": 3,
    "eval": 3,
    "engine": 3,
    "interop": 3,
    "plots": 3,
    "arguments": 4,
    "commands": 4,
    "serve": 4,
    "workbench": 4,
    "cli": 5,
    "__main__": 6,
}
"""Heights of the packages and modules of `picochat`; an import never goes up."""


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the modules that a file imports, with the line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, node.lineno


def package_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[1] if parts[0] == "picochat" else parts[0]


def test_imports_go_one_way():
    upward = []
    for path in SOURCES:
        package = package_of(path)
        if package == "__init__":
            continue
        assert package in LAYERS, f"{path}: give the package {package} its height here and in the design"
        for module, line in imports(path):
            parts = module.split(".")
            target = parts[1] if parts[0] == "picochat" and len(parts) > 1 else parts[0]
            if parts[0] not in ("picochat", "workbench") or target == "picochat":
                continue
            if LAYERS[target] > LAYERS[package]:
                upward.append(f"{path.relative_to(ROOT)}:{line} {package} imports {target}")
    assert not upward


def test_the_library_knows_no_user_interface():
    foreign = {"marimo", "textual"}
    found = [
        f"{path}:{line} {module}"
        for path in (ROOT / "picochat").rglob("*.py")
        for module, line in imports(path)
        if module.split(".")[0] in foreign
    ]
    assert not found


def test_packages_do_nothing_when_imported():
    for path in SOURCES:
        if path.name != "__init__.py" or path.parent == ROOT / "picochat":
            continue
        body = ast.parse(path.read_text(encoding="utf-8")).body
        extra = [
            node for node in body if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        ]
        assert not extra, f"{path}: a package's __init__ holds a docstring and nothing else"


def forbidden_calls(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield what would let a file that is loaded run code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in FORBIDDEN or name.startswith("torch.distributed.checkpoint."):
                yield f"{name}()", node.lineno
            if any(word.arg in FORBIDDEN_OPTIONS for word in node.keywords):
                yield f"{name}({', '.join(str(word.arg) for word in node.keywords)})", node.lineno
        elif isinstance(node, ast.Import | ast.ImportFrom):
            lead = f"{node.module or ''}." if isinstance(node, ast.ImportFrom) else ""
            for module in (lead + alias.name for alias in node.names):
                # A checkpoint of torch.distributed is unpickled.
                if module.split(".")[0] in UNSAFE or module.startswith("torch.distributed.checkpoint"):
                    yield f"import {module}", node.lineno


def test_loading_never_runs_code():
    found = [
        f"{path.relative_to(ROOT)}:{line} {what}"
        for path in (*SOURCES, *NOTEBOOKS)
        for what, line in forbidden_calls(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from yaml import load",
        "torch.load('x')",
        "eval('1')",
        "exec(text)",
        "run('ls', shell=True)",
        "dcp.load(state, checkpoint_id='x')",
        "torch.distributed.checkpoint.load(state)",
        "import torch.distributed.checkpoint as dcp",
        "from torch.distributed import checkpoint as dcp",
        "np.load('x', allow_pickle=True)",
    ],
)
def test_forbidden_calls_are_found(source: str):
    assert list(forbidden_calls(ast.parse(source)))


def test_files_and_functions_are_short():
    long = []
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        if (count := len(text.splitlines())) > 400:
            long.append(f"{path.relative_to(ROOT)} has {count} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > 60:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name} has {length} lines")
    assert not long


def test_what_a_screen_shows_is_waited_for():
    """Looked at once it may not be drawn yet: `wait_for_text` and `Notebook.until` look until it is."""
    hasty = []
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Assert) and isinstance(node.test, ast.Compare)):
                continue
            shown = {ast.unparse(value) for value in node.test.comparators}
            if isinstance(node.test.ops[0], ast.In) and shown & {"screen_text(app)", "page.text()"}:
                hasty.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not hasty


HEAVY = ("torch", "pyarrow", "tokenizers", "transformers", "marimo", "textual")


def loaded_by(code: str, *names: str) -> list[str]:
    """Run code in a new interpreter; return which of the modules `names` it has loaded at the end."""
    report = f"\nimport sys, json; print(json.dumps([n for n in {names!r} if n in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_light_modules_import_no_torch():
    modules = (
        "picochat, picochat.train.options, picochat.train.run_options, picochat.train.run_dir, "
        "picochat.train.events, picochat.tokenizer.tokenizer, picochat.tokenizer.conversation, "
        "picochat.data.text, picochat.tools.expression"
    )
    assert loaded_by(f"import {modules}", "torch") == []


def test_the_workbench_imports_no_torch():
    assert loaded_by("import workbench.app", "torch") == []


def test_help_of_every_command_imports_nothing_heavy():
    names = list(COMMANDS)
    code = f"""
import contextlib, io
from picochat.cli import dispatch
for name in {names!r}:
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        try:
            dispatch([*name.split(), "--help"])
        except SystemExit as end:
            assert not end.code, name
    assert "usage: picochat " + name in text.getvalue(), name
"""
    assert loaded_by(code, *HEAVY) == []


def test_help_appears_at_once():
    command = [sys.executable, "-X", "importtime", "-m", "picochat", "--help"]

    def measure() -> tuple[float, str]:
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return time.perf_counter() - began, done.stderr

    times, reports = zip(*(measure() for _ in range(3)), strict=True)
    assert not re.search(r"\| +torch\b", reports[0])
    assert re.search(r"\| +picochat\b", reports[0]), "the report lists imports"
    assert min(times) < 0.5


OUTSIDE = ("192.0.2.1", 9)
"""An address that nobody has."""


@pytest.mark.parametrize(
    "reach",
    [
        lambda sock: sock.connect(OUTSIDE),
        lambda sock: sock.connect_ex(OUTSIDE),
        lambda sock: sock.sendto(b"x", OUTSIDE),
        lambda sock: sock.sendto(b"x", 0, OUTSIDE),
        lambda sock: socket.getaddrinfo("example.com", 80),
        lambda sock: socket.create_connection(("example.com", 80)),
    ],
)
def test_tests_reach_nothing_outside(reach):
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        pytest.raises(OSError, match="only loopback is allowed"),
    ):
        reach(sock)
