"""What holds for several notebooks: what they share in live.py."""

from pathlib import Path

import marimo as mo
import pytest

from notebooks import live
from picochat.commands.sft import Sft

FOLDER = Path(__file__).parents[2] / "notebooks"


@pytest.mark.script
@pytest.mark.parametrize(("name", "made_by"), [("sft", "pretrain"), ("grpo", "sft")])
def test_without_a_base_it_says_what_to_do(name, made_by, tmp_path, script):
    done = script(FOLDER / f"{name}.py", "--", "--runs-dir", str(tmp_path), "--steps", "1")
    assert done.returncode == 2
    assert done.stderr.strip() == "error: --load is missing: name the run or checkpoint to begin with"
    page = live.no_base(name, str(tmp_path), mo.md(""), needed="trained", made_by=made_by).text
    assert f"just app {made_by}" in page
    assert str(tmp_path) in page


def test_what_is_given_is_not_changed():
    values = {"eval_every": 20, "eval_tokens": 8192}
    assert live.where_default(Sft(), **values) == values
    assert live.where_default(Sft(eval_every=7), **values) == {"eval_tokens": 8192}
