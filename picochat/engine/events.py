"""What a generation tells whoever watches it. No torch here: the workbench receives these from another
process."""

from dataclasses import dataclass

from picochat.tokenizer.messages import Part


@dataclass(frozen=True, slots=True)
class Token:
    """One token of an answer."""

    id: int
    forced: bool = False
    """Put there by the engine (a tool result, the end of thinking that was due), not chosen by the model."""
    logprob: float = 0.0
    """The model's log-probability of this token, in nats: log-softmax of its logits at temperature 1,
    before any option; 0 if forced."""
    sampling_logprob: float = 0.0
    """The same with the logits divided by the temperature, still before penalty, top-k, top-p and min-p;
    equal to `logprob` where the temperature is 0 or 1; 0 if forced. A policy gradient at that temperature
    can compute it again from one forward pass, which no cut-off allows."""
    alternatives: tuple[tuple[int, float], ...] = ()
    """The likeliest tokens at this place and their `logprob`, best first, if they were asked for."""
    entropy: float | None = None
    """Of the model's distribution at this place (temperature 1), in nats; known where alternatives are."""


@dataclass(frozen=True, kw_only=True)
class Completion:
    """An answer, or as much of it as there is."""

    tokens: tuple[Token, ...]
    """Everything that follows the prompt, control tokens included."""
    parts: tuple[Part, ...]
    """The same as text: visible text, thinking, tool calls (the last may be unclosed) and tool results."""
    finish_reason: str
    """See `Done.reason`; empty while the answer is being written."""
    num_tokens: int
    """Tokens sampled by the model."""
    seed: int
    """The seed that reproduces it: generate the same prompt with it, alone or in a batch."""

    def _joined(self, kind: str) -> str:
        return "".join(part.text for part in self.parts if part.type == kind)

    @property
    def ids(self) -> list[int]:
        """All token ids after the prompt."""
        return [token.id for token in self.tokens]

    @property
    def forced(self) -> list[bool]:
        """For each id, whether the engine put it there: nothing to learn from."""
        return [token.forced for token in self.tokens]

    @property
    def logprobs(self) -> list[float]:
        """For each id its `Token.logprob`."""
        return [token.logprob for token in self.tokens]

    @property
    def sampling_logprobs(self) -> list[float]:
        """For each id its `Token.sampling_logprob`."""
        return [token.sampling_logprob for token in self.tokens]

    @property
    def text(self) -> str:
        """What the user sees."""
        return self._joined("text")

    @property
    def thinking(self) -> str:
        """What stands in thinking blocks."""
        return self._joined("thinking")

    @property
    def tool_calls(self) -> list[str]:
        """The expressions of the tool calls, an unclosed last one included."""
        return [part.text for part in self.parts if part.type == "tool_call"]

    @property
    def tool_results(self) -> list[str]:
        """What the tool answered."""
        return [part.text for part in self.parts if part.type == "tool_result"]


# Every token of an answer, control tokens included, is carried by exactly one event, in order: `tokens` are
# those that came since the event before.


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More visible text. It may be empty where a control token ends a stretch of text."""

    text: str
    tokens: tuple[Token, ...] = ()


@dataclass(frozen=True, slots=True)
class ThinkingDelta:
    """More of a thinking block."""

    text: str
    tokens: tuple[Token, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A complete call of the calculator."""

    expression: str
    tokens: tuple[Token, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What the calculator answered; the model reads it next."""

    text: str
    tokens: tuple[Token, ...] = ()


@dataclass(frozen=True, slots=True)
class Done:
    """The last event of every generation."""

    reason: str
    """"stop" (the model ended its turn), "stop_string", "length" (max_tokens written), "context" (the model's
    context is full) or "cancelled"."""
    num_tokens: int
    """Tokens sampled by the model."""
    completion: Completion
    tokens: tuple[Token, ...] = ()


Event = TextDelta | ThinkingDelta | ToolCall | ToolResult | Done
