"""The page's modules that need no element, run in the browser that runs them."""

from typing import Any

import pytest

from tests.serve.page.conftest import Visit

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def run(visit: Visit, module: str, body: str, argument: Any = None) -> Any:
    """Evaluate the body of a function of `it`, a module of the page, and `argument`."""
    code = f"async (argument) => {{ const it = await import('/js/{module}'); {body} }}"
    return visit.page.evaluate(code, argument)


MARKDOWN = {
    "plain": "<p>plain</p>",
    "one\ntwo\n\nthree": "<p>one\ntwo</p><p>three</p>",
    "**bold** and `code`": "<p><strong>bold</strong> and <code>code</code></p>",
    "2**3**4 and 2*3*4 and ** x **": "<p>2**3**4 and 2*3*4 and ** x **</p>",
    "(**a `b` c**)": "<p>(<strong>a <code>b</code> c</strong>)</p>",
    "`**a**`": "<p><code>**a**</code></p>",
    "`` a`b ``": "<p><code>a`b</code></p>",
    "`open and **open": "<p>`open and **open</p>",
    "#### 62": "<p>#### 62</p>",
    "- a\n- b": "<ul><li>a</li><li>b</li></ul>",
    "- a\n  - b\n    1. c\n- d": "<ul><li>a<ul><li>b<ol><li>c</li></ol></li></ul></li><li>d</li></ul>",
    "- a\n  goes on\n- b": "<ul><li>a\ngoes on</li><li>b</li></ul>",
    "3. a\n4. b": '<ol start="3"><li>a</li><li>b</li></ol>',
    "-5 is less than 2": "<p>-5 is less than 2</p>",
    "- \nx": "<p>- \nx</p>",
    "1.5 is a number": "<p>1.5 is a number</p>",
    "text\n- a": "<p>text</p><ul><li>a</li></ul>",
    "It was\n1986. A good year.": "<p>It was\n1986. A good year.</p>",
    "```py\na < b\n\n**c**\n```\nd": "<pre><code>a &lt; b\n\n**c**</code></pre><p>d</p>",
    "~~~\n```\n~~~": "<pre><code>```</code></pre>",
    "```\nopen": "<pre><code>open</code></pre>",
    "<b>&amp;</b>": "<p>&lt;b&gt;&amp;amp;&lt;/b&gt;</p>",
    "[x](javascript:1) ![y](z)": "<p>[x](javascript:1) ![y](z)</p>",
    "": "",
}


def test_markdown_is_what_is_promised_and_nothing_else(visit: Visit):
    body = """
        return argument.map((text) => {
          const element = document.createElement("div");
          it.renderInto(element, text);
          for (const child of element.querySelectorAll("*")) {
            child.removeAttribute("dir");
            child.removeAttribute("tabindex");
          }
          return element.innerHTML;
        });"""
    shown = run(visit, "markdown.js", body, list(MARKDOWN))
    assert dict(zip(MARKDOWN, shown, strict=True)) == MARKDOWN


def test_markdown_that_grows_ends_as_markdown_at_once(visit: Visit):
    body = """
        return argument.filter((text) => {
          const [grown, whole] = [document.createElement("div"), document.createElement("div")];
          for (let end = 0; end <= text.length; end += 1) it.renderInto(grown, text.slice(0, end));
          it.renderInto(whole, text);
          return grown.innerHTML !== whole.innerHTML;
        });"""
    assert run(visit, "markdown.js", body, ["\n\n".join(MARKDOWN), *MARKDOWN]) == []


def test_events_are_the_same_however_the_stream_is_cut(visit: Visit):
    stream = 'data: {"a": "é"}\n\n: ping\n\ndata:one\r\ndata: two\r\n\r\nevent: x\ndata: [DONE]\n\ndata: cut'
    body = """
        const wanted = new it.EventParser().push(argument);
        const cuts = [];
        for (let i = 0; i <= argument.length; i += 1) {
          for (let j = i; j <= argument.length; j += 1) {
            const parser = new it.EventParser();
            const pieces = [argument.slice(0, i), argument.slice(i, j), argument.slice(j)];
            const events = pieces.flatMap((piece) => parser.push(piece));
            if (JSON.stringify(events) !== JSON.stringify(wanted)) cuts.push([i, j]);
          }
        }
        return [wanted, cuts];"""
    events, cuts = run(visit, "sse.js", body, stream)
    assert events == ['{"a": "é"}', "one\ntwo", "[DONE]"]
    assert cuts == []


def test_an_empty_call_keeps_its_place_before_its_result(visit: Visit):
    parts = [
        {"type": "text", "text": ""},
        {"type": "tool_call", "text": ""},
        {"type": "tool_result", "text": "error: empty"},
    ]
    body = "return it.messagesOf({ system: ' ' }, [{ role: 'assistant', parts: argument }]);"
    assert run(visit, "tree.js", body, parts) == [{"role": "assistant", "content": parts[1:]}]


def test_what_failed_before_its_first_token_was_never_said(visit: Visit):
    text = {"type": "text", "text": "a1"}
    path = [
        {"role": "user", "text": "q1"},
        {"role": "assistant", "parts": []},
        {"role": "user", "text": "q2"},
        {"role": "assistant", "parts": [text]},
        {"role": "user", "text": "q3"},
    ]
    body = "return it.messagesOf({ system: '' }, argument);"
    assert run(visit, "tree.js", body, path) == [
        {"role": "user", "content": "q2"},
        {"role": "assistant", "content": "a1"},
        {"role": "user", "content": "q3"},
    ]


def test_the_oldest_conversations_make_way(visit: Visit):
    rows = [{"id": str(number), "updated": number, "size": 10} for number in range(6)]
    body = "return it.overflow(argument.rows, '0', argument.most, argument.size);"
    assert run(visit, "storage.js", body, {"rows": rows, "most": 6, "size": 60}) == []
    assert run(visit, "storage.js", body, {"rows": rows, "most": 4, "size": 60}) == ["2", "1"]
    assert run(visit, "storage.js", body, {"rows": rows, "most": 6, "size": 35}) == ["3", "2", "1"]


def test_a_store_that_is_full_removes_the_oldest(visit: Visit):
    body = """
        const store = await it.ConversationStore.open("test");
        const text = "x".repeat(it.MAX_CHARACTERS / 4);
        const gone = [];
        for (let updated = 1; updated <= 5; updated += 1) {
          gone.push(await store.put({ id: `c${updated}`, updated, text }));
        }
        return [gone, (await store.all()).map(({ id }) => id)];"""
    gone, kept = run(visit, "storage.js", body)
    assert gone == [[], [], [], ["c1"], ["c2"]]
    assert kept == ["c5", "c4", "c3"]


def test_controls_are_shown_and_scripts_left_alone(visit: Visit):
    texts = {
        "a\u202eb\u2066c": "a⟨U+202E⟩b⟨U+2066⟩c",
        "\u2028\u2029\u200b\ufeff": "⟨U+2028⟩⟨U+2029⟩⟨U+200B⟩⟨U+FEFF⟩",
        "\x1b[31m\r\n\t": "␛[31m␍\n\t",
        "👩\u200d👧 שלום नमस्ते": "👩\u200d👧 שלום नमस्ते",
    }
    assert run(visit, "visible.js", "return argument.map(it.visible);", list(texts)) == list(texts.values())


def test_settings_that_are_damaged_are_left_out(visit: Visit):
    body = """
        return argument.map((stored) => {
          localStorage.setItem("picochat.settings", stored);
          return it.loadSettings().sampling;
        });"""
    stored = ["{", "null", '{"sampling": {"temperature": "hot", "top_k": 7.5, "min_p": 0.5, "seed": -1}}']
    broken, empty, mixed = run(visit, "settings.js", body, stored)
    assert broken == empty
    assert mixed == broken | {"min_p": 0.5}
