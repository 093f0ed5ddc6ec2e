"""A model in a process of its own: requests on standard input, replies on standard output.

`python -m picochat.engine.worker`; the lines are described in `picochat.engine.protocol`.

One thread reads requests, so that a cancellation is seen while the model works; the main thread meets them
in order. Standard output belongs to the protocol: whatever else prints goes to standard error. The process
ends with its input, that is with its parent, whatever it is doing. A bug ends it with a traceback on standard
error.

T: positions, V: vocabulary.
"""

import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

import torch

from picochat.engine.continuous import score
from picochat.engine.events import Done, Event, TextDelta, ThinkingDelta, Token, ToolCall, ToolResult
from picochat.engine.generate import Engine, Generation
from picochat.engine.options import SamplingOptions
from picochat.engine.protocol import (
    Alternative,
    Cancel,
    Failed,
    Finished,
    Generate,
    Load,
    Loaded,
    NextToken,
    Predict,
    Predicted,
    Reply,
    Request,
    Score,
    Scored,
    Shutdown,
    TokenInfo,
    Tokens,
    decode_request,
    encode,
)
from picochat.engine.sampler import distribution
from picochat.engine.session import fit_prompt
from picochat.errors import UserError
from picochat.tokenizer.conversation import parse_messages, render_conversation
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.train.load import load
from picochat.train.run_dir import resolve_checkpoint

OUTER = {"<|think_start|>": "thinking", "<|think_end|>": "text"}
INNER = {"<|tool_call_start|>": "tool_call", "<|tool_result_start|>": "tool_result"}
"""What a control token begins; calls and their results stand within text or thinking."""
KINDS = {TextDelta: "text", ThinkingDelta: "thinking", ToolCall: "tool_call", ToolResult: "tool_result"}


class Describer:
    """Turns the engine's events into tokens with texts."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._labels: dict[int, str] = {}

    def label(self, id: int) -> str:
        """Return a token by itself."""
        if id not in self._labels:
            content = self._tokenizer.token_bytes(id)
            try:
                self._labels[id] = content.decode()
            except UnicodeDecodeError:
                self._labels[id] = f"‹{content.hex(' ')}›"
        return self._labels[id]

    def alternatives(self, pairs: Sequence[tuple[int, float]]) -> tuple[Alternative, ...]:
        """Return (id, logprob) pairs with their labels."""
        return tuple(Alternative(id, self.label(id), round(logprob, 4)) for id, logprob in pairs)

    def tokens(self, event: Event) -> tuple[TokenInfo, ...]:
        """Return the tokens of an event; the texts of those that are not control tokens make up its text."""
        kind = KINDS.get(type(event), "control")
        shown = {TextDelta: "text", ThinkingDelta: "text", ToolCall: "expression", ToolResult: "text"}
        text = getattr(event, shown[type(event)]) if type(event) in shown else ""
        plain = [token for token in event.tokens if not self._tokenizer.is_special(token.id)]
        texts = iter(self._share(text, plain))
        return tuple(
            self._describe(token, "control", "")
            if self._tokenizer.is_special(token.id)
            else self._describe(token, kind, next(texts))
            for token in event.tokens
        )

    def _share(self, text: str, tokens: Sequence[Token]) -> list[str]:
        """Return which part of `text` each token brings."""
        if not tokens:
            return []
        decoder = self._tokenizer.stream()
        texts = [decoder.push(token.id) for token in tokens]
        texts[-1] += decoder.flush()
        # A stop string may have cut the text.
        return texts if "".join(texts) == text else [text, *[""] * (len(tokens) - 1)]

    def _describe(self, token: Token, kind: str, text: str) -> TokenInfo:
        return TokenInfo(
            id=token.id,
            kind=kind,
            text=text,
            label=self.label(token.id),
            logprob=round(token.logprob, 4),
            forced=token.forced,
            alternatives=self.alternatives(token.alternatives),
            entropy=None if token.entropy is None else round(token.entropy, 4),
        )

    def answer(self, tokens: Sequence[Token]) -> tuple[TokenInfo, ...]:
        """Return the tokens of an answer, from its beginning, that no engine has told of.

        Results of tools count as put there by the engine.
        """
        described: list[TokenInfo] = []
        outer = kind = "text"
        for is_special, group in groupby(tokens, key=lambda token: self._tokenizer.is_special(token.id)):
            run = list(group)
            if is_special:
                for token in run:
                    label = self.label(token.id)
                    is_forced = label in ("<|tool_result_start|>", "<|tool_result_end|>")
                    described.append(self._describe(_as_forced(token, is_forced), "control", ""))
                    outer = OUTER.get(label, outer)
                    kind = INNER.get(label, outer)
                continue
            texts = self._share(self._tokenizer.decode([token.id for token in run]), run)
            for token, text in zip(run, texts, strict=True):
                described.append(self._describe(_as_forced(token, kind == "tool_result"), kind, text))
        return tuple(described)


def _as_forced(token: Token, is_forced: bool) -> Token:
    return Token(token.id, forced=True) if is_forced else token


class Worker:
    """Meets requests one after the other."""

    def __init__(self, send: Callable[[Reply], None]) -> None:
        self._send = send
        self._requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._engine: Engine | None = None
        self._running: tuple[int, Generation] | None = None
        self._cancelled: set[int] = set()

    def read(self, lines: BinaryIO) -> None:
        """Take requests until the input ends. Runs in a thread of its own."""
        for line in lines:
            try:
                request = decode_request(line)
            except UserError as error:
                self._send(Failed(id=-1, message=str(error)))
                continue
            if isinstance(request, Cancel):
                self._cancelled.add(request.target)
                running = self._running
                if running is not None and running[0] == request.target:
                    running[1].cancel()
            else:
                self._requests.put(request)

    def run(self) -> None:
        """Meet requests until one asks to end."""
        while not isinstance(request := self._requests.get(), Shutdown):
            try:
                self._meet(request)
            except UserError as error:
                self._send(Failed(id=request.id, message=" ".join(str(error).split())))
            except OSError as error:
                where = f"{error.filename}: " if error.filename is not None else ""
                self._send(Failed(id=request.id, message=f"{where}{error.strerror or error}"))

    def _meet(self, request: Request) -> None:
        match request:
            case Load():
                self._load(request)
            case Generate():
                self._generate(request)
            case Predict():
                self._predict(request)
            case Score():
                self._score(request)

    @property
    def engine(self) -> Engine:
        """The engine of the open checkpoint."""
        if self._engine is None:
            raise UserError("no checkpoint is open; load one first")
        return self._engine

    def _load(self, request: Load) -> None:
        self._engine = None
        path = resolve_checkpoint(request.path, Path(request.runs_dir))
        model, tokenizer = load(path, device=request.device, dtype=request.dtype)
        self._engine = Engine(model, tokenizer)
        self._describer = Describer(tokenizer)
        config = model.config
        values = 2 * config.n_layer * config.n_kv_head * (config.n_embd // config.n_head)
        reply = Loaded(
            id=request.id,
            path=str(path),
            num_parameters=sum(parameter.numel() for parameter in model.parameters()),
            context=config.sequence_len,
            vocab_size=config.vocab_size,
            cache_bytes=values * config.sequence_len * model.compute_dtype.itemsize,
            device=str(model.device),
            dtype=str(model.compute_dtype).removeprefix("torch."),
        )
        self._send(reply)
        # While the user reads and types.
        self._engine.warm_up()

    def _prompt(self, request: Generate | Predict, options: SamplingOptions) -> list[int]:
        reserve = options.max_tokens + len(request.prefix_ids)
        return self._begin(request, reserve) + request.prefix_ids

    def _begin(self, request: Generate | Predict | Score, reserve: int) -> list[int]:
        """Return the ids before the answer: a chat prompt with room for `reserve` tokens, or a raw text."""
        engine = self.engine
        tokenizer = engine.tokenizer
        if not request.messages:
            return [tokenizer.special["<|bos|>"], *tokenizer.encode(request.text)]
        messages = parse_messages(request.messages, where="the conversation")
        return fit_prompt(tokenizer, messages, context=engine.context, reserve=reserve)

    def _generate(self, request: Generate) -> None:
        began = time.perf_counter()
        options = _options(request)
        prompt_ids = self._prompt(request, options)
        generation = self.engine.generate(prompt_ids, options, num_logprobs=request.num_alternatives)
        self._running = (request.id, generation)
        if request.id in self._cancelled:
            generation.cancel()
        first_seconds, num_context = 0.0, len(prompt_ids)
        for event in generation:
            first_seconds = first_seconds or time.perf_counter() - began
            if tokens := self._describer.tokens(event):
                num_context += len(tokens)
                self._send(Tokens(id=request.id, tokens=tokens, num_context=num_context))
            if isinstance(event, Done):
                reply = Finished(
                    id=request.id,
                    reason=event.reason,
                    num_tokens=event.num_tokens,
                    seed=event.completion.seed,
                    num_context=len(prompt_ids) + len(event.completion.tokens),
                    first_seconds=first_seconds,
                    seconds=time.perf_counter() - began,
                )
                self._send(reply)
        self._running = None

    def _predict(self, request: Predict) -> None:
        engine, options = self.engine, _options(request).seeded()
        logits_V = engine.next_logits(self._prompt(request, options))
        history = [id for id in request.prefix_ids if not engine.tokenizer.is_special(id)]
        found = distribution(logits_V, options, history, forbidden=engine.forbidden)
        rows = list(zip(found.ids, found.before, found.after, strict=True))[: request.count]
        label = self._describer.label
        tokens = tuple(NextToken(id, label(id), before, after) for id, before, after in rows)
        self._send(Predicted(id=request.id, tokens=tokens))

    @torch.no_grad()
    def _score(self, request: Score) -> None:
        engine = self.engine
        prompt_ids, scored = self._to_score(request)
        ids = [*prompt_ids, *scored]
        if not scored or len(ids) > engine.context + 1:
            raise UserError(
                f"the text has {len(ids) - 1} tokens; a text of 1 to {engine.context} can be scored"
            )
        ids_1T = torch.tensor([ids[:-1]], device=engine.model.device)
        logits_TV = engine.model(ids_1T)[0, len(prompt_ids) - 1 :]
        said = score(logits_TV, scored, request.num_alternatives)
        tokens = self._describer.answer(said)
        free = [one.logprob for one, token in zip(said, tokens, strict=True) if not token.forced]
        num_bytes = sum(len(token.text.encode()) for token in tokens)
        self._send(Scored(id=request.id, tokens=tokens, nats=-sum(free), num_bytes=num_bytes))

    def _to_score(self, request: Score) -> tuple[list[int], list[int]]:
        """Return the ids before what is scored, and those of it."""
        tokenizer = self.engine.tokenizer
        if request.ids:
            return self._begin(request, len(request.ids)), request.ids
        if not request.messages:
            return [tokenizer.special["<|bos|>"]], tokenizer.encode(request.text)
        *before, last = parse_messages(request.messages, where="the conversation")
        if last.role != "assistant":
            raise UserError("what is scored is the last message, and has to be the assistant's")
        # Neither <|bos|> nor the tags of the turn.
        ids = render_conversation(tokenizer, [last]).ids[2:-1]
        context = self.engine.context
        return fit_prompt(tokenizer, before, context=context, reserve=len(ids)), ids


def _options(request: Generate | Predict) -> SamplingOptions:
    try:
        return SamplingOptions(**request.options)
    except TypeError as error:
        raise UserError(f"the options of a generation are those of SamplingOptions: {error}") from error


def main() -> None:
    """Talk over the standard streams until the input ends."""
    # The interrupt key is for the program in front; it ends this one by closing its input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    lock = threading.Lock()

    def send(reply: Reply) -> None:
        line = encode(reply)
        with lock:
            output.write(line)
            output.flush()

    worker = Worker(send)

    def listen() -> None:
        worker.read(sys.stdin.buffer)
        # Nobody is left to answer to, and the main thread may be in the middle of something long.
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    worker.run()
    output.close()
    # An orderly exit would wait for the thread that reads.
    os._exit(0)


if __name__ == "__main__":
    main()
