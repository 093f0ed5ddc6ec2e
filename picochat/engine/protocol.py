"""What the workbench and the process that holds the model say to each other. No torch here.

One JSON object a line, UTF-8. `type` names a class below in lower case, the rest are its fields. Every
request has an `id` of the sender's choice; the replies to it carry the same one.

    Load       -> Loaded
    Generate   -> Tokens, many times, then Finished
    Cancel     -> (the generation it names ends with Finished("cancelled"))
    Predict    -> Predicted
    Score      -> Scored
    Shutdown   -> (the process ends)

Any of them may be answered by one `Failed` instead: a mistake in one line, after which the process goes on.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, TypeVar

from picochat.errors import UserError


class Alternative(NamedTuple):
    """A token that could have stood at a place."""

    id: int
    label: str
    logprob: float
    """The model's log-probability at temperature 1, in nats."""


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """One token, as it is shown."""

    id: int
    kind: str
    """text, thinking, tool_call, tool_result or control."""
    text: str
    """What it adds to the text of its kind; empty for all but one token of a character split over several."""
    label: str
    """The token by itself: its text, the literal of a special token, or bytes in hexadecimal."""
    logprob: float
    """The model's log-probability at temperature 1, in nats; 0 if forced."""
    forced: bool = False
    alternatives: tuple[Alternative, ...] = ()
    """The likeliest tokens at this place, best first."""
    entropy: float | None = None
    """Of the model's distribution at this place, in nats; none where the engine put the token."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """Open a checkpoint; the one before is let go."""

    id: int
    path: str
    runs_dir: str = "runs"
    device: str = "auto"
    dtype: str = "auto"


@dataclass(frozen=True, kw_only=True)
class Generate:
    """Answer a conversation, or go on with a raw text if there are no messages."""

    id: int
    messages: list[dict[str, Any]] = field(default_factory=list)
    text: str = ""
    prefix_ids: list[int] = field(default_factory=list)
    """What the answer has to begin with; these ids are not reported again."""
    options: dict[str, Any] = field(default_factory=dict)
    """Fields of `SamplingOptions`."""
    num_alternatives: int = 5


@dataclass(frozen=True, kw_only=True)
class Cancel:
    """End a generation, running or still waiting, within one token."""

    id: int
    target: int


@dataclass(frozen=True, kw_only=True)
class Predict:
    """Ask for the distribution of the next token; the fields are those of `Generate`."""

    id: int
    messages: list[dict[str, Any]] = field(default_factory=list)
    text: str = ""
    prefix_ids: list[int] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    count: int = 10
    """How many of the likeliest tokens to tell."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """Ask how likely the model finds a text, or an answer.

    Of `text` alone, the text; of `messages` that end with an assistant's, that one; with `ids`, those ids as
    what follows the prompt that `messages` or `text` make (see `Generate`).
    """

    id: int
    text: str = ""
    messages: list[dict[str, Any]] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    num_alternatives: int = 5


@dataclass(frozen=True, kw_only=True)
class Shutdown:
    """End the process. The end of its input does the same."""

    id: int


Request = Load | Generate | Cancel | Predict | Score | Shutdown


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A checkpoint is open."""

    id: int
    path: str
    num_parameters: int
    context: int
    """Tokens that the model can see."""
    vocab_size: int
    cache_bytes: int
    """Memory of the key-value cache of a full context."""
    device: str
    dtype: str


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """More of an answer."""

    id: int
    tokens: tuple[TokenInfo, ...]
    num_context: int = 0
    """Tokens of prompt and answer so far."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """An answer is over."""

    id: int
    reason: str
    """See `picochat.engine.events.Done`."""
    num_tokens: int
    """Tokens sampled by the model."""
    seed: int
    """Reproduces the answer."""
    num_context: int
    """Tokens of prompt and answer together."""
    first_seconds: float
    """From the request to the first token; reading the prompt is in it."""
    seconds: float
    """From the request to the end."""


class NextToken(NamedTuple):
    """A token that may come next."""

    id: int
    label: str
    before: float
    """The model's own probability."""
    after: float
    """The probability once all sampling options have had their say."""


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """The likeliest next tokens, best first."""

    id: int
    tokens: tuple[NextToken, ...]


@dataclass(frozen=True, kw_only=True)
class Scored:
    """How likely the model finds each token of a text."""

    id: int
    tokens: tuple[TokenInfo, ...]
    nats: float
    """Negative log-likelihood of all of them but those the engine would have put there."""
    num_bytes: int
    """Of their texts in UTF-8."""


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A request could not be met; `message` says what, where and how to mend it, in one line."""

    id: int
    message: str


Reply = Loaded | Tokens | Finished | Predicted | Scored | Failed

REQUESTS = {kind.__name__.lower(): kind for kind in (Load, Generate, Cancel, Predict, Score, Shutdown)}
REPLIES = {kind.__name__.lower(): kind for kind in (Loaded, Tokens, Finished, Predicted, Scored, Failed)}

Message = TypeVar("Message")


def encode(message: Request | Reply) -> bytes:
    """Return a message as a line."""
    row = {"type": type(message).__name__.lower(), **asdict(message)}
    return json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def decode_request(line: bytes) -> Request:
    """Read a request. Raises UserError if it is none."""
    return _decode(line, REQUESTS)


def decode_reply(line: bytes) -> Reply:
    """Read a reply. Raises UserError if it is none."""
    reply = _decode(line, REPLIES)
    if isinstance(reply, Tokens | Scored):
        object.__setattr__(reply, "tokens", tuple(token_from_json(row) for row in reply.tokens))
    elif isinstance(reply, Predicted):
        object.__setattr__(reply, "tokens", tuple(NextToken(*row) for row in reply.tokens))
    return reply


def token_from_json(row: Any) -> TokenInfo:
    """Return the token whose `asdict` went through JSON."""
    others = tuple(Alternative(*other) for other in row["alternatives"])
    return TokenInfo(**{**row, "alternatives": others})


def _decode(line: bytes, kinds: dict[str, type[Message]]) -> Message:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise UserError(f"not a line of JSON: {line[:80]!r}") from error
    kind = kinds.get(row.pop("type", "")) if isinstance(row, dict) else None
    if kind is None:
        raise UserError(f"type must be one of {', '.join(kinds)}: {line[:80]!r}")
    try:
        return kind(**row)
    except TypeError as error:
        raise UserError(f"a {kind.__name__} has other fields: {error}") from error
