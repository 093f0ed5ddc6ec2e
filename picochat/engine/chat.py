"""One answer to a conversation, in one call."""

from collections.abc import Sequence
from typing import Any, cast

from picochat.engine.generate import Engine, Generation, SamplingOptions
from picochat.engine.session import fit_prompt
from picochat.errors import UserError
from picochat.model.gpt import GPT
from picochat.tokenizer.conversation import Message, parse_messages
from picochat.tokenizer.tokenizer import Tokenizer


def chat(
    model: GPT,
    tokenizer: Tokenizer,
    messages: Sequence[Message | dict[str, Any]],
    *,
    num_logprobs: int = 0,
    **options: Any,
) -> Generation:
    """Return the answer to a conversation as an iterator of events (picochat.engine.events).

    `messages` are `Message`s or dicts with "role" and "content", the last one the user's; `options` are the
    fields of `SamplingOptions`. A conversation too long for the model loses its oldest turns
    (`session.fit_prompt`). To go on with the conversation use `ChatSession`: it does not read everything
    again.

    Raises UserError for malformed messages and options out of range.
    """
    rows = list(messages)
    is_parsed = all(isinstance(row, Message) for row in rows)
    parsed = cast(list[Message], rows) if rows and is_parsed else parse_messages(rows, where="messages")
    if parsed[-1].role != "user":
        raise UserError(f"the last message must be the user's, not the {parsed[-1].role}'s")
    sampling = SamplingOptions(**options)
    engine = Engine(model, tokenizer)
    prompt_ids = fit_prompt(tokenizer, parsed, context=engine.context, reserve=sampling.max_tokens)
    return engine.generate(prompt_ids, sampling, num_logprobs=num_logprobs)
