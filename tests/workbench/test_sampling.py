"""Sampling: options that are live, seeds, their picture, and presets."""

import json
import re

import pytest
from textual.widgets import Input

from tests.workbench.driving import answered, ask, complete, loaded, run, shown, wait
from workbench.screens.dialogs import Confirm
from workbench.widgets.messages import changed_options
from workbench.widgets.sampling import OptionRow, SamplingPanel


def test_regenerate_takes_the_next_seed_where_one_is_fixed(tmp_path):
    async def script(pilot):
        screen = await loaded(pilot)
        await pilot.press("f5", "end")
        screen.query_one("#option-seed", OptionRow).focus()
        await pilot.press("4", "1", "enter")
        await ask(pilot, "x")
        await pilot.press("ctrl+r")
        await answered(pilot, 2)
        await pilot.press("ctrl+r")
        await answered(pilot, 3)
        assert [answer.seed for answer in complete(screen)] == [41, 42, 43]

    run(tmp_path, script)


def test_sampling_is_live_and_each_answer_remembers_it(tmp_path):
    async def script(pilot):
        screen = await loaded(pilot)
        await pilot.press("f5", "right", "down", "7", "enter", "down")
        options = screen.query_one(SamplingPanel).options
        assert (options.temperature, options.top_k) == (0.85, 7)
        await pilot.press("9", "enter")
        assert screen.query_one(SamplingPanel).options.top_p == 1.0
        assert "top_p must be" in shown(pilot)
        await pilot.press("backspace", "escape")
        await ask(pilot, "x")
        answer = complete(screen)[0]
        assert (answer.options["temperature"], answer.options["top_k"], answer.model) == (0.85, 7, "tiny")
        assert "tiny · T 0.85 · top-k 7 · seed 7" in shown(pilot)

    run(tmp_path, script, (80, 24))


@pytest.mark.parametrize("seed", [2**53 + 1, 2**63 - 1])
def test_a_long_seed_is_kept_and_shown_digit_by_digit(tmp_path, seed):
    """No float is the one, and none is longer than the other."""

    async def script(pilot):
        screen = await loaded(pilot)
        row = screen.query_one("#option-seed", OptionRow)
        row.focus()
        await pilot.press(*str(seed), "enter")
        await wait(pilot, lambda: screen.panel.options.seed == seed)
        assert re.search(rf"seed +{seed} ━+\n?", shown(pilot))
        assert row.render().cell_len == screen.query_one("#option-top_k", OptionRow).render().cell_len
        # The bar ends where those of the others do, and takes clicks there.
        await pilot.click(row, offset=(row.render().cell_len - 1, 0))
        await wait(pilot, lambda: screen.panel.options.seed == 100)

    run(tmp_path, script)
    assert changed_options({"temperature": 1, "max_tokens": 2_000_000}) == ["T 1", "max-tokens 2000000"]


def test_sampling_by_mouse_and_its_picture(tmp_path):
    async def script(pilot):
        screen = await ask(pilot, "x")
        await wait(pilot, lambda: "75%" in shown(pilot))
        assert "first token" in shown(pilot)
        await pilot.click("#option-temperature", offset=(32, 0))
        assert screen.panel.options.temperature == 2.0
        await wait(pilot, lambda: "30%" in shown(pilot))

    run(tmp_path, script)


def test_presets_are_kept_taken_and_deleted(tmp_path):
    async def script(pilot):
        screen = await loaded(pilot)
        await pilot.press("f5", "1", ".", "5", "enter", "alt+s")
        await wait(pilot, lambda: pilot.app.screen.query(Input))
        await pilot.press(*"hot", "enter")
        await wait(pilot, lambda: "kept as hot" in shown(pilot))
        await pilot.press("alt+p")
        await wait(pilot, lambda: "greedy" in shown(pilot))
        await pilot.press(*"greedy", "enter")
        await wait(pilot, lambda: screen.panel.options.temperature == 0)
        await pilot.press("alt+p")
        await wait(pilot, lambda: "hot" in shown(pilot))
        await pilot.press(*"hot")
        await wait(pilot, lambda: "greedy" not in shown(pilot).split("presets")[-1])
        await pilot.press("ctrl+d")
        await wait(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await pilot.press("y")
        presets = tmp_path / "settings" / "presets.json"
        await wait(pilot, lambda: json.loads(presets.read_text()) == {})

    run(tmp_path, script)
