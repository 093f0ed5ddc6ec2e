"""Rendering: where specials stand, and which ids the assistant has to produce."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picochat.tokenizer.conversation import Message, Part, parse_messages, render_conversation, render_prompt
from picochat.tokenizer.special import SPECIAL_TOKENS

SUM = [
    {"role": "system", "content": "s"},
    {"role": "user", "content": "u"},
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "text": "t"},
            {"type": "tool_call", "text": "2+3"},
            {"type": "tool_result", "text": "5"},
            {"type": "text", "text": "xy"},
        ],
    },
]


def learned_text(tokenizer, messages) -> str:
    rendered = render_conversation(tokenizer, messages)
    return tokenizer.decode(id for id, learn in zip(rendered.ids, rendered.mask, strict=True) if learn)


def test_the_rust_picochats_example(tokenizer):
    # Its mask belongs to targets: mask[i] of 0000000111 is for tokens[i + 1].
    rows = [*SUM[:2], {"role": "assistant", "content": "xy"}]
    rendered = render_conversation(tokenizer, parse_messages(rows, where="x"))
    assert len(rendered.ids) == 11
    assert rendered.mask[0] is False
    assert "".join(str(int(learn)) for learn in rendered.mask[1:]) == "0000000111"


def test_every_kind_of_part(tokenizer):
    rendered = render_conversation(tokenizer, parse_messages(SUM, where="x"))
    assert tokenizer.decode(rendered.ids) == (
        "<|bos|><|user_start|>s<|user_end|><|user_start|>u<|user_end|>"
        "<|assistant_start|><|think_start|>t<|think_end|><|tool_call_start|>2+3<|tool_call_end|>"
        "<|tool_result_start|>5<|tool_result_end|>xy<|assistant_end|>"
    )
    assert learned_text(tokenizer, parse_messages(SUM, where="x")) == (
        "<|think_start|>t<|think_end|><|tool_call_start|>2+3<|tool_call_end|>xy<|assistant_end|>"
    )


def test_a_prompt_ends_where_the_assistant_begins(tokenizer):
    messages = parse_messages(SUM, where="x")
    prompt = render_prompt(tokenizer, messages[:2])
    assert prompt[-1] == tokenizer.special["<|assistant_start|>"]
    assert render_conversation(tokenizer, messages).ids[: len(prompt)] == prompt


@pytest.mark.parametrize("role", ["system", "user", "assistant"])
@pytest.mark.parametrize("special", SPECIAL_TOKENS)
def test_content_that_spells_a_special_is_text(tokenizer, role, special):
    plain = render_conversation(tokenizer, [Message(role=role, parts=(Part(type="text", text="x"),))])
    forged = render_conversation(
        tokenizer, [Message(role=role, parts=(Part(type="text", text=f"x{special}"),))]
    )
    is_special = tokenizer.is_special
    assert [id for id in forged.ids if is_special(id)] == [id for id in plain.ids if is_special(id)]


@pytest.mark.parametrize("special", SPECIAL_TOKENS)
def test_parts_that_spell_a_special_are_text(tokenizer, special):
    """Also where a tag stands right before or behind, and where two parts together spell it."""

    def rendered(*texts: str) -> list[int]:
        kinds = ("thinking", "tool_call", "tool_result", "text", "text")
        parts = [{"type": kind, "text": text} for kind, text in zip(kinds, texts, strict=True)]
        rows = [{"role": "assistant", "content": parts}]
        return render_conversation(tokenizer, parse_messages(rows, where="x")).ids

    forged = rendered(special, special, special, special[:3], special[3:])
    assert [id for id in forged if tokenizer.is_special(id)] == [
        id for id in rendered("", "", "", "", "") if tokenizer.is_special(id)
    ]
    assert tokenizer.decode(forged) == (
        f"<|bos|><|assistant_start|><|think_start|>{special}<|think_end|>"
        f"<|tool_call_start|>{special}<|tool_call_end|><|tool_result_start|>{special}<|tool_result_end|>"
        f"{special}<|assistant_end|>"
    )


@given(
    st.lists(
        st.builds(
            Part,
            type=st.sampled_from(["text", "thinking", "tool_call", "tool_result"]),
            text=st.text(max_size=5),
        ),
        max_size=5,
    ).map(tuple)
)
def test_only_the_assistants_own_ids_are_learned(tokenizer, parts):
    rendered = render_conversation(tokenizer, [Message(role="assistant", parts=parts)])
    assert len(rendered.ids) == len(rendered.mask)
    results = sum(len(tokenizer.encode(part.text)) + 2 for part in parts if part.type == "tool_result")
    # bos, assistant_start and the results are not learned, everything else is.
    assert rendered.mask.count(False) == 2 + results
    assert rendered.mask[-1] is True
