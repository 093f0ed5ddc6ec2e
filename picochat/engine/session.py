"""A conversation with a model: history, system prompt, regenerate, save."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from picochat.engine.generate import Engine, Generation, SamplingOptions
from picochat.engine.markdown import to_markdown
from picochat.engine.options import MAX_SEED
from picochat.errors import UserError
from picochat.tokenizer.conversation import Message, Part, render_prompt
from picochat.tokenizer.messages import messages_to_json
from picochat.tokenizer.pieces import replace_surrogates
from picochat.tokenizer.tokenizer import Tokenizer

Turn = Message | Generation
"""A generation stands for the assistant's message: as much of it as was written when it ended or was
stopped."""


def text_message(role: str, text: str) -> Message:
    """Return a message of one text part."""
    assert role in ("system", "user", "assistant")
    return Message(role=role, parts=(Part(type="text", text=text),))


def fit_prompt(tokenizer: Tokenizer, messages: Sequence[Message], *, context: int, reserve: int) -> list[int]:
    """Return the prompt ids of a conversation that ends with the user's turn.

    Where it is too long to leave `reserve` tokens (at most a quarter of the context) for the answer, its
    oldest turns are left out, a question with its answers at a time; system messages and the last question
    stay.
    """
    limit = context - min(reserve, context // 4)
    num_framing = len(render_prompt(tokenizer, []))
    sizes = [len(render_prompt(tokenizer, [message])) - num_framing for message in messages]
    kept = list(range(len(messages)))
    questions = [i for i in kept if messages[i].role == "user"]
    while len(questions) > 1 and num_framing + sum(sizes[i] for i in kept) > limit:
        first, second = questions[:2]
        kept = [i for i in kept if not first <= i < second or messages[i].role == "system"]
        questions = questions[1:]
    return render_prompt(tokenizer, [messages[i] for i in kept])


class ChatSession:
    """A conversation that grows turn by turn.

    `options` may be replaced between turns. What `send` returns is to be iterated; it can be cancelled, and
    what was written until then stays in the history.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        options: SamplingOptions | None = None,
        system: str = "",
        messages: Iterable[Message] = (),
    ) -> None:
        self.engine = engine
        self.options = options or SamplingOptions()
        self.system = system
        self._turns: list[Turn] = list(messages)

    @property
    def messages(self) -> list[Message]:
        """The conversation so far, the system message first."""
        system = [text_message("system", self.system)] if self.system else []
        return system + [
            turn if isinstance(turn, Message) else Message(role="assistant", parts=turn.completion.parts)
            for turn in self._turns
        ]

    def send(self, text: str, *, num_logprobs: int = 0) -> Generation:
        """Ask, and return the answer as an iterator of events."""
        self._turns.append(text_message("user", text))
        try:
            return self._answer(self.options, num_logprobs)
        except UserError:
            self._turns.pop()
            raise

    def regenerate(self, *, num_logprobs: int = 0) -> Generation:
        """Answer the last question once more; with a fixed seed, by the seed after the last answer's."""
        if not any(isinstance(turn, Generation) or turn.role == "user" for turn in self._turns):
            raise UserError("there is no answer to regenerate yet; ask something first")
        options = self.options
        last = self._turns[-1]
        if isinstance(last, Generation) or last.role == "assistant":
            self._turns.pop()
        if isinstance(last, Generation) and options.seed is not None:
            options = replace(options, seed=(last.completion.seed + 1) % (MAX_SEED + 1))
        return self._answer(options, num_logprobs)

    def clear(self) -> None:
        """Forget the conversation; system prompt and options stay."""
        self._turns.clear()

    def save(self, path: str | Path) -> None:
        """Write the conversation: as one more line of a .jsonl file of the kind SFT reads, or as a new .md
        file. Lone surrogates in it are U+FFFD, as they are for the model.

        Raises UserError for another ending, an empty conversation or a .md file that exists.
        """
        path = Path(path)
        messages = self.messages
        if not self._turns:
            raise UserError("there is nothing to save yet; ask something first")
        if path.suffix == ".jsonl":
            row = json.dumps({"messages": messages_to_json(messages)}, ensure_ascii=False)
            with path.open("a", encoding="utf-8", newline="\n") as file:
                file.write(replace_surrogates(row) + "\n")
        elif path.suffix == ".md":
            if path.exists():
                raise UserError(f"{path} exists; choose another name")
            path.write_text(replace_surrogates(to_markdown(messages)), encoding="utf-8", newline="\n")
        else:
            raise UserError(f"{path}: a conversation is saved as .jsonl (for SFT) or .md")

    def _answer(self, options: SamplingOptions, num_logprobs: int) -> Generation:
        prompt_ids = fit_prompt(
            self.engine.tokenizer, self.messages, context=self.engine.context, reserve=options.max_tokens
        )
        generation = self.engine.generate(prompt_ids, options, num_logprobs=num_logprobs)
        self._turns.append(generation)
        return generation
