"""The reasoning state machine: what each sampled token means, and which tokens must follow it.

One machine per answer, the same for a single stream, a batch of rollouts and a server. It knows no tensors:
it is fed one sampled token at a time and returns the events to show and the ids that are forced into the
context.

    text      --<|think_start|>-->      thinking   --<|think_end|>, or the budget is spent-->    text
    text or thinking  --<|tool_call_start|>-->  tool call  --<|tool_call_end|>-->  tool result  -->  back

Whatever a model in trouble emits has a meaning: a closing tag without an open block does nothing; a second
`<|tool_call_start|>` abandons the open call and begins another; `<|think_end|>` within a call abandons the
call and ends the thinking; `<|think_start|>` within a block does nothing. An abandoned call stays as text,
unevaluated.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from picochat.engine.events import (
    Completion,
    Done,
    Event,
    TextDelta,
    ThinkingDelta,
    Token,
    ToolCall,
    ToolResult,
)
from picochat.engine.options import SamplingOptions
from picochat.engine.stop_strings import StopMatcher
from picochat.tokenizer.messages import Part, PartType
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.tools.expression import calculate

MAX_TOOL_CALLS = 16
"""Calls per answer that are evaluated; a further one is answered with an error."""
MAX_RESULT_CHARS = 200
"""A longer tool result is cut."""
TOO_MANY_CALLS = f"error: no more than {MAX_TOOL_CALLS} tool calls in one answer"
SAMPLED_SPECIALS = frozenset(
    {
        "<|bos|>",
        "<|assistant_end|>",
        "<|think_start|>",
        "<|think_end|>",
        "<|tool_call_start|>",
        "<|tool_call_end|>",
    }
)
"""Control tokens a model may emit: the tags of its own blocks, and the two that end its turn (a base model
says by <|bos|> that its document is over)."""


def forbidden_ids(tokenizer: Tokenizer) -> list[int]:
    """Return the ids no answer may hold by the model's choice.

    These are the tags of other roles and of tool results, padding, and ids that stand for no bytes at all.
    """
    allowed = {tokenizer.special[name] for name in SAMPLED_SPECIALS}
    return [id for id, size in enumerate(tokenizer.num_bytes) if size == 0 and id not in allowed]


@dataclass(frozen=True, slots=True)
class Step:
    """What follows from one sampled token."""

    events: list[Event]
    forced: list[int]
    """Ids that stand next in the context; the model must read them before it is asked again."""


class AnswerState:
    """Follows one answer from its first token to its `finish_reason`."""

    def __init__(self, tokenizer: Tokenizer, options: SamplingOptions, *, room: int) -> None:
        """`room` is how many ids the answer may hold, forced ones included, before the context is full."""
        assert room >= 1
        assert options.seed is not None
        self.tokens: list[Token] = []
        self.num_sampled = 0
        self.finish_reason = ""
        self.seed = options.seed
        self._tokenizer = tokenizer
        self._options = options
        self._room = room
        special = tokenizer.special
        self._ends = (special["<|assistant_end|>"], special["<|bos|>"])
        self._tags = {
            special["<|think_start|>"]: self._open_thinking,
            special["<|think_end|>"]: self._close_thinking,
            special["<|tool_call_start|>"]: self._open_call,
            special["<|tool_call_end|>"]: self._close_call,
        }
        self._parts: list[Part] = []
        # The open part: its kind, its text so far, and the bytes of a character that is not complete.
        self._kind: PartType = "text"
        self._text: list[str] = []
        self._decoder = tokenizer.stream()
        self._stops = StopMatcher(options.stop)
        self._is_thinking = False
        self._num_thought = 0
        self._num_calls = 0
        self._unanswered: str | None = None
        self._carried: list[Token] = []
        self._events: list[Event] = []

    def begin(self, prompt_ids: Sequence[int]) -> Step:
        """Take up the answer the prompt may already hold the beginning of; to be called once, first of all.

        What stands behind the last `<|assistant_start|>` decides whether thinking or a call is open.
        """
        special = self._tokenizer.special
        result_start, result_end = special["<|tool_result_start|>"], special["<|tool_result_end|>"]
        in_result = False
        for id in _open_answer(self._tokenizer, prompt_ids):
            self._unanswered = None
            if id in (result_start, result_end):
                in_result = id == result_start
            elif not in_result:
                self._read(Token(id))
        # All this was told before; what counts from here on is only what is open.
        self._stops.flush()
        self._parts, self._carried, self._events, self.finish_reason = [], [], [], ""
        if self._kind != "tool_call":
            self._text = []
        return self._follow()

    def push(self, token: Token) -> Step:
        """Take the next sampled token."""
        assert not self.finish_reason
        self.tokens.append(token)
        self.num_sampled += 1
        if token.id in self._ends:
            self._end_part()
            self._kind = "text"
            self._carried.append(token)
            self.finish_reason = self.finish_reason or "stop"
        else:
            self._read(token)
        return self._follow()

    def cancel(self) -> list[Event]:
        """End the answer here."""
        assert not self.finish_reason
        self.finish_reason = "cancelled"
        self._conclude()
        return self._take_events()

    @property
    def completion(self) -> Completion:
        """The answer so far."""
        parts = list(self._parts)
        if self._text:
            parts.append(Part(type=self._kind, text="".join(self._text)))
        return Completion(
            tokens=tuple(self.tokens),
            parts=tuple(parts),
            finish_reason=self.finish_reason,
            num_tokens=self.num_sampled,
            seed=self.seed,
        )

    # What a token means. A token is carried until an event takes it; a tag belongs to the event after the end
    # of the part before it.

    def _read(self, token: Token) -> None:
        if self._is_thinking:
            self._num_thought += 1
        tag = self._tags.get(token.id)
        if tag is not None:
            tag(token)
        else:
            self._carried.append(token)
            # Other control tokens are never sampled, but a prompt may hold them; they say nothing.
            if not self._tokenizer.is_special(token.id):
                self._add(self._decoder.push(token.id))

    def _open_thinking(self, token: Token) -> None:
        if self._kind == "text":
            self._end_part()
            self._is_thinking = True
            self._kind = "thinking"
        self._carried.append(token)

    def _close_thinking(self, token: Token) -> None:
        if not self._is_thinking:
            self._carried.append(token)
            return
        self._end_part()
        self._is_thinking = False
        self._kind = "text"
        self._carried.append(token)
        self._events.append(ThinkingDelta("", self._take_carried()))

    def _open_call(self, token: Token) -> None:
        self._end_part()
        self._kind = "tool_call"
        self._carried.append(token)

    def _close_call(self, token: Token) -> None:
        if self._kind != "tool_call":
            self._carried.append(token)
            return
        self._end_part()
        self._kind = "thinking" if self._is_thinking else "text"
        self._unanswered = self._parts[-1].text
        self._carried.append(token)
        self._events.append(ToolCall(self._unanswered, self._take_carried()))

    # The open part

    def _add(self, text: str) -> None:
        """Append decoded text to the open part and show it; a call is shown when it is complete."""
        if not text:
            return
        if self._kind == "tool_call":
            self._text.append(text)
        elif self._kind == "thinking":
            self._text.append(text)
            self._events.append(ThinkingDelta(text, self._take_carried()))
        else:
            pieces, is_stop = self._stops.push(text, self._take_carried())
            self._show(pieces)
            if is_stop:
                # Nothing behind it is shown: neither held text nor the first bytes of a character.
                self._carried = [token for _, tokens in self._stops.flush() for token in tokens]
                self._decoder = self._tokenizer.stream()
                self.finish_reason = "stop_string"

    def _show(self, pieces: Sequence[tuple[str, tuple[Token, ...]]]) -> None:
        for text, tokens in pieces:
            self._text.append(text)
            self._events.append(TextDelta(text, tokens))

    def _end_part(self) -> None:
        """Close the open part. The next begins with a fresh decoder: no character crosses a tag."""
        self._add(self._decoder.flush())
        self._decoder = self._tokenizer.stream()
        self._show(self._stops.flush())
        if self._text or self._kind == "tool_call":
            self._parts.append(Part(type=self._kind, text="".join(self._text)))
        self._text = []

    # What follows

    def _follow(self) -> Step:
        """Return the events so far, what must follow, and whether the answer ends here."""
        forced: list[int] = []
        if not self.finish_reason and self._unanswered is not None:
            forced += self._answer_call(self._unanswered)
        budget = self._options.thinking_budget
        if (
            not self.finish_reason
            and self._is_thinking
            and budget is not None
            and self._num_thought >= budget
        ):
            forced += self._stop_thinking()
        if not self.finish_reason:
            if self.num_sampled >= self._options.max_tokens:
                self.finish_reason = "length"
            elif len(self.tokens) >= self._room:
                self.finish_reason = "context"
        if self.finish_reason:
            self._conclude()
        return Step(self._take_events(), forced)

    def _answer_call(self, expression: str) -> list[int]:
        """Work out a call; its result is the next thing the model reads."""
        self._unanswered = None
        self._num_calls += 1
        value = calculate(expression) if self._num_calls <= MAX_TOOL_CALLS else TOO_MANY_CALLS
        if len(value) > MAX_RESULT_CHARS:
            value = value[: MAX_RESULT_CHARS - 1] + "…"
        special = self._tokenizer.special
        ids = [
            special["<|tool_result_start|>"],
            *self._tokenizer.encode(value),
            special["<|tool_result_end|>"],
        ]
        if len(self.tokens) + len(ids) > self._room:
            self.finish_reason = "context"
            return []
        tokens = tuple(Token(id, forced=True) for id in ids)
        self.tokens += tokens
        self._parts.append(Part(type="tool_result", text=value))
        self._events.append(ToolResult(value, tokens))
        return ids

    def _stop_thinking(self) -> list[int]:
        """The thinking budget is spent: close the block, and with it a call that is open in it."""
        if len(self.tokens) >= self._room:
            self.finish_reason = "context"
            return []
        token = Token(self._tokenizer.special["<|think_end|>"], forced=True)
        self.tokens.append(token)
        self._close_thinking(token)
        return [token.id]

    def _conclude(self) -> None:
        self._end_part()
        self._kind = "text"
        completion = self.completion
        self._events.append(Done(self.finish_reason, self.num_sampled, completion, self._take_carried()))

    def _take_carried(self) -> tuple[Token, ...]:
        carried, self._carried = tuple(self._carried), []
        return carried

    def _take_events(self) -> list[Event]:
        events, self._events = self._events, []
        return events


def _open_answer(tokenizer: Tokenizer, prompt_ids: Sequence[int]) -> Sequence[int]:
    """Return what stands behind the last `<|assistant_start|>`, nothing if that turn is over."""
    special = tokenizer.special
    opening = special["<|assistant_start|>"]
    if opening not in prompt_ids:
        return ()
    last = len(prompt_ids) - 1 - list(reversed(prompt_ids)).index(opening)
    answer = prompt_ids[last + 1 :]
    is_over = special["<|assistant_end|>"] in answer or special["<|bos|>"] in answer
    return () if is_over else answer
