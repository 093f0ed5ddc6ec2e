# Recipes use the active Python environment. `just` lists them.

set windows-shell := ["powershell.exe", "-NoLogo", "-Command"]

[private]
default:
    @just --list --unsorted

# the whole pipeline on the built-in world, ending in a chat
demo *options:
    python -m picochat demo {{ options }}

# the terminal app: chat, tokens, checkpoints
workbench *options:
    python -m picochat workbench {{ options }}

# the fast tests
test *options:
    python -m pytest {{ options }}

# all tests, those that take minutes included
test-all *options:
    python -m pytest -m "slow or not slow" {{ options }}

# speed against its targets: a table, and build/bench.json
bench *options:
    python -m tests.bench {{ options }}

# style, format and types
lint:
    python -m ruff check .
    python -m ruff format --check .
    python -m basedpyright

# remove what tests, linters and builds leave behind; runs and data stay
[script("python")]
clean:
    import shutil
    from pathlib import Path

    for name in (".pytest_cache", ".ruff_cache", ".hypothesis", "build", "dist"):
        shutil.rmtree(name, ignore_errors=True)
    for package in ("picochat", "workbench", "notebooks", "tests"):
        for folder in list(Path(package).rglob("__pycache__")):
            shutil.rmtree(folder)
