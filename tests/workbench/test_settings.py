"""Settings, themes, keys of the user's own, help, palette, clipboard, editor and quitting."""

import os
import stat
import sys
from pathlib import Path

import pytest
from textual.widgets import Input

from picochat.engine.options import SamplingOptions
from picochat.errors import UserError
from tests.workbench.driving import answered, ask, chat, loaded, make_app, run, send, shown, wait
from tests.workbench.screen_text import check_golden
from workbench.app import Workbench
from workbench.clipboard import copy
from workbench.colours import NUM_LEVELS, RAMPS, doubt_style, level, level_style
from workbench.config import Action, Presets, check_keys, is_key, read_settings, remember
from workbench.editor import edit
from workbench.keys import known_actions
from workbench.screens.dialogs import Help
from workbench.widgets.prompt import Prompt


def settings(folder: Path, text: str) -> None:
    (folder / "settings").mkdir(exist_ok=True)
    (folder / "settings" / "workbench.toml").write_text(text, encoding="utf-8")


@pytest.mark.parametrize("theme", ["dark", "light", "contrast", "ansi", "nord"])
def test_themes(tmp_path, theme):
    settings(tmp_path, f'theme = "{theme}"\ncolours = "viridis"\n')

    async def script(pilot):
        assert pilot.app.theme in (theme, f"{theme}-dark")
        assert pilot.app.ramp == "viridis"
        await ask(pilot, "one two three")
        await pilot.press("f6", "alt+up")
        assert "one two three" in shown(pilot)

    run(tmp_path, script)


def test_no_color(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")

    async def script(pilot):
        await ask(pilot, "one two three")
        await pilot.press("f6")
        strips = pilot.app.screen._compositor.render_strips()
        back = pilot.app.background_colors[1]
        filtered = [strip.apply_filter(look, back) for look in pilot.app._filters for strip in strips]
        colours = {s.style.color.triplet for strip in filtered for s in strip if s.style and s.style.color}
        assert all(c is None or c.red == c.green == c.blue for c in colours)
        marked = [s.text for strip in strips for s in strip if s.style and s.style.underline]
        assert marked, "unlikely tokens have a sign that needs no colour"

    run(tmp_path, script)


def test_nothing_is_kept_of_what_nobody_chose(tmp_path):
    async def script(pilot):
        await ask(pilot, "one")

    run(tmp_path, script)
    assert not (tmp_path / "settings").exists()


def test_what_is_chosen_in_the_app_is_kept(tmp_path):
    remember(tmp_path / "settings", theme="light")
    remember(tmp_path / "settings", colours="viridis")
    kept = read_settings(tmp_path / "settings")
    assert (kept.theme, kept.colours) == ("light", "viridis")
    settings(tmp_path, 'theme = "dark"')
    assert read_settings(tmp_path / "settings").theme == "dark"

    async def script(pilot):
        await loaded(pilot)
        await pilot.press("ctrl+p")
        await pilot.pause()
        await pilot.press(*"colours: green")
        await wait(pilot, lambda: "Token colours: green-red" in shown(pilot))
        await pilot.press("enter")
        await wait(pilot, lambda: pilot.app.ramp == "green-red")
        assert read_settings(tmp_path / "settings").colours == "green-red"

    run(tmp_path, script)


def test_keys_can_be_others(tmp_path):
    settings(tmp_path, '[keys]\nregenerate = "f4"\nmonitor = "alt+m"\n')

    async def script(pilot):
        await ask(pilot, "one")
        await pilot.press("f4")
        await answered(pilot, 2)
        await pilot.press("ctrl+r")
        await pilot.pause()
        assert chat(pilot).writing is None
        await pilot.press("f1")
        await wait(pilot, lambda: isinstance(pilot.app.screen, Help))
        await wait(pilot, lambda: "f4  Again" in shown(pilot))

    run(tmp_path, script, (120, 60))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[keys]\ndance = "f4"', "no action 'dance'"),
        ('[keys]\nregenerate = "ctrl+nothing"', "no key 'ctrl+nothing'"),
        ('[keys]\nregenerate = "ctrl+n"', "ctrl+n would mean both new and regenerate"),
        ('[keys]\nregenerate = "ctrl+q"', "would mean both quit and regenerate"),
        ("[keys]\nregenerate = 3", "holds lines such as"),
        ('theme = "plaid"', "no theme 'plaid'"),
        ('colours = "plaid"', "no colours 'plaid'"),
        ("size = 3", "size is no setting"),
        ("theme = ", "workbench.toml"),
    ],
)
def test_a_mistake_in_the_settings_is_one_line_and_does_no_harm(tmp_path, text, words):
    settings(tmp_path, text)
    app = make_app(tmp_path)
    assert words in app._mistake
    assert "\n" not in app._mistake

    async def script(pilot):
        await ask(pilot, "one")
        assert "workbench.toml" in shown(pilot)
        await pilot.press("ctrl+r")
        await answered(pilot, 2)

    if words.startswith(("no action", "size")):
        run(tmp_path, script)


def test_every_key_of_ours_is_a_key_and_means_one_thing():
    known = known_actions(Workbench)
    assert len(known) > 40
    for name, action in known.items():
        assert all(is_key(key) for key in action.keys.split(",")), name
    ours = {name: action.keys for name, action in known.items() if action.scope in ("app", "chat")}
    check_keys(ours, known)
    check_keys({"left": "f13"}, {"left": Action("a", "x"), "right": Action("b", "f13")})


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
def test_help_lists_the_keys_of_where_one_is(tmp_path, size):
    async def script(pilot):
        await ask(pilot, "one")
        await pilot.press("f1")
        await wait(pilot, lambda: isinstance(pilot.app.screen, Help))
        await pilot.pause()
        await check_golden(pilot.app, "help")
        await pilot.press("escape")
        await pilot.press("question_mark")
        assert chat(pilot).query_one(Prompt).text == "?"
        await pilot.press("alt+up", "question_mark")
        await wait(pilot, lambda: isinstance(pilot.app.screen, Help))
        assert "Branch here" in shown(pilot)

    run(tmp_path, script, size)


def test_the_palette_finds_what_keys_do(tmp_path):
    async def script(pilot):
        await ask(pilot, "one")
        await pilot.press("ctrl+p")
        await pilot.pause()
        await pilot.press(*"system")
        await wait(pilot, lambda: "System prompt" in shown(pilot))
        await pilot.press("enter")
        await wait(pilot, lambda: "system prompt of this conversation" in shown(pilot))
        await pilot.press("escape", "ctrl+p")
        await pilot.pause()
        await pilot.press(*"engine log")
        await wait(pilot, lambda: "Engine log" in shown(pilot))
        await pilot.press("enter")
        await wait(pilot, lambda: isinstance(pilot.app.screen, Help) and "(nothing)" in shown(pilot))

    run(tmp_path, script)


def test_ctrl_c_stops_and_twice_quits(tmp_path):
    async def script(pilot):
        screen = await send(pilot, "endless")
        await wait(pilot, lambda: screen.writing and len(screen.writing.answer.tokens) > 3)
        await pilot.press("ctrl+c")
        await answered(pilot, 1)
        assert pilot.app.is_running
        await pilot.press("ctrl+c")
        await wait(pilot, lambda: "ctrl+c again quits" in shown(pilot))
        await pilot.press("ctrl+c")
        assert pilot.app._exit

    run(tmp_path, script)


# Presets


def test_presets(tmp_path):
    presets = Presets(tmp_path)
    assert presets.read()["greedy"] == SamplingOptions(temperature=0)
    presets.save("mine", {"temperature": 0.3})
    assert presets.read()["mine"].temperature == 0.3
    presets.delete("mine")
    assert "mine" not in presets.read()
    with pytest.raises(UserError, match="built in"):
        presets.delete("greedy")
    for damage in ('{"a": {"heat": 1}}', '{"a": {"temperature": -1}}', '{"a": 1}', "[]"):
        (tmp_path / "presets.json").write_text(damage)
        with pytest.raises(UserError, match=r"presets\.json"):
            presets.read()


# Colours


@pytest.mark.parametrize("ramp", RAMPS)
@pytest.mark.parametrize("background", ["#12161f", "#fbfaf7", "#000000"])
def test_every_step_of_a_ramp_can_be_read_and_differs(ramp, background):
    looks = [level_style(step, ramp, background, False) for step in range(NUM_LEVELS)]
    assert len({str(look) for look in looks}) == NUM_LEVELS
    for look in looks:
        assert look.color is not None
        assert look.bgcolor is not None
        one, other = (_luminance(colour.get_truecolor()) for colour in (look.color, look.bgcolor))
        assert (max(one, other) + 0.05) / (min(one, other) + 0.05) > 3.9


def _luminance(colour) -> float:
    parts = [value / 255 for value in colour]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_levels_rise_with_surprise():
    assert level(0) == 0
    assert level(100) == NUM_LEVELS - 1
    levels = [level(bits / 10) for bits in range(100)]
    assert levels == sorted(levels)
    assert not doubt_style(3.3).underline
    assert doubt_style(3.4).underline
    assert doubt_style(6).bold


# The system's tools


def script_file(path: Path, text: str) -> Path:
    path.write_text(f"#!{sys.executable}\n{text}", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.skipif(os.name == "nt", reason="scripts are started otherwise there")
def test_copying_goes_every_way_there_is(tmp_path, monkeypatch):
    tools = tmp_path / "tools"
    tools.mkdir()
    save = "import pathlib, sys; path = pathlib.Path(sys.argv[0]); "
    save += "(path.parents[1] / path.name).write_bytes(sys.stdin.buffer.read())"
    for name in ("tmux", "xclip", "xsel"):
        script_file(tools / name, save)
    monkeypatch.setenv("PATH", str(tools))
    written: list[str] = []
    places = copy("hallo ü", tmp_path / "c" / "copied.txt", written.append)
    assert places == ["terminal", str(tmp_path / "c" / "copied.txt")]
    assert written == ["\x1b]52;c;aGFsbG8gw7w=\a"]
    monkeypatch.setenv("TMUX", "x")
    monkeypatch.setenv("DISPLAY", ":0")
    assert copy("b", tmp_path / "copied.txt", None) == ["tmux", "xclip", str(tmp_path / "copied.txt")]
    assert (tmp_path / "tmux").read_text() == "b"
    assert (tmp_path / "copied.txt").read_text() == "b"
    script_file(tools / "xclip", "raise SystemExit(1)")
    assert "xsel" in copy("c", tmp_path / "copied.txt", None)


@pytest.mark.skipif(os.name == "nt", reason="scripts are started otherwise there")
def test_the_users_editor(tmp_path, monkeypatch):
    append = "import sys; open(sys.argv[-1], 'a').write(' more\\n')"
    monkeypatch.setenv("EDITOR", f"{script_file(tmp_path / 'ed', append)} --flag")
    assert edit("text") == "text more"
    monkeypatch.setenv("VISUAL", str(script_file(tmp_path / "bad", "raise SystemExit(3)")))
    with pytest.raises(UserError, match="code 3"):
        edit("text")
    monkeypatch.setenv("VISUAL", "/nowhere/ed")
    with pytest.raises(UserError, match="No such file"):
        edit("text")
    monkeypatch.setenv("VISUAL", "ed '--flag")
    with pytest.raises(UserError, match=r"VISUAL is .*No closing quotation"):
        edit("text")
    monkeypatch.setenv("VISUAL", " ")
    assert edit("text") == "text more"
    monkeypatch.delenv("VISUAL")
    monkeypatch.delenv("EDITOR")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="EDITOR"):
        edit("text")


def test_an_editor_needs_a_terminal_of_its_own(tmp_path):
    async def script(pilot):
        await loaded(pilot)
        await pilot.press("ctrl+g")
        await wait(pilot, lambda: "can not be lent" in shown(pilot))

    run(tmp_path, script)


def test_dialogs_are_left_by_escape(tmp_path):
    async def script(pilot):
        screen = await ask(pilot, "one")
        for key in ("ctrl+o", "f9", "ctrl+s", "alt+r", "alt+p", "alt+s", "f10", "f12", "alt+e", "ctrl+b"):
            await pilot.press(key)
            await wait(pilot, lambda: pilot.app.screen is not screen)
            await pilot.press("escape")
            await wait(pilot, lambda: pilot.app.screen is screen)
        assert not pilot.app.screen.query(Input)
        assert len(screen.conversation.nodes) == 2

    run(tmp_path, script, (80, 24))
