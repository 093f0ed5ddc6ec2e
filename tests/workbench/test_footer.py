"""The line of keys: what is told where there is little room, and clicks on it."""

from tests.workbench.driving import chat, loaded, run, wait
from workbench.widgets.footer import Footer
from workbench.widgets.sampling import SamplingPanel


def line(pilot) -> str:
    return pilot.app.screen.query_one(Footer).render_line(0).text


def test_all_keys_are_told_where_there_is_room(tmp_path):
    async def script(pilot):
        await loaded(pilot)
        assert "…" not in line(pilot)
        assert line(pilot).split() == [
            *("f6", "Colours", "esc", "Stop", "^r", "Again", "^n", "New", "^o", "Open"),
            *("f5", "Sampling", "f1", "Help", "^p", "Commands"),
        ]

    run(tmp_path, script)


def test_the_key_of_the_help_is_told_however_little_room_there_is(tmp_path):
    async def script(pilot):
        await loaded(pilot)
        for width in (80, 60, 30, 10):
            await pilot.resize_terminal(width, 24)
            await wait(pilot, lambda width=width: len(line(pilot)) == width)
            assert line(pilot).rstrip().endswith("… f1 Help")
        # Only whole keys are told.
        await pilot.resize_terminal(32, 24)
        await wait(pilot, lambda: len(line(pilot)) == 32)
        assert line(pilot).rstrip() == " f6 Colours  esc Stop … f1 Help"

    run(tmp_path, script)


def test_a_click_presses_the_key(tmp_path):
    async def script(pilot):
        screen = await loaded(pilot)
        panel = screen.query_one(SamplingPanel)
        assert not panel.has_focus_within
        await pilot.click(Footer, offset=(line(pilot).index("Sampling"), 0))
        await wait(pilot, lambda: panel.has_focus_within)
        # Behind the last key there is nothing to press.
        await pilot.click(Footer, offset=(len(line(pilot).rstrip()) + 5, 0))
        await pilot.pause()
        assert chat(pilot) is screen

    run(tmp_path, script)


def test_a_key_under_the_mouse_is_marked(tmp_path):
    async def script(pilot):
        await loaded(pilot)
        footer = pilot.app.screen.query_one(Footer)
        await pilot.hover(Footer, offset=(line(pilot).index("Again"), 0))
        marked = [s.text for s in footer.render_line(0) if s.style and s.style.underline]
        assert "".join(marked) == " ^r Again "
        await pilot.hover(SamplingPanel)
        await wait(pilot, lambda: footer.hovered == -1)

    run(tmp_path, script)


def test_the_keys_follow_the_focus(tmp_path):
    async def script(pilot):
        screen = await loaded(pilot)
        assert "Colours" in line(pilot)
        await pilot.press("f3")
        await wait(pilot, lambda: pilot.app.screen is not screen and "Delete" in line(pilot))

    run(tmp_path, script)
