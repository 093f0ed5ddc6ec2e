"""Requests: what a client may ask for, with every field bounded before any work is done.

docs/server.md lists the fields. What comes out is an `Ask`: rows for the decoder, and how to tell of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from picochat.engine.decode import Row
from picochat.engine.options import MAX_SEED, MAX_STOP_LENGTH, MAX_STOP_STRINGS, SamplingOptions
from picochat.engine.session import fit_prompt
from picochat.errors import UserError
from picochat.serve.errors import ApiError, context_exceeded, invalid
from picochat.serve.fields import Fields
from picochat.serve.models import MAX_NAME, Served, find_model
from picochat.tokenizer.conversation import Message, parse_messages, render_prompt

MAX_TOKENS = 100_000
MAX_CHOICES = 8
MAX_MESSAGES = 1000
MAX_TOP_K = 1_000_000
MAX_LOGPROBS = 20
CHAT_TOKENS, COMPLETION_TOKENS = 256, 16
"""How long an answer may become where the client does not say."""
WITHOUT_EFFECT = ("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key")


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A request that is understood."""

    model: Served
    rows: list[Row]
    """The answers to write, `n` for each prompt."""
    num_prompt_tokens: int
    stream: bool
    include_usage: bool
    wants_logprobs: bool
    echo: bool = False
    """Whether the answers begin with the prompt."""
    adds_bos: tuple[bool, ...] = ()
    """For each row of a completion whether the server put a <|bos|> before the prompt."""
    hides_answer: bool = False
    """Whether only the prompt was asked for (`max_tokens: 0`)."""


def parse_chat(body: dict[str, Any], models: dict[str, Served]) -> Ask:
    """Understand the body of `POST /v1/chat/completions`. Raises ApiError."""
    fields = Fields(body)
    model = find_model(models, fields.string("model", MAX_NAME))
    options = _options(fields, ("max_completion_tokens", "max_tokens"), CHAT_TOKENS)
    n = fields.integer("n", 1, MAX_CHOICES) or 1
    stream, include_usage = _stream(fields)
    wants_logprobs = fields.boolean("logprobs")
    num_logprobs = fields.integer("top_logprobs", 0, MAX_LOGPROBS) or 0
    if num_logprobs and not wants_logprobs:
        raise invalid("top_logprobs", "top_logprobs needs logprobs: true")
    fields.expect("truncation", "auto", "disabled")
    is_cut = body.get("truncation") == "auto"
    messages = fields.take("messages")
    fields.expect("tools", [])
    fields.expect("functions", [])
    fields.expect("tool_choice", "none", "auto")
    fields.expect("response_format", {"type": "text"})
    fields.expect("modalities", ["text"])
    _finish(fields, n)
    ids = _chat_prompt(model, _messages(messages), options.max_tokens if is_cut else None)
    rows = _rows(model, ids, options, n, num_logprobs=num_logprobs, param="messages")
    return Ask(
        model=model,
        rows=rows,
        num_prompt_tokens=len(ids),
        stream=stream,
        include_usage=include_usage,
        wants_logprobs=wants_logprobs,
    )


def parse_completion(body: dict[str, Any], models: dict[str, Served]) -> Ask:
    """Understand the body of `POST /v1/completions`. Raises ApiError."""
    fields = Fields(body)
    model = find_model(models, fields.string("model", MAX_NAME))
    echo = fields.boolean("echo")
    hides_answer = echo and type(body.get("max_tokens")) is int and body["max_tokens"] == 0
    if hides_answer:
        fields.ignore("max_tokens")
        options = _options(fields, (), 1)
    else:
        options = _options(fields, ("max_tokens",), COMPLETION_TOKENS)
    n = fields.integer("n", 1, MAX_CHOICES) or 1
    stream, include_usage = _stream(fields)
    num_logprobs = fields.integer("logprobs", 0, MAX_LOGPROBS)
    prompts = _prompts(model, fields.take("prompt"))
    fields.expect("suffix")
    if n * len(prompts) > MAX_CHOICES:
        raise invalid("n", f"n answers to each prompt make more than {MAX_CHOICES} choices")
    _finish(fields, n)
    scoring = {"num_logprobs": num_logprobs or 0, "score_prompt": echo and num_logprobs is not None}
    groups = [_rows(model, ids, options, n, param="prompt", **scoring) for ids, _ in prompts]
    return Ask(
        model=model,
        rows=[row for rows in groups for row in rows],
        num_prompt_tokens=sum(len(ids) for ids, _ in prompts),
        stream=stream,
        include_usage=include_usage,
        wants_logprobs=num_logprobs is not None,
        echo=echo,
        adds_bos=tuple(adds_bos for _, adds_bos in prompts for _ in range(n)),
        hides_answer=hides_answer,
    )


def _options(fields: Fields, names_of_max: Sequence[str], default_tokens: int) -> SamplingOptions:
    limits = [fields.integer(name, 1, MAX_TOKENS) for name in names_of_max]
    given = {
        "temperature": fields.number("temperature", 0, 100),
        "top_p": fields.number("top_p", 0, 1),
        "top_k": fields.integer("top_k", 0, MAX_TOP_K),
        "min_p": fields.number("min_p", 0, 1),
        "repetition_penalty": fields.number("repetition_penalty", 0.01, 100),
        "seed": fields.integer("seed", 0, MAX_SEED),
        "thinking_budget": fields.integer("thinking_budget", 0, MAX_TOKENS),
    }
    if given["top_p"] == 0:
        raise invalid("top_p", "top_p must be over 0; temperature 0 takes the likeliest token")
    options = SamplingOptions(
        max_tokens=next((limit for limit in limits if limit is not None), default_tokens),
        stop=fields.strings("stop", MAX_STOP_STRINGS, MAX_STOP_LENGTH),
        **{name: value for name, value in given.items() if value is not None},  # pyright: ignore[reportArgumentType]
    )
    return options.seeded()


def _stream(fields: Fields) -> tuple[bool, bool]:
    stream = fields.boolean("stream")
    options = fields.take("stream_options")
    if options is None:
        return stream, False
    if not stream or not isinstance(options, dict):
        raise invalid("stream_options", "stream_options must be an object, and stream must be true")
    inner = Fields(options)
    include_usage = inner.boolean("include_usage")
    inner.ignore("include_obfuscation")
    inner.finish()
    return stream, include_usage


def _finish(fields: Fields, n: int) -> None:
    """Check what changes nothing, and that nothing is left."""
    fields.expect("best_of", n)
    fields.expect("frequency_penalty", 0)
    fields.expect("presence_penalty", 0)
    fields.expect("logit_bias", {})
    fields.expect("parallel_tool_calls", True, False)
    fields.ignore(*WITHOUT_EFFECT)
    fields.finish()


def _messages(rows: Any) -> list[Message]:
    if rows is None:
        raise ApiError(400, "missing_field", "messages is missing", param="messages")
    if not isinstance(rows, list) or not 1 <= len(rows) <= MAX_MESSAGES:
        raise invalid("messages", f"messages must be a list of 1 to {MAX_MESSAGES} messages")
    # What newer clients call the system prompt.
    rows = [
        {**row, "role": "system"} if isinstance(row, dict) and row.get("role") == "developer" else row
        for row in rows
    ]
    try:
        messages = parse_messages(rows, where="messages")
    except UserError as error:
        raise invalid("messages", str(error)) from error
    if messages[-1].role != "user":
        raise invalid("messages", f"the last message must be the user's, not the {messages[-1].role}'s")
    return messages


def _chat_prompt(model: Served, messages: Sequence[Message], reserve: int | None) -> list[int]:
    """Return the ids of a conversation; with `reserve`, without its oldest turns where it is too long."""
    tokenizer, context = model.engine.tokenizer, model.engine.context
    # Encoding a text that can not fit would only take time.
    limit = context * model.longest_token
    if reserve is not None:
        messages = _newest(messages, limit)
    if sum(map(_num_characters, messages)) > limit:
        raise context_exceeded("messages", f"more than {context}", context)
    if reserve is None:
        return render_prompt(tokenizer, messages)
    return fit_prompt(tokenizer, messages, context=context, reserve=reserve)


def _newest(messages: Sequence[Message], limit: int) -> list[Message]:
    """Return the system messages, and of the others the last ones that fit into `limit` characters with
    them; the very last in any case. They begin with a question."""
    limit -= sum(_num_characters(message) for message in messages if message.role == "system")
    kept: list[Message] = []
    for message in reversed(messages):
        limit -= 0 if message.role == "system" else _num_characters(message)
        if message.role == "system" or limit >= 0 or not kept:
            kept.append(message)
    kept.reverse()
    # An answer whose question was left out would stand there for ever.
    first = next(index for index, message in enumerate(kept) if message.role == "user")
    return [message for index, message in enumerate(kept) if index >= first or message.role == "system"]


def _num_characters(message: Message) -> int:
    return sum(len(part.text) for part in message.parts)


def _prompts(model: Served, value: Any) -> list[tuple[list[int], bool]]:
    """Return the ids of each prompt of a completion, and whether we put a <|bos|> before it."""
    if value is None:
        raise ApiError(400, "missing_field", "prompt is missing", param="prompt")
    is_one = isinstance(value, str) or (isinstance(value, list) and value and _is_ids(value))
    prompts = [value] if is_one else value
    if not isinstance(prompts, list) or not 1 <= len(prompts) <= MAX_CHOICES:
        raise invalid("prompt", f"prompt must be a text, a list of token ids, or 1 to {MAX_CHOICES} of these")
    return [(_prompt_ids(model, prompt), isinstance(prompt, str)) for prompt in prompts]


def _prompt_ids(model: Served, prompt: Any) -> list[int]:
    tokenizer, context = model.engine.tokenizer, model.engine.context
    if isinstance(prompt, str):
        if len(prompt) > context * model.longest_token:
            raise context_exceeded("prompt", f"more than {context}", context)
        return [tokenizer.special["<|bos|>"], *tokenizer.encode(prompt)]
    if not isinstance(prompt, list) or not prompt or not _is_ids(prompt):
        raise invalid("prompt", "each prompt must be a text or a list of at least one token id")
    if min(prompt) < 0 or max(prompt) >= tokenizer.vocab_size:
        raise invalid("prompt", f"token ids go from 0 to {tokenizer.vocab_size - 1}")
    return prompt


def _is_ids(values: list[Any]) -> bool:
    return all(isinstance(value, int) and not isinstance(value, bool) for value in values)


def _rows(
    model: Served,
    ids: list[int],
    options: SamplingOptions,
    n: int,
    *,
    param: str,
    num_logprobs: int,
    score_prompt: bool = False,
) -> list[Row]:
    engine = model.engine
    if len(ids) > engine.context:
        raise context_exceeded(param, str(len(ids)), engine.context)
    assert options.seed is not None
    seeds = [(options.seed + j) % (MAX_SEED + 1) for j in range(n)]
    num_logprobs = min(num_logprobs, engine.tokenizer.vocab_size)
    return [
        engine.new_row(ids, replace(options, seed=seed), num_logprobs=num_logprobs, score_prompt=score_prompt)
        for seed in seeds
    ]
