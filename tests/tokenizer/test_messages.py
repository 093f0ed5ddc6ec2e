"""Reading conversations: every accepted form gives the same messages, everything else one clear line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picochat.errors import UserError
from picochat.tokenizer.conversation import Message, Part, messages_to_json, parse_messages


def text(text: str) -> Part:
    return Part(type="text", text=text)


def call(text: str) -> Part:
    return Part(type="tool_call", text=text)


def result(text: str) -> Part:
    return Part(type="tool_result", text=text)


def openai_call(expression: str, id: str | None = None) -> dict:
    function = {"name": "calculator", "arguments": f'{{"expression": "{expression}"}}'}
    return {"id": id, "type": "function", "function": function}


def parts_of_last(rows: list) -> tuple[Part, ...]:
    return parse_messages(rows, where="x")[-1].parts


def test_strings_and_parts():
    rows = [
        {"role": "system", "content": "Be brief.", "extra": 1},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": ""},
    ]
    messages = parse_messages(rows, where="x")
    assert [message.role for message in messages] == ["system", "user", "assistant"]
    assert [message.text for message in messages] == ["Be brief.", "ab", ""]
    assert messages[2].parts == ()


def test_text_is_what_a_reader_sees():
    parts = (Part(type="thinking", text="hm"), text("a"), call("1"), result("1"), text("b"))
    assert Message(role="assistant", parts=parts).text == "ab"


@pytest.mark.parametrize("key", ["reasoning_content", "thinking"])
def test_thinking_comes_first(key):
    assert parts_of_last([{"role": "assistant", "content": "a", key: "hm"}]) == (
        Part(type="thinking", text="hm"),
        text("a"),
    )
    assert parts_of_last([{"role": "assistant", "content": "a", key: None}]) == (text("a"),)


def test_openai_tool_rows_become_one_turn():
    rows = [
        {"role": "user", "content": "2+3, then times 4?"},
        {"role": "assistant", "content": None, "tool_calls": [openai_call("2+3", "c1")]},
        {"role": "tool", "tool_call_id": "c1", "content": "5"},
        {"role": "assistant", "content": "Then", "tool_calls": [openai_call("5*4", "c2")]},
        {"role": "tool", "tool_call_id": "c2", "content": "20"},
        {"role": "assistant", "content": "It is 20."},
        {"role": "assistant", "content": "Another turn."},
    ]
    messages = parse_messages(rows, where="x")
    assert [message.role for message in messages] == ["user", "assistant", "assistant"]
    assert messages[1].parts == (
        call("2+3"),
        result("5"),
        text("Then"),
        call("5*4"),
        result("20"),
        text("It is 20."),
    )


def test_each_result_follows_its_call():
    calls = [openai_call("1+1", "a"), openai_call("1+1", "b"), openai_call("3+3", "c")]
    first = {"role": "assistant", "content": "", "tool_calls": calls}
    by_id = [
        {"role": "tool", "content": value, "tool_call_id": id} for id, value in (("c", "6"), ("b", "2b"))
    ]
    by_order = {"role": "tool", "content": "2a"}
    assert parts_of_last([first, *by_id, by_order]) == (
        call("1+1"),
        result("2a"),
        call("1+1"),
        result("2b"),
        call("3+3"),
        result("6"),
    )


def test_arguments_may_be_an_object():
    row = {"role": "assistant", "tool_calls": [{"function": {"arguments": {"expression": "7-2"}}}]}
    assert parts_of_last([row]) == (call("7-2"),)


U = {"role": "user", "content": "u"}
C = {"role": "assistant", "content": "", "tool_calls": [openai_call("1", "a")]}


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (None, "not a list"),
        ({"role": "user"}, "not a list"),
        ([], "at least one"),
        (["hi"], "message 1 is not an object"),
        ([U, {"content": "a"}], "message 2 has the unknown role None"),
        ([{"role": "robot", "content": "a"}], "unknown role 'robot'"),
        ([{"role": ["user"], "content": "a"}], "unknown role"),
        ([{"role": "user"}], "message 1 has no content"),
        ([{"role": "user", "content": None}], "has no content"),
        ([{"role": "assistant", "content": 5}], "has no content"),
        ([{"role": "user", "content": ["a"]}], "message 1: part 1 is not an object"),
        ([{"role": "user", "content": [{"type": "image", "text": "a"}]}], "unknown type 'image'"),
        ([{"role": "user", "content": [{"type": "text"}]}], "part 1: text is not a string"),
        ([{"role": "user", "content": [{"type": "tool_call", "text": "1"}]}], "only an assistant"),
        ([{"role": "system", "content": [{"type": "thinking", "text": "1"}]}], "only an assistant"),
        ([{"role": "assistant", "content": [{"type": "tool_result", "text": "1"}]}], "does not follow"),
        ([{"role": "assistant", "content": "a", "thinking": 1}], "thinking is not a string"),
        ([{"role": "assistant", "content": "a", "tool_calls": {}}], "tool_calls is not a list"),
        ([{"role": "assistant", "content": "a", "tool_calls": [1]}], "tool call 1 has no function"),
        ([{"role": "assistant", "tool_calls": [{"function": {"arguments": "{"}}]}], "arguments is not JSON"),
        ([{"role": "assistant", "tool_calls": [{"function": {"arguments": {"q": "1"}}}]}], "expression"),
        ([{"role": "assistant", "content": None, "tool_calls": []}], "has no content"),
        ([{"role": "tool", "content": "5"}], "answers no tool call"),
        ([C, U, {"role": "tool", "content": "5"}], "message 3 has role tool, but answers no"),
        ([C, {"role": "tool", "content": "5", "tool_call_id": "b"}], "answers no tool call"),
        ([C, {"role": "tool", "content": "5"}, {"role": "tool", "content": "5"}], "answers no tool call"),
        ([C, {"role": "tool", "content": None}], "content is not a string"),
    ],
)
def test_what_is_refused(rows, reason):
    with pytest.raises(UserError, match=reason) as caught:
        parse_messages(rows, where="chat.jsonl:7")
    assert str(caught.value).startswith("chat.jsonl:7: ")


PLAIN = st.builds(Part, type=st.sampled_from(["text", "thinking", "tool_call"]), text=st.text(max_size=3))
WITH_RESULT = st.text(max_size=3).map(lambda value: (call("1"), result(value)))
PARTS = st.lists(st.one_of(PLAIN.map(lambda part: (part,)), WITH_RESULT), max_size=4).map(
    lambda groups: tuple(part for group in groups for part in group)
)
MESSAGES = st.lists(
    st.one_of(
        st.builds(Message, role=st.just("assistant"), parts=PARTS),
        st.builds(
            Message,
            role=st.sampled_from(["user", "system"]),
            parts=st.text(max_size=3).map(lambda t: (text(t),)),
        ),
    ),
    min_size=1,
    max_size=4,
)


@given(MESSAGES)
def test_messages_survive_json(messages):
    assert parse_messages(messages_to_json(messages), where="x") == messages
