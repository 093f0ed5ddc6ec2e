"""`text_completion` objects: the answers of `/v1/completions`."""

from collections.abc import Sequence
from typing import Any

from picochat.engine.events import Done, Event, TextDelta, Token
from picochat.serve.answers import Writer
from picochat.serve.schema import Ask

Logprobs = dict[str, list[Any]]


class CompletionWriter(Writer):
    """`text_completion`, whole and in chunks of the same shape.

    Its log-probabilities are those of every token that the model wrote, control tokens included, so that
    their number is known to whoever counts on it (lm-evaluation-harness does).
    """

    kind = chunk_kind = "text_completion"
    prefix = "cmpl"

    def __init__(self, ask: Ask) -> None:
        super().__init__(ask)
        self._has_begun = [False] * len(ask.rows)
        self._num_characters = [0] * len(ask.rows)
        # What `answer` is put together from.
        self._chunks: list[list[dict[str, Any]]] = [[] for _ in ask.rows]

    def read(self, index: int, event: Event) -> None:
        """Take an event of choice `index`, for `answer`."""
        self._chunks[index] += [chunk["choices"][0] for chunk in self.chunks(index, event)]

    def chunks(self, index: int, event: Event) -> list[dict[str, Any]]:
        """Take an event of choice `index`, and return the chunks that tell of it."""
        choice = self.choices[index]
        choice.read(event)
        echo = [] if self._has_begun[index] else self._echo(index)
        self._has_begun[index] = True
        is_shown = not self.ask.hides_answer
        text = event.text if isinstance(event, TextDelta) and is_shown else ""
        told = self._logprobs(index, text, event.tokens) if is_shown else None
        if isinstance(event, Done):
            return [*echo, self._chunk(index, text="", logprobs=told, **choice.ending)]
        if not text and not (told and told["tokens"]):
            return echo
        return [*echo, self._chunk(index, text=text, logprobs=told)]

    def _echo(self, index: int) -> list[dict[str, Any]]:
        if not self.ask.echo:
            return []
        row, skipped = self.ask.rows[index], int(self.ask.adds_bos[index])
        text = self._tokenizer.decode(row.prompt_ids[skipped:])
        tokens: list[Token] = []
        if row.scored_prompt is not None:
            # Nothing foretells the first token.
            tokens = [Token(row.prompt_ids[0], logprob=float("nan")), *row.scored_prompt][skipped:]
        return [self._chunk(index, text=text, logprobs=self._logprobs(index, text, tokens))]

    def _whole(self, index: int) -> dict[str, Any]:
        chunks = self._chunks[index]
        told = None
        if self.ask.wants_logprobs:
            told = {name: [] for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset")}
            for chunk in chunks:
                for name, values in (chunk["logprobs"] or {}).items():
                    told[name] += values
        text = "".join(chunk["text"] for chunk in chunks)
        return {"index": index, "text": text, "logprobs": told, **self.choices[index].ending}

    def _logprobs(self, index: int, text: str, tokens: Sequence[Token]) -> Logprobs | None:
        """Return the log-probabilities of tokens that bring `text`."""
        begin = self._num_characters[index]
        self._num_characters[index] += len(text)
        if not self.ask.wants_logprobs:
            return None
        written = [token for token in tokens if not token.forced]
        decoder = self._tokenizer.stream()
        offsets, position = [], 0
        for token in written:
            piece = decoder.push(token.id) if text else ""
            # A piece may begin with what is left of a broken character before it.
            own = self._label(token.id)
            late = len(piece) - len(own) if piece.endswith(own) else 0
            offsets.append(begin + min(position + late, len(text)))
            position += len(piece)
        return {
            "tokens": [self._label(token.id) for token in written],
            "token_logprobs": [_known(token.logprob) for token in written],
            "top_logprobs": [self._top(token) for token in written],
            "text_offset": offsets,
        }

    def _top(self, token: Token) -> dict[str, float] | None:
        if _known(token.logprob) is None:
            return None
        top = {self._label(id): round(logprob, 6) for id, logprob in token.alternatives}
        # The same number as beside it, not one that was computed in another order.
        return {**top, self._label(token.id): round(token.logprob, 6)}

    def _label(self, id: int) -> str:
        """Return a token by itself, as OpenAI spells it where it is not a text."""
        content = self._tokenizer.token_bytes(id)
        try:
            return content.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in content)


def _known(logprob: float) -> float | None:
    return None if logprob != logprob else round(logprob, 6)
