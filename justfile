# Recipes use the active Python environment. `just` lists them.

set windows-shell := ["powershell.exe", "-NoLogo", "-Command"]

[private]
default:
    @just --list --unsorted

# the whole pipeline on the built-in world, ending in a chat
demo *options:
    python -m picochat demo {{ options }}

# open a page to learn on: tokenizer, pretrain, sft, grpo or eval (Ctrl-C ends it)
app name *options:
    python -m marimo run notebooks/{{ name }}.py {{ options }}

# open the same page with its code, to change it
notebook name *options:
    python -m marimo edit notebooks/{{ name }}.py {{ options }}

# all notebooks with their outputs as static pages, in the folder `pages`
notebooks-html *options:
    python docs/notebook_pages.py {{ options }}

# the terminal app: chat, tokens, checkpoints
workbench *options:
    python -m picochat workbench {{ options }}

# models over HTTP, with a chat page
serve *options:
    python -m picochat serve {{ options }}

# how fast and light the terminal app is, in a pseudo-terminal with a fake model
measure-workbench:
    python tests/workbench/measure.py

# how soon the pretraining page answers while its model trains, in Chromium
measure-notebooks *options:
    python tests/notebooks/measure.py {{ options }}

# the fast tests, some more at once than there are cores
test *options:
    python -m pytest -n auto {{ options }}

# all tests, those that take minutes included
test-all *options:
    python -m pytest -m "slow or not slow" {{ options }}

# the tests that run the notebooks as scripts
test-scripts *options:
    python -m pytest -n auto -m "script and not slow" {{ options }}

# the tests that drive the notebooks and the chat page in Chromium
test-browser *options:
    python -m pytest -m "browser and not slow" {{ options }}

# the tests that start several processes
test-distributed *options:
    python -m pytest -m "distributed and not slow" {{ options }}

# the tests that need a CUDA device
test-gpu *options:
    python -m pytest -m "gpu" {{ options }}

# harm training runs in every way for a while and tell what was lost (nothing should be)
[script("python")]
torture minutes="30":
    import os
    import subprocess
    import sys

    os.environ["PICOCHAT_TORTURE_MINUTES"] = "{{ minutes }}"
    test = "tests/train/test_torture.py::test_the_long_torture_loses_nothing"
    sys.exit(subprocess.call([sys.executable, "-m", "pytest", "-q", "-s", "-m", "slow", test]))

# speed against its targets: a table, and build/bench.json
bench *options:
    python -m tests.bench {{ options }}

# speed on a CUDA device against its targets: a table, and build/bench-gpu.json
bench-gpu *options:
    python -m tests.bench.gpu {{ options }}

# how a training step's speed and memory go with its size: build/scaling.json and scaling.html
bench-scaling *options:
    python -m tests.bench.scaling {{ options }}

# style, format and types
lint:
    python -m ruff check .
    python -m ruff format --check .
    python -m basedpyright
    python -m marimo check --strict --ignore-scripts notebooks

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
