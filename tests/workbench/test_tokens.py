"""Tokens of an answer: inspected, coloured, replaced and branched from; the perplexity of a text."""

import math

from tests.workbench.driving import answered, ask, chat, loaded, run, shown, told, wait
from workbench.screens.score import ScoreScreen


def test_tokens_are_inspected_and_replaced(tmp_path):
    async def script(pilot):
        screen = await ask(pilot, "a b c")
        await pilot.press("alt+up", "home", "right")
        text = screen.transcript.answers[0]
        assert text.cursor == 1
        assert "␣yes" in shown(pilot)
        logprob = text.tokens[1].logprob
        assert f"p {math.exp(logprob):.3f} · {-logprob / math.log(2):.1f} bits" in shown(pilot)
        await pilot.press("2")
        await answered(pilot, 2)
        assert told(screen)[1].startswith(" echo no echo a")
        screen.transcript.answers[0].focus()
        await pilot.press("less_than_sign")
        assert told(screen)[1] == " echo a b c"
        # The third one would end the answer.
        await pilot.press("end", "3")
        await wait(pilot, lambda: "the answer would end there" in shown(pilot))
        await pilot.press("escape")
        await pilot.pause()
        assert "token 3 ·" not in shown(pilot)

    run(tmp_path, script)


def test_a_click_inspects_and_a_click_forces(tmp_path):
    async def script(pilot):
        screen = await ask(pilot, "a b c")
        y = next(y for y, line in enumerate(shown(pilot).splitlines()) if "echo a b c" in line)
        x = shown(pilot).splitlines()[y].index("a b c")
        await pilot.hover(offset=(x, y))
        await pilot.pause()
        assert screen.transcript.answers[0].hover == 1
        assert "token 1 ·" in shown(pilot)
        await pilot.click(offset=(x + 2, y))
        assert screen.transcript.answers[0].cursor == 2
        await pilot.click("#side-inspector", offset=(3, 3))
        await answered(pilot, 2)
        assert told(screen)[1].startswith(" echo a no")

    run(tmp_path, script)


def test_branch_from_a_token(tmp_path):
    async def script(pilot):
        screen = await ask(pilot, "a b c")
        await pilot.press("alt+up", "home", "right", "right", "b")
        await answered(pilot, 2)
        assert told(screen)[1] == " echo a echo a b c"

    run(tmp_path, script)


def test_unlikely_tokens_are_found_by_key(tmp_path):
    async def script(pilot):
        screen = await ask(pilot, "story 30")
        await pilot.press("alt+up", "home")
        text = screen.transcript.answers[0]
        await pilot.press("n")
        first = text.cursor
        assert text.tokens[first].logprob < math.log(0.1)
        await pilot.press("n", "p")
        assert text.cursor == first

    run(tmp_path, script)


def test_colours_by_probability_and_entropy(tmp_path):
    async def script(pilot):
        screen = await ask(pilot, "a b c d")
        text = screen.transcript.answers[0]

        def looks() -> list[str]:
            await_styles = [segment.style for segment in text.render_line(0)]
            return [str(style.bgcolor) + str(bool(style.underline)) for style in await_styles if style]

        plain = looks()
        assert len(set(plain)) <= 2
        await pilot.press("f6")
        probability = looks()
        assert len(set(probability)) > 2
        assert any(look.endswith("True") for look in probability), "unlikely tokens have a sign beside colour"
        await pilot.press("f6")
        assert looks() not in (plain, probability)
        await pilot.press("f6")
        assert looks() == plain

    run(tmp_path, script)


def test_the_perplexity_of_a_text(tmp_path):
    async def script(pilot):
        await loaded(pilot)
        await pilot.press("f10")
        await wait(pilot, lambda: isinstance(pilot.app.screen, ScoreScreen))
        await pilot.press("ctrl+s")
        await wait(pilot, lambda: "paste or type a text" in shown(pilot))
        await pilot.press(*"a cat", "ctrl+s")
        await wait(pilot, lambda: "perplexity" in shown(pilot) and "bits per byte" in shown(pilot))
        nats = 0.02
        assert f"perplexity {math.exp(nats):.2f}" in shown(pilot)
        assert f"{nats / math.log(2) / 5:.3f} bits per byte" in shown(pilot)
        assert "a␣cat" in shown(pilot)
        await pilot.press("f6", "escape")
        await wait(pilot, lambda: chat(pilot))

    run(tmp_path, script, (80, 24))
