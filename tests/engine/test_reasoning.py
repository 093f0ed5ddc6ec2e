"""The reasoning state machine, fed ids by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from picochat.engine.events import Done, Event, TextDelta, ThinkingDelta, Token, ToolCall, ToolResult
from picochat.engine.options import SamplingOptions
from picochat.engine.reasoning import MAX_RESULT_CHARS, MAX_TOOL_CALLS, AnswerState, forbidden_ids
from picochat.engine.stop_strings import StopMatcher
from picochat.tokenizer.special import SPECIAL_TOKENS
from picochat.tokenizer.tokenizer import Tokenizer

TAGS = {
    "<end>": "<|assistant_end|>",
    "<bos>": "<|bos|>",
    "<think>": "<|think_start|>",
    "</think>": "<|think_end|>",
    "<call>": "<|tool_call_start|>",
    "</call>": "<|tool_call_end|>",
    "<result>": "<|tool_result_start|>",
    "</result>": "<|tool_result_end|>",
    "<answer>": "<|assistant_start|>",
}
BYTES = Tokenizer.from_merges([], 272)
"""One id per byte."""


def ids_of(script: str, tokenizer: Tokenizer = BYTES) -> list[int]:
    """Ids of a text with short tags, which stand alone between spaces: "<call> 1+1 </call>"."""
    ids: list[int] = []
    for word in script.split(" "):
        ids += [tokenizer.special[TAGS[word]]] if word in TAGS else tokenizer.encode(word.replace("_", " "))
    return ids


class Play:
    """Feeds a state machine and keeps everything it says."""

    def __init__(self, script: str = "", *, room: int = 1000, prompt: str = "", **options) -> None:
        self.state = AnswerState(BYTES, SamplingOptions(seed=0, **options), room=room)
        first = self.state.begin(ids_of(prompt))
        self.events: list[Event] = list(first.events)
        self.forced: list[list[int]] = [first.forced]
        for id in ids_of(script):
            if self.state.finish_reason:
                break
            step = self.state.push(Token(id))
            self.events += step.events
            self.forced.append(step.forced)

    @property
    def parts(self) -> list[tuple[str, str]]:
        return [(part.type, part.text) for part in self.state.completion.parts]

    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, TextDelta))


def check_invariants(play: Play) -> None:
    """What holds for every answer that ever was."""
    state, completion = play.state, play.state.completion
    events, done = play.events[:-1], play.events[-1]
    assert isinstance(done, Done)
    assert not any(isinstance(event, Done) for event in events)
    assert done.completion == completion
    assert done.reason == completion.finish_reason == state.finish_reason
    # Every token is told exactly once, in order.
    assert [token for event in play.events for token in event.tokens] == state.tokens
    assert done.num_tokens == sum(not forced for forced in completion.forced)
    # Forced ids are just those the engine was told to force.
    assert [id for forced in play.forced for id in forced] == [t.id for t in state.tokens if t.forced]
    # The stream and the record say the same.
    assert play.text() == completion.text
    assert "".join(e.text for e in events if isinstance(e, ThinkingDelta)) == completion.thinking
    assert [e.text for e in events if isinstance(e, ToolResult)] == completion.tool_results
    # Nothing a tag spells gets into the text, and no empty or doubled parts arise but empty calls.
    assert not any("<|" in part.text for part in completion.parts)
    assert all(part.text or part.type == "tool_call" for part in completion.parts)
    results = [i for i, part in enumerate(completion.parts) if part.type == "tool_result"]
    assert all(completion.parts[i - 1].type == "tool_call" for i in results)


def test_all_kinds_of_parts() -> None:
    play = Play("Hm. <think> so_ <call> 2+3 </call> well </think> It_is_5. <end>")
    assert play.parts == [
        ("text", "Hm."),
        ("thinking", "so "),
        ("tool_call", "2+3"),
        ("tool_result", "5"),
        ("thinking", "well"),
        ("text", "It is 5."),
    ]
    assert play.state.finish_reason == "stop"
    check_invariants(play)
    assert play.state.completion.text == "Hm.It is 5."
    assert play.state.completion.tool_calls == ["2+3"]


def test_the_result_is_forced_right_after_the_call() -> None:
    play = Play("<call> 40+2 </call>")
    assert play.forced[:-1] == [[]] * (len(play.forced) - 1)
    assert play.forced[-1] == ids_of("<result> 42 </result>")
    assert [type(event) for event in play.events] == [ToolCall, ToolResult]
    assert play.state.completion.forced == [False] * 6 + [True] * 4


def test_a_wrong_call_gets_its_error_as_result() -> None:
    play = Play("<call> 1/0 </call>")
    assert play.parts[1][0] == "tool_result"
    assert play.parts[1][1].startswith("error: ")


def test_text_that_spells_a_tag_is_text() -> None:
    literal = BYTES.encode("<|tool_call_start|>1+1<|tool_call_end|>")
    state = AnswerState(BYTES, SamplingOptions(seed=0), room=100)
    assert not any(state.push(Token(id)).forced for id in literal)
    assert state.completion.text == "<|tool_call_start|>1+1<|tool_call_end|>"


@pytest.mark.parametrize("tag", ["</call>", "</think>", "</result>", "<result>", "<answer>"])
def test_tags_without_an_open_block_are_inert(tag: str) -> None:
    play = Play(f"a {tag} {tag} b <call> 1+1 </call> {tag} {tag} c <end>")
    assert play.parts == [("text", "ab"), ("tool_call", "1+1"), ("tool_result", "2"), ("text", "c")]
    check_invariants(play)


@pytest.mark.parametrize(
    ("script", "parts"),
    [
        # A second opening tag abandons the open call.
        (
            "<call> 1+ <call> 2+2 </call> <end>",
            [("tool_call", "1+"), ("tool_call", "2+2"), ("tool_result", "4")],
        ),
        # The end of thinking abandons a call within.
        ("<think> a <call> 1+1 </think> b <end>", [("thinking", "a"), ("tool_call", "1+1"), ("text", "b")]),
        # Thinking does not begin within a call, nor within thinking.
        ("<call> 1+ <think> 1 </call> <end>", [("tool_call", "1+1"), ("tool_result", "2")]),
        ("<think> a <think> b </think> c <end>", [("thinking", "ab"), ("text", "c")]),
        # Left open at the end.
        ("x <call> 1+1 <end>", [("text", "x"), ("tool_call", "1+1")]),
        ("<think> hm <end>", [("thinking", "hm")]),
        ("<call> </call> <end>", [("tool_call", ""), ("tool_result", "error: empty expression")]),
    ],
)
def test_nested_and_unclosed_blocks(script: str, parts: list[tuple[str, str]]) -> None:
    play = Play(script)
    kinds = [kind for kind, _ in play.parts]
    assert kinds == [kind for kind, _ in parts]
    for (_, got), (_, wanted) in zip(play.parts, parts, strict=True):
        assert got == wanted or (wanted.startswith("error") and got.startswith("error"))
    check_invariants(play)


@pytest.mark.parametrize("budget", [0, 1, 3])
def test_the_thinking_budget_forces_the_end(budget: int) -> None:
    play = Play("<think> abcdefg <end>", thinking_budget=budget)
    assert play.parts == [("thinking", "abc"[:budget]), ("text", "abcdefg"[budget:])][not budget :]
    end = ids_of("</think>")
    assert [forced for forced in play.forced if forced] == [end]
    assert play.state.tokens[1 + budget] == Token(end[0], forced=True)
    check_invariants(play)


def test_the_thinking_budget_holds_over_blocks_and_calls() -> None:
    play = Play("<think> ab </think> x <think> cdef <end>", thinking_budget=4)
    assert [part for part in play.parts if part[0] == "thinking"] == [("thinking", "ab"), ("thinking", "c")]
    play = Play("<think> <call> 1+1+1+1+1 <end>", thinking_budget=3)
    assert play.parts == [("tool_call", "1+"), ("text", "1+1+1+1")]
    check_invariants(play)


@pytest.mark.parametrize("special", SPECIAL_TOKENS)
def test_a_result_that_spells_a_tag_is_text(special: str) -> None:
    state = AnswerState(BYTES, SamplingOptions(seed=0), room=1000)
    state.begin([])
    call, close = ids_of("<call> </call>")
    steps = [state.push(Token(id)) for id in (call, *BYTES.encode(f"'{special}'"), close)]
    start, *result, end = steps[-1].forced
    assert [start, end] == ids_of("<result> </result>")
    assert not any(map(BYTES.is_special, result))
    assert BYTES.decode(result) == special
    assert state.completion.tool_results == [special]


def test_a_result_due_and_a_spent_budget_are_forced_together() -> None:
    play = Play("<think> <call> 1+1 </call>", thinking_budget=5)
    assert play.forced[-1] == ids_of("<result> 2 </result> </think>")


def test_tool_calls_are_limited_and_their_results_cut() -> None:
    play = Play(" ".join(["<call> 1+1 </call>"] * (MAX_TOOL_CALLS + 1)))
    results = play.state.completion.tool_results
    assert results[:-1] == ["2"] * MAX_TOOL_CALLS
    assert results[-1].startswith("error: no more than")
    play = Play(f"<call> '{'a' * 150}'+'{'b' * 150}' </call>", max_tokens=500)
    assert len(play.state.completion.tool_results[0]) <= MAX_RESULT_CHARS


def test_the_end_of_the_turn() -> None:
    for end in ("<end>", "<bos>"):
        play = Play(f"ab {end} cd")
        assert play.text() == "ab"
        assert play.state.finish_reason == "stop"
        assert play.state.num_sampled == 3
    play = Play("abcdef", max_tokens=4)
    assert (play.text(), play.state.finish_reason) == ("abcd", "length")
    play = Play("abcdef", room=3)
    assert (play.text(), play.state.finish_reason) == ("abc", "context")


def test_max_tokens_does_not_count_what_tools_write() -> None:
    play = Play("<call> 1+1 </call> abcdef", max_tokens=7)
    assert play.text() == "ab"
    assert len(play.state.tokens) == 7 + 3


def test_a_result_that_does_not_fit_ends_the_answer() -> None:
    assert Play("<call> 10+5 </call>", room=6 + 4).parts[-1] == ("tool_result", "15")
    play = Play("<call> 10+5 </call>", room=6 + 3)
    assert play.parts == [("tool_call", "10+5")]
    assert play.state.finish_reason == "context"
    assert play.forced[-1] == []
    check_invariants(play)


def test_cancel_keeps_what_there_is() -> None:
    play = Play("ab", stop=("bc",))
    assert play.text() == "a"
    play.events += play.state.cancel()
    assert play.text() == "ab"
    assert play.state.finish_reason == "cancelled"
    check_invariants(play)


def test_an_emoji_split_over_tokens_appears_once_and_whole() -> None:
    play = Play("a😀b <end>")
    deltas = [event.text for event in play.events if isinstance(event, TextDelta)]
    assert deltas == ["a", "😀", "b"]
    assert [len(event.tokens) for event in play.events[:3]] == [1, 4, 1]


def test_half_a_character_does_not_cross_a_tag() -> None:
    first, *_, last = BYTES.encode("😀")
    state = AnswerState(BYTES, SamplingOptions(seed=0), room=100)
    for id in [first, *ids_of("<think>"), last, *ids_of("</think> x <end>")]:
        state.push(Token(id))
    assert [part.text for part in state.completion.parts] == ["\ufffd", "\ufffd", "x"]


@pytest.mark.parametrize(
    ("text", "stops", "shown"),
    [
        ("one STOP two", ("STOP",), "one "),
        ("STSTOP", ("STOP",), "ST"),
        ("aab", ("ab",), "a"),
        ("one, two", ("xyz", ", "), "one"),
        ("xyabc", ("abc", "yab"), "x"),
        ("no stop here ST", ("STOP",), "no stop here ST"),
        ("😀stop😀", ("p😀",), "😀sto"),
    ],
)
def test_stop_strings_over_token_borders(text: str, stops: tuple[str, ...], shown: str) -> None:
    """Every token is one byte, so every stop string lies across borders."""
    play = Play(text.replace(" ", "_") + " <end>", stop=stops)
    assert play.text() == shown
    assert play.state.finish_reason == ("stop" if shown == text else "stop_string")
    check_invariants(play)


def test_nothing_behind_a_stop_string_is_shown() -> None:
    """A token that completes it may also hold the first byte of the next character."""
    tokenizer = Tokenizer.from_merges([(ord("p"), "😀".encode()[0])], 273)
    state = AnswerState(tokenizer, SamplingOptions(seed=0, stop=("stop",)), room=100)
    for id in [*tokenizer.encode("sto"), 256]:
        state.push(Token(id))
    assert state.finish_reason == "stop_string"
    assert state.completion.text == ""


def test_stop_strings_look_at_visible_text_only() -> None:
    play = Play("<think> STOP </think> <call> 'STOP' </call> ST <call> 1 </call> OP <end>", stop=("STOP",))
    assert play.state.finish_reason == "stop"
    assert play.text() == "STOP"


@given(
    pieces=st.lists(st.text("abc", min_size=1, max_size=4), max_size=12),
    stops=st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_stop_matcher_equals_search_in_the_whole(pieces: list[str], stops: list[str]) -> None:
    matcher = StopMatcher(stops)
    shown, is_stop = "", False
    for piece in pieces:
        released, is_stop = matcher.push(piece, ())
        shown += "".join(text for text, _ in released)
        # Nothing that may still be cut is shown already.
        if is_stop:
            break
    # The stream ends at the first token that completes a stop string, wherever a longer one begins.
    whole = ""
    for piece in pieces:
        whole += piece
        found = [at for stop in stops if (at := whole.find(stop)) >= 0]
        if found:
            assert is_stop
            assert shown == whole[: min(found)]
            return
    assert not is_stop
    assert shown + "".join(text for text, _ in matcher.flush()) == whole


@pytest.mark.parametrize(
    ("prompt", "script", "parts"),
    [
        ("<bos> hi <answer> <think> so", "ab </think> c <end>", [("thinking", "ab"), ("text", "c")]),
        ("<bos> hi <answer> x <call> 1+", "1 </call> <end>", [("tool_call", "1+1"), ("tool_result", "2")]),
        ("<bos> hi <answer> <call> 2*4 </call>", "a <end>", [("tool_result", "8"), ("text", "a")]),
        ("<bos> hi <answer> <call> 1 </call> <result> 1 </result> b", "a <end>", [("text", "a")]),
        ("<bos> hi <answer> <think> old <end> <answer>", "a <end>", [("text", "a")]),
        ("<bos> hi <answer> <think> old <end>", "a <end>", [("text", "a")]),
        ("<bos> plain <think>", "a <end>", [("text", "a")]),
    ],
)
def test_an_answer_that_the_prompt_begins_is_taken_up(prompt, script, parts) -> None:
    play = Play(script, prompt=prompt)
    assert play.parts == parts


@settings(max_examples=300)
@given(
    ids=st.lists(st.one_of(st.integers(0, 255), st.integers(256, 271)), max_size=80),
    max_tokens=st.integers(1, 60),
    room=st.integers(1, 90),
    budget=st.one_of(st.none(), st.integers(0, 10)),
    stop=st.lists(st.text(min_size=1, max_size=3), max_size=2),
    prompt=st.lists(st.integers(0, 271), max_size=20),
)
def test_no_stream_of_ids_breaks_it(ids, max_tokens, room, budget, stop, prompt) -> None:
    """Any ids at all, forbidden ones included."""
    options = SamplingOptions(seed=0, max_tokens=max_tokens, thinking_budget=budget, stop=tuple(stop))
    play = Play(room=room)
    play.state = state = AnswerState(BYTES, options, room=room)
    first = state.begin(prompt)
    play.events, play.forced = list(first.events), [first.forced]
    call_end = BYTES.special["<|tool_call_end|>"]
    for id in ids:
        if state.finish_reason:
            break
        step = state.push(Token(id))
        play.events += step.events
        play.forced.append(step.forced)
        calls = any(isinstance(event, ToolCall) for event in step.events)
        is_result = bool(step.forced) and step.forced[0] == BYTES.special["<|tool_result_start|>"]
        # A result is forced exactly after a call was closed, unless there is no room for it.
        assert is_result == any(isinstance(event, ToolResult) for event in step.events)
        assert id == call_end or not calls
        assert is_result == calls or state.finish_reason == "context"
    if not state.finish_reason:
        play.events += state.cancel()
    assert len(state.tokens) <= room
    assert state.num_sampled <= max_tokens
    if not any(id >= 256 for id in prompt):
        check_invariants(play)


def test_forbidden_are_other_roles_padding_and_unused_ids() -> None:
    tokenizer = Tokenizer.from_merges([(97, 98)], 280)  # ids 257 to 263 stand for nothing
    names = {name for name, id in tokenizer.special.items() if id not in forbidden_ids(tokenizer)}
    assert names == {
        "<|bos|>",
        "<|assistant_end|>",
        "<|think_start|>",
        "<|think_end|>",
        "<|tool_call_start|>",
        "<|tool_call_end|>",
    }
    ordinary = [id for id in forbidden_ids(tokenizer) if id < 264]
    assert ordinary == list(range(257, 264))
