"""Write all notebooks with their outputs as static pages: `python docs/notebook_pages.py`.

The models are small and trained from nothing, in some minutes. The pages need a web server, for browsers load
no scripts of a page that is opened as a file: `python -m http.server --directory pages`. They need no network
besides: marimo's own scripts are copied beside them.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import marimo

ROOT = Path(__file__).parents[1]
NETWORK = re.compile(r"https://cdn\.jsdelivr\.net/npm/@marimo-team/frontend@[^/\"]+/dist")

SETTINGS = {
    "tokenizer": "",
    "pretrain": "--run small-pretrain --steps 300 --batch-size 8",
    "sft": "--run small-sft --load small-pretrain --steps 60 --batch-size 8",
    "grpo": "--run small-grpo --load small-sft --steps 3 --prompts 4 --group-size 4 --eval-problems 8",
    "eval": "",
}
"""What each notebook is started with, one after the other in one folder."""


def main() -> None:
    """Export the notebooks that are asked for, by default all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"{', '.join(SETTINGS)} (default: all that are there)")
    parser.add_argument("--out", type=Path, default=Path("pages"), help="folder for the pages")
    given = parser.parse_args()
    there = [name for name in SETTINGS if (ROOT / "notebooks" / f"{name}.py").is_file()]
    names = given.names or there
    if unknown := [name for name in names if name not in there]:
        sys.exit(f"no such notebook: {', '.join(unknown)}; there are {', '.join(there)}")
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        # Those that a later one begins with are needed even where they are not asked for.
        for name in there[: 1 + max(map(there.index, names))]:
            page = Path(folder) / f"{name}.html"
            export(name, page)
            if name in names:
                text = page.read_text(encoding="utf-8")
                (given.out / page.name).write_text(NETWORK.sub("./marimo", text), encoding="utf-8")
                print(given.out / page.name)
    shutil.copytree(Path(marimo.__file__).parent / "_static", given.out / "marimo", dirs_exist_ok=True)
    print(f"look at them: python -m http.server --directory {given.out}")


def export(name: str, page: Path) -> None:
    """Run a notebook in the folder of the page, and write the page."""
    notebook = ROOT / "notebooks" / f"{name}.py"
    command = [sys.executable, "-m", "marimo", "export", "html", str(notebook), "-o", str(page), "-f", "--"]
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run([*command, *SETTINGS[name].split()], cwd=page.parent, env=env)
    if done.returncode:
        sys.exit(f"{name}: could not be exported")


if __name__ == "__main__":
    main()
