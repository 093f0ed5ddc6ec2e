"""Events of the decoder as OpenAI's objects: whole answers, and the chunks of a stream."""

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

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
from picochat.serve.schema import Ask
from picochat.tokenizer.messages import Part

FINISH = {"stop": "stop", "stop_string": "stop", "length": "length", "context": "length"}
"""The engine's reasons as OpenAI's."""


@dataclass(kw_only=True)
class Choice:
    """One answer as it comes."""

    num_prompt: int
    content_tokens: list[Token] = field(default_factory=list)
    thinking_tokens: list[Token] = field(default_factory=list)
    num_thinking: int = 0
    """Tokens the model wrote in thinking blocks, tags included."""
    done: Done | None = None
    open_call: str | None = None
    """A call whose result has not come yet."""

    def read(self, event: Event) -> None:
        """Take an event."""
        match event:
            case TextDelta():
                self.content_tokens += event.tokens
            case ThinkingDelta():
                self.thinking_tokens += event.tokens
                self.num_thinking += sum(not token.forced for token in event.tokens)
            case ToolCall():
                self.open_call = event.expression
            case ToolResult():
                self.open_call = None
            case Done():
                self.done = event

    @property
    def completion(self) -> Completion:
        """The whole answer, when it is done."""
        assert self.done is not None
        return self.done.completion

    @property
    def ending(self) -> dict[str, Any]:
        """What is told of the end: OpenAI's reason, and our extra."""
        assert self.done is not None
        num_context = self.num_prompt + len(self.completion.tokens)
        extra = {"seed": self.completion.seed, "reason": self.done.reason, "num_context": num_context}
        return {"finish_reason": FINISH[self.done.reason], "picochat": extra}


class Writer:
    """Writes the answers to one request. Subclasses know the shape of a route."""

    kind: str
    chunk_kind: str
    prefix: str

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.choices = [Choice(num_prompt=len(row.prompt_ids)) for row in ask.rows]
        self._tokenizer = ask.model.engine.tokenizer
        self._head = {
            "id": f"{self.prefix}-{secrets.token_hex(12)}",
            "object": self.chunk_kind if ask.stream else self.kind,
            "created": int(time.time()),
            "model": ask.model.name,
            "system_fingerprint": f"picochat-{version('picochat')}",
        }

    def read(self, index: int, event: Event) -> None:
        """Take an event of choice `index`, for `answer`."""
        self.choices[index].read(event)

    def opening(self) -> list[dict[str, Any]]:
        """Return the chunks that come before the first event."""
        return []

    def chunks(self, index: int, event: Event) -> list[dict[str, Any]]:
        """Take an event of choice `index`, and return the chunks that tell of it."""
        raise NotImplementedError

    def closing(self) -> list[dict[str, Any]]:
        """Return the chunks that come after the last event."""
        return [{**self._head, "choices": [], "usage": self.usage}] if self.ask.include_usage else []

    @property
    def answer(self) -> dict[str, Any]:
        """The answer to a request without `stream`."""
        choices = [self._whole(index) for index in range(len(self.choices))]
        return {**self._head, "choices": choices, "usage": self.usage}

    @property
    def usage(self) -> dict[str, Any]:
        """How many tokens it took."""
        num_written = sum(choice.completion.num_tokens for choice in self.choices)
        written = 0 if self.ask.hides_answer else num_written
        num_thinking = sum(choice.num_thinking for choice in self.choices)
        return {
            "prompt_tokens": self.ask.num_prompt_tokens,
            "completion_tokens": written,
            "total_tokens": self.ask.num_prompt_tokens + written,
            "completion_tokens_details": {"reasoning_tokens": num_thinking},
        }

    def _whole(self, index: int) -> dict[str, Any]:
        raise NotImplementedError

    def _chunk(self, index: int, **fields: Any) -> dict[str, Any]:
        usage = {"usage": None} if self.ask.include_usage else {}
        return {**self._head, "choices": [{"index": index, "finish_reason": None, **fields}], **usage}


class ChatWriter(Writer):
    """`chat.completion` and its chunks."""

    kind, chunk_kind, prefix = "chat.completion", "chat.completion.chunk", "chatcmpl"

    def opening(self) -> list[dict[str, Any]]:
        """Return the chunk that names the role, for each choice."""
        delta = {"role": "assistant", "content": ""}
        return [self._chunk(index, delta=delta, logprobs=None) for index in range(len(self.choices))]

    def chunks(self, index: int, event: Event) -> list[dict[str, Any]]:
        """Return the deltas of an event."""
        choice = self.choices[index]
        call = choice.open_call
        choice.read(event)
        match event:
            case TextDelta():
                return self._text(index, "content", event)
            case ThinkingDelta():
                return self._text(index, "reasoning_content", event)
            case ToolResult():
                return [self._call(index, call, event.text)]
            case Done():
                unanswered = [] if call is None else [self._call(index, call, None)]
                return [*unanswered, self._chunk(index, delta={}, logprobs=None, **choice.ending)]
            case _:
                return []

    def _text(self, index: int, name: str, event: TextDelta | ThinkingDelta) -> list[dict[str, Any]]:
        told = self._logprobs({name: event.tokens}) if self.ask.wants_logprobs else None
        if not event.text and not (told and told[name]):
            return []
        return [self._chunk(index, delta={name: event.text}, logprobs=told)]

    def _call(self, index: int, expression: str | None, result: str | None) -> dict[str, Any]:
        call = {"tool_call": {"expression": expression, "result": result}}
        return self._chunk(index, delta={"picochat": call}, logprobs=None)

    def _whole(self, index: int) -> dict[str, Any]:
        choice = self.choices[index]
        completion = choice.completion
        message: dict[str, Any] = {"role": "assistant", "content": completion.text, "refusal": None}
        if completion.thinking:
            message["reasoning_content"] = completion.thinking
        message["picochat"] = {
            "parts": [{"type": part.type, "text": part.text} for part in completion.parts],
            "tool_calls": _calls(completion.parts),
        }
        tokens = {"content": choice.content_tokens}
        if completion.thinking:
            tokens["reasoning_content"] = choice.thinking_tokens
        logprobs = self._logprobs(tokens) if self.ask.wants_logprobs else None
        return {"index": index, "message": message, "logprobs": logprobs, **choice.ending}

    def _logprobs(self, tokens: Mapping[str, Sequence[Token]]) -> dict[str, Any]:
        told = {
            name: [
                {
                    **self._token(token.id, token.logprob),
                    "top_logprobs": [self._token(id, logprob) for id, logprob in token.alternatives],
                }
                for token in some
                if not token.forced and not self._tokenizer.is_special(token.id)
            ]
            for name, some in tokens.items()
        }
        return {"content": [], **told, "refusal": None}

    def _token(self, id: int, logprob: float) -> dict[str, Any]:
        content = self._tokenizer.token_bytes(id)
        return {
            "token": content.decode(errors="replace"),
            "logprob": round(logprob, 6),
            "bytes": list(content),
        }


def _calls(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Return the calls among the parts of an answer, each with its result."""
    calls: list[dict[str, Any]] = []
    for part in parts:
        if part.type == "tool_call":
            calls.append({"expression": part.text, "result": None})
        elif part.type == "tool_result" and calls:
            calls[-1]["result"] = part.text
    return calls
