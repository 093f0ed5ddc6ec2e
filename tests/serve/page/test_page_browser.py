"""The chat page as its users meet it, in real Chromium."""

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from picochat.engine.generate import Engine
from picochat.tokenizer.conversation import render_conversation
from picochat.tokenizer.messages import parse_messages
from tests.serve.page.conftest import ANSWERS, FACT, HOSTILE, MARKUP, STORY, SUM, Open, Visit

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


LENGTHS_UNTIL_LINE_3 = """() => new Promise((resolve) => {
  const lengths = [];
  const look = () => {
    const text = [...document.querySelectorAll(".message.assistant .prose")].at(-1).innerText;
    if (text.length !== lengths.at(-1)) lengths.push(text.length);
    if (text.includes("Line 3 ")) resolve(lengths);
    else requestAnimationFrame(look);
  };
  look();
})"""


def last_answer(page: Page) -> Any:
    return page.locator(".message.assistant").last


def test_a_conversation_with_a_tool_call_stop_and_regenerate(visit: Visit, slowly: None, engine: Engine):
    page = visit.page
    visit.ask(SUM)
    expect(page.locator(".thinking summary")).to_have_text("Thinking…")
    visit.finish()
    assert "I take 20 from 74." in page.locator(".thinking .prose").text_content()
    expect(page.locator(".thinking .prose")).to_be_hidden()
    page.click(".thinking summary")
    expect(page.locator(".thinking .prose")).to_be_visible()
    expect(page.locator(".tool")).to_have_text("Calculator: 74-20=54")
    expect(page.locator(".message.assistant .parts > .prose")).to_have_text("Sam has 54 more.")
    expect(page.locator(".facts")).to_contain_text("tok/s")
    # What the calculator wrote fills the context too.
    turns = parse_messages(
        [{"role": "user", "content": SUM}, {"role": "assistant", "content": ANSWERS[SUM]}], where="test"
    )
    num_context = len(render_conversation(engine.tokenizer, turns).ids)
    expect(page.locator(".facts")).to_contain_text(f"context {num_context} of 512")
    expect(page.locator("#context-text")).to_have_text(f"context {num_context} of 512")

    visit.ask(STORY)
    told = last_answer(page).locator(".prose")
    expect(told).to_contain_text("Line 1 ")
    lengths = page.evaluate(LENGTHS_UNTIL_LINE_3)
    assert len(lengths) > 3, "the answer comes bit by bit"
    assert lengths == sorted(lengths)
    expect(page.locator("#live")).to_contain_text("tok/s")
    page.keyboard.press("Escape")
    visit.finish()
    partial = told.inner_text()
    assert ANSWERS[STORY].startswith(partial)
    assert 20 < len(partial) < len(ANSWERS[STORY])
    expect(last_answer(page).locator(".ending")).to_have_text("Stopped.")
    wait_until_idle(page)

    last_answer(page).get_by_label("Answer again").click()
    expect(last_answer(page)).to_have_attribute("aria-busy", "true")
    page.click("#stop")
    visit.finish()
    expect(last_answer(page).locator(".pager")).to_have_text("2 / 2")
    last_answer(page).get_by_label("Version before").click()
    expect(last_answer(page).locator(".pager")).to_have_text("1 / 2")
    assert told.inner_text() == partial


def wait_until_idle(page: Page) -> None:
    """Wait until the server has given up what nobody waits for."""
    for _ in range(100):
        if "\npicochat_rows_active 0\n" in page.request.get(f"{page.url}metrics").text():
            return
        page.wait_for_timeout(50)
    raise AssertionError("the server goes on writing")


def test_the_messages_of_a_second_turn_hold_all_parts_of_the_first(visit: Visit):
    visit.answer(SUM)
    with visit.page.expect_request("**/chat/completions") as asked:
        assert visit.answer(FACT) == ANSWERS[FACT]
    assert asked.value.post_data_json["messages"] == [
        {"role": "user", "content": SUM},
        {"role": "assistant", "content": ANSWERS[SUM]},
        {"role": "user", "content": FACT},
    ]


def test_a_question_is_edited_and_the_conversation_goes_on_from_there(visit: Visit):
    page = visit.page
    visit.answer(FACT)
    visit.answer(SUM)
    first = page.locator(".message.user").first
    first.hover()
    first.get_by_label("Edit and ask again").click()
    page.locator(".editor textarea").fill(MARKUP)
    page.keyboard.press("Enter")
    visit.finish()
    expect(page.locator(".message")).to_have_count(2)
    expect(page.locator(".message.user .pager")).to_have_text("2 / 2")
    page.get_by_label("Version before").click()
    expect(page.locator(".message")).to_have_count(4)
    expect(page.locator(".message.user .bubble").first).to_have_text(FACT)


def test_an_answer_is_edited_and_sent_so(visit: Visit):
    page = visit.page
    visit.answer(SUM)
    page.get_by_label("Edit the answer").click()
    page.locator(".editor textarea").fill("Sam has many more.")
    page.keyboard.press("Enter")
    expect(page.locator(".tool")).to_have_count(1)
    with page.expect_request("**/chat/completions") as asked:
        visit.answer(FACT)
    parts = asked.value.post_data_json["messages"][1]["content"]
    assert parts == [*ANSWERS[SUM][:3], {"type": "text", "text": "Sam has many more."}]


@pytest.mark.parametrize("width", [320, 360, 420])
def test_a_conversation_at_phone_width(open_page: Open, address: str, width: int):
    visit = open_page(address, viewport={"width": width, "height": 640}, has_touch=True, is_mobile=True)
    page = visit.page

    def check_width():
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate("document.querySelector('#scroller').scrollWidth") <= width

    check_width()
    page.locator(".suggestion").first.tap()
    visit.finish()
    assert last_answer(page).locator(".prose").inner_text() == ANSWERS[FACT]
    page.fill("#prompt", SUM)
    page.tap("#send")
    visit.finish()
    expect(page.locator(".tool output")).to_have_text("54")
    check_width()
    last_answer(page).get_by_label("Token probabilities").tap()
    last_answer(page).locator(".prose > .tokens .token").first.tap()
    expect(page.locator("#token-card")).to_be_visible()
    card = page.locator("#token-card").bounding_box()
    assert card["x"] >= 0
    assert card["x"] + card["width"] <= width
    check_width()
    expect(page.locator("#history")).to_be_hidden()
    page.tap("#show-history")
    page.locator("#conversations .open").tap()
    expect(page.locator("#history")).to_be_hidden()
    page.tap("#show-options")
    expect(page.locator("#option-temperature")).to_be_visible()
    page.get_by_label("Close options").tap()
    expect(page.locator("#options")).to_be_hidden()


def test_hostile_text_stays_text(visit: Visit):
    page = visit.page
    visit.answer(MARKUP)
    shown = last_answer(page).locator(".prose").text_content()
    for part in HOSTILE.split("\n\n")[0], "⟨U+202E⟩evil⟨U+202C⟩ ⟨U+2028⟩", "2*3*4":
        assert part in shown
    assert "\u202e" not in shown
    expect(last_answer(page).locator("code")).to_have_text("<b>")
    expect(last_answer(page).locator("strong")).to_have_text("bold")
    visit.answer('<img src=x onerror="document.title=1">\u202e')
    expect(page.locator(".bubble").last).to_have_text('<img src=x onerror="document.title=1">⟨U+202E⟩')
    last_answer(page).get_by_label("Token probabilities").click()
    page.locator("#conversations .open").first.hover()
    page.get_by_label("Rename").first.click()
    page.keyboard.type("<script>alert(1)</script>")
    page.keyboard.press("Enter")
    expect(page.locator("#title")).to_have_text("<script>alert(1)</script>")
    page.reload()
    page.locator("#conversations .open").click()
    expect(page.locator(".message")).to_have_count(4)
    assert page.locator("main script, main img, main b").count() == 0
    assert page.title().endswith("picochat")
    assert page.evaluate("document.querySelectorAll('[style*=url], [onerror], [onload]').length") == 0


def test_conversations_are_kept_searched_renamed_and_deleted(visit: Visit):
    page = visit.page
    visit.answer(FACT)
    page.click("#new")
    visit.answer(SUM)
    page.reload()
    rows = page.locator("#conversations .open")
    expect(rows).to_have_text([SUM, FACT])
    rows.first.click()
    expect(page.locator(".tool output")).to_have_text("54")
    page.fill("#search", "elmford mara")
    expect(rows).to_have_text([FACT])
    rows.first.hover()
    page.get_by_label("Rename").click()
    page.keyboard.type("A home")
    page.keyboard.press("Enter")
    page.fill("#search", "")
    page.reload()
    expect(rows).to_have_text([SUM, "A home"])
    rows.last.hover()
    page.get_by_label("Delete: A home").click()
    expect(rows).to_have_text([SUM])
    page.get_by_role("button", name="Undo").click()
    expect(rows).to_have_text([SUM, "A home"])
    page.click("#delete-all")
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(rows).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(rows).to_have_text([SUM, "A home"])
    page.click("#delete-all")
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(rows).to_have_count(0)
    page.reload()
    expect(page.locator("#conversations .none")).to_be_visible()


def test_an_answer_goes_on_while_another_conversation_is_open(visit: Visit, slowly: None):
    page = visit.page
    visit.ask(STORY)
    expect(last_answer(page).locator(".prose")).to_contain_text("Line 1 ")
    page.click("#new")
    expect(page.locator("#stop")).to_be_hidden()
    assert visit.answer(FACT) == ANSWERS[FACT]
    expect(page.get_by_label("being answered")).to_have_count(1)
    page.locator("#conversations .open").filter(has_text=STORY).click()
    visit.finish()
    expect(last_answer(page).locator(".prose")).to_have_text(str(ANSWERS[STORY]))
    expect(page.get_by_label("being answered")).to_have_count(0)


def test_what_was_written_until_a_reload_is_kept(visit: Visit, slowly: None):
    page = visit.page
    visit.ask(STORY)
    # It is saved every two seconds, some forty tokens.
    expect(last_answer(page).locator(".prose")).to_contain_text("Line 9 ")
    page.reload()
    page.locator("#conversations .open").click()
    expect(last_answer(page).locator(".prose")).to_contain_text("Line 1 of the story.")
    expect(last_answer(page).locator(".ending")).to_contain_text("Interrupted")


def test_two_tabs_see_the_same_conversations(visit: Visit):
    other = visit.page.context.new_page()
    other.goto(visit.page.url)
    expect(other.locator("#conversations .none")).to_be_visible()
    visit.answer(FACT)
    other.locator("#conversations .open").click()
    expect(other.locator(".message.assistant .prose")).to_have_text(ANSWERS[FACT])


def test_token_probabilities(visit: Visit):
    page = visit.page
    answer = visit.answer(FACT)
    page.get_by_label("Token probabilities").click()
    tokens = page.locator(".token[role=option]")
    assert "".join(tokens.all_text_contents()) == answer
    tokens.nth(1).hover()
    card = page.locator("#token-card")
    expect(card.locator("tr")).to_have_count(5)
    expect(card.locator("tr.is-chosen")).to_have_count(1)
    shares = [float(text.split()[-2]) for text in card.locator(".number").all_inner_texts()]
    assert shares == sorted(shares, reverse=True)
    assert 90 < shares[0] <= 100
    tokens.first.focus()
    page.keyboard.press("ArrowRight")
    expect(tokens.nth(1)).to_be_focused()
    expect(card).to_be_visible()
    page.keyboard.press("Escape")
    expect(card).to_be_hidden()


def test_sampling_options_go_with_the_question(visit: Visit):
    page = visit.page
    page.click("#show-options")
    values = {"temperature": 0.25, "top_k": 7, "top_p": 0.9, "min_p": 0.05, "repetition_penalty": 1.1}
    values |= {"max_tokens": 33, "thinking_budget": 4, "seed": 11}
    for name, value in values.items():
        page.fill(f"#option-{name}", str(value))
    page.fill("#system", "You are picochat.")
    page.select_option("#model", "other")
    page.fill("#option-top_p", "1.5")
    page.keyboard.press("Tab")
    expect(page.locator("#option-top_p-help")).to_have_text("A number from 0.01 to 1.")
    with page.expect_request("**/chat/completions") as asked:
        visit.answer(SUM)
    body = asked.value.post_data_json
    assert {name: body[name] for name in values} == values
    assert body["model"] == "other"
    assert body["messages"][0] == {"role": "system", "content": "You are picochat."}
    expect(page.locator(".facts")).to_contain_text("seed 11")
    page.reload()
    expect(page.locator("#option-temperature")).to_have_value("0.25")
    expect(page.locator("#model")).to_have_value("other")
    page.get_by_role("button", name="Reset all").click()
    expect(page.locator("#option-temperature")).to_have_value("0.8")
    expect(page.locator("#option-seed")).to_have_value("")
    with page.expect_request("**/chat/completions") as asked:
        visit.answer(FACT)
    assert "seed" not in asked.value.post_data_json


def test_exports_read_back(visit: Visit, tmp_path: Path):
    page = visit.page
    page.click("#show-options")
    visit.answer(SUM)
    texts = {}
    for name in ("JSONL for SFT", "Markdown"):
        with page.expect_download() as download:
            page.get_by_role("button", name=name).click()
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        texts[path.suffix] = path.read_text(encoding="utf-8")
    row = json.loads(texts[".jsonl"])
    messages = parse_messages(row["messages"], where="export")
    assert [part.text for part in messages[1].parts] == [part["text"] for part in ANSWERS[SUM]]
    sections = ["**User**", SUM, "**Assistant**", "> I take 20 from 74.", "    74-20", "    = 54"]
    assert texts[".md"] == "\n\n".join([*sections, "Sam has 54 more."]) + "\n"


def test_the_keyboard_does_it_all(visit: Visit, slowly: None):
    page = visit.page
    expect(page.locator("#prompt")).to_be_focused()
    page.keyboard.type("first")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("second")
    expect(page.locator("#prompt")).to_have_value("first\nsecond")
    page.fill("#prompt", "")
    visit.ask(STORY)
    expect(last_answer(page).locator(".prose")).to_contain_text("Line 1 ")
    page.keyboard.press("Escape")
    visit.finish()
    visit.press("r")
    expect(page.locator("#stop")).to_be_visible()
    visit.press("Escape")
    visit.finish()
    expect(page.locator(".pager")).to_have_text("2 / 2")
    visit.press("[")
    expect(page.locator(".pager")).to_have_text("1 / 2")
    page.focus("#prompt")
    page.keyboard.press("ArrowUp")
    expect(page.locator(".editor textarea")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator(".editor")).to_have_count(0)
    visit.press("p")
    expect(page.locator(".token[role=option]").first).to_be_focused()
    visit.press("n")
    expect(page.locator(".message")).to_have_count(0)
    visit.press("?")
    expect(page.locator("#dialog")).to_be_visible()
    page.get_by_label("Single keys work").uncheck()
    page.keyboard.press("Escape")
    expect(page.locator("#dialog")).to_be_hidden()
    visit.press("?")
    expect(page.locator("#dialog")).to_be_hidden()


def test_focus_is_seen_wherever_it_goes(visit: Visit):
    page = visit.page
    visit.answer(SUM)
    page.click("#show-options")
    page.evaluate("document.activeElement.blur()")
    seen = set()
    for _ in range(90):
        page.keyboard.press("Tab")
        told = page.evaluate(
            "() => { const e = document.activeElement; const s = getComputedStyle(e);"
            " return [e.id || e.className || e.tagName, s.outlineStyle, parseFloat(s.outlineWidth)] }"
        )
        if told[0] == "BODY":
            continue
        seen.add(told[0])
        assert told[1] != "none", told
        assert told[2] >= 2, told
    assert {"new", "search", "prompt", "show-options", "option-seed"} <= seen
