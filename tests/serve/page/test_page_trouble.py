"""The chat page when things go wrong, and the rules that every state of it keeps."""

import re

import pytest
from playwright.sync_api import Page, Route, expect

from tests.serve.page.conftest import ANSWERS, FACT, STORY, SUM, Open, Visit

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def test_a_full_queue_is_waited_for(open_page: Open, narrow_address: str, slowly: None):
    first, second = open_page(narrow_address), open_page(narrow_address)
    first.ask(STORY)
    expect(first.page.locator(".message.assistant .prose")).to_contain_text("Line 1 ")
    second.ask(FACT)
    note = second.page.locator(".ending")
    expect(note).to_contain_text("The server is busy: its queue is full. Trying again in")
    first.page.click("#stop")
    second.finish()
    expect(second.page.locator(".message.assistant .prose")).to_have_text(str(ANSWERS[FACT]))
    second.forgive("503")


def test_waiting_for_a_full_queue_can_be_stopped(open_page: Open, narrow_address: str, slowly: None):
    first, second = open_page(narrow_address), open_page(narrow_address)
    first.ask(STORY)
    expect(first.page.locator(".message.assistant .prose")).to_contain_text("Line 1 ")
    second.ask(FACT)
    expect(second.page.locator(".ending")).to_contain_text("Trying again in")
    second.page.keyboard.press("Escape")
    second.finish()
    expect(second.page.locator(".ending")).to_have_text("Stopped.")
    second.forgive("503")
    first.page.click("#stop")
    first.finish()


def test_a_conversation_that_is_too_long_is_told_and_cured(visit: Visit):
    page = visit.page
    full = page.get_by_text("The model's context is full.")
    for _ in range(5):
        if not full.count():
            visit.answer(STORY)
    expect(full).to_be_visible()
    expect(page.locator("#context-meter")).to_have_class("share is-nearly-full")
    visit.answer(FACT)
    error = page.locator(".error")
    expect(error).to_contain_text("too long for the model's context")
    visit.forgive("400")
    with page.expect_request("**/chat/completions") as asked:
        page.get_by_role("button", name="Leave out the oldest turns").click()
    visit.finish()
    assert asked.value.post_data_json["truncation"] == "auto"
    expect(error).to_have_count(0)
    expect(page.locator(".pager")).to_have_count(0)
    expect(page.locator(".message.assistant .prose").last).to_have_text(str(ANSWERS[FACT]))


def test_a_server_that_has_gone_and_comes_back(visit: Visit):
    page = visit.page
    page.route("**/v1/**", lambda route: route.abort("connectionrefused"))
    page.route("**/health", lambda route: route.abort("connectionrefused"))
    visit.ask(FACT)
    expect(page.locator(".error")).to_contain_text("The server does not answer.")
    expect(page.locator("#notice")).to_contain_text("The server does not answer.")
    visit.forgive("ERR_CONNECTION_REFUSED")
    page.unroute("**/v1/**")
    page.unroute("**/health")
    expect(page.locator("#notice")).to_be_hidden()
    page.get_by_role("button", name="Try again").click()
    visit.finish()
    expect(page.locator(".message.assistant .prose")).to_have_text(str(ANSWERS[FACT]))
    expect(page.locator(".pager")).to_have_count(0)


def test_a_stream_that_breaks_off_keeps_what_came(visit: Visit):
    page = visit.page
    chunk = 'data: {"choices": [{"index": 0, "delta": {"content": "Half an "}}]}\n\n'

    def break_off(route: Route) -> None:
        route.fulfill(status=200, headers={"Content-Type": "text/event-stream"}, body=chunk)

    page.route("**/chat/completions", break_off)
    visit.ask(FACT)
    visit.finish()
    expect(page.locator(".message.assistant .prose")).to_have_text("Half an ")
    expect(page.locator(".error")).to_contain_text("The connection ended before the answer was complete.")
    page.unroute("**/chat/completions")
    page.get_by_role("button", name="Try again").click()
    visit.finish()
    expect(page.locator(".pager")).to_have_text("2 / 2")


def test_an_error_of_the_server_is_shown_as_it_says(visit: Visit):
    page = visit.page
    body = '{"error": {"message": "temperature <b>must</b> be a number", "code": "invalid_value"}}'
    page.route("**/chat/completions", lambda route: route.fulfill(status=400, body=body))
    visit.ask(FACT)
    expect(page.locator(".error")).to_contain_text("temperature <b>must</b> be a number")
    visit.forgive("400")


def test_the_key_is_asked_for_and_kept_for_the_tab(open_page: Open, address_with_key: str):
    visit = open_page(address_with_key)
    page = visit.page
    notice = page.locator("#notice")
    expect(notice).to_contain_text("asks for its API key")
    notice.get_by_label("API key").fill("wrong")
    page.keyboard.press("Enter")
    expect(notice.get_by_label("API key")).to_have_value("")
    notice.get_by_label("API key").fill("open-sesame")
    page.keyboard.press("Enter")
    expect(notice).to_be_hidden()
    visit.forgive("401")
    assert visit.answer(FACT) == ANSWERS[FACT]
    page.reload()
    expect(page.locator("#model")).to_have_value("tiny")
    stored = page.evaluate("[JSON.stringify(sessionStorage), JSON.stringify(localStorage)]")
    assert ["open-sesame" in area for area in stored] == [True, False]


def test_the_page_works_where_the_browser_keeps_nothing(open_page: Open, address: str):
    visit = open_page(address)
    page = visit.page
    page.add_init_script(
        "for (const name of ['localStorage', 'sessionStorage', 'indexedDB'])"
        " Object.defineProperty(window, name, {get() { throw new DOMException('no', 'SecurityError') }})"
    )
    page.reload()
    expect(page.locator("#toast")).to_contain_text("This browser keeps no data")
    assert visit.answer(FACT) == ANSWERS[FACT]


THEMES = [("light", "light"), ("dark", "dark"), ("light", "dark"), ("dark", "light")]


@pytest.mark.parametrize(("system", "chosen"), THEMES)
def test_texts_can_be_read_in_both_themes(open_page: Open, address: str, system: str, chosen: str):
    visit = open_page(address, color_scheme=system, viewport={"width": 1400, "height": 900})
    page = visit.page
    check_contrast(page)
    for _ in range(3):
        if page.evaluate("document.documentElement.dataset.theme") != chosen:
            page.click("#theme")
    visit.answer(SUM)
    page.click(".thinking summary")
    page.click("#show-options")
    check_contrast(page)
    visit.press("p")
    check_contrast(page)
    is_dark = page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(22, 24, 27)"
    assert is_dark == (chosen == "dark")
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == chosen


def check_contrast(page: Page) -> None:
    """Assert that every text that is seen has a contrast of 4.5 to 1 (WCAG 2.2, 1.4.3)."""
    faint = page.evaluate(
        """() => {
          const channels = (color) => color.match(/[\\d.]+/g).map(Number);
          const luminance = ([r, g, b]) => [r, g, b].map((c) => c / 255)
            .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
            .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
          const behind = (element) => {
            for (let at = element; at; at = at.parentElement) {
              const color = channels(getComputedStyle(at).backgroundColor);
              if (color.length === 3 || color[3] === 1) return color;
            }
            return [255, 255, 255];
          };
          const found = [];
          const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
          while (walker.nextNode()) {
            const [element, text] = [walker.currentNode.parentElement, walker.currentNode.data.trim()];
            if (!text || !element.checkVisibility({ visibilityProperty: true })) continue;
            if (element.closest(":disabled, option, .hidden, .skip, noscript")) continue;
            const [a, b] = [luminance(channels(getComputedStyle(element).color)), luminance(behind(element))];
            const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            if (contrast < 4.5) found.push(`${contrast.toFixed(2)} ${element.className} ${text}`);
          }
          return found;
        }"""
    )
    assert faint == []


def test_everything_that_is_pressed_or_filled_in_has_a_name(visit: Visit):
    page = visit.page
    visit.answer(SUM)
    page.click("#show-options")
    visit.press("p")
    controls = page.locator("button:visible, input:visible, textarea:visible, select:visible, [role=listbox]")
    assert controls.count() > 30
    for control in controls.all():
        expect(control).to_have_accessible_name(re.compile(r"\S"))
    expect(page.locator("#spoken")).to_contain_text("Sam has 54 more.")


def test_nothing_moves_for_those_who_ask_for_that(open_page: Open, address: str, slowly: None):
    visit = open_page(address, reduced_motion="reduce")
    visit.ask(STORY)
    expect(visit.page.locator(".message.assistant .prose")).to_contain_text("Line 1 ")
    assert visit.page.evaluate("document.getAnimations().length") == 0
    visit.page.click("#stop")
    visit.finish()
