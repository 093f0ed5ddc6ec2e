"""A worker without a model: says what a test needs, token by token, in the real protocol.

The environment may set FAKE_RATE (tokens a second, 0 for as fast as they go) and FAKE_LOAD_GATE (a file
without which no checkpoint is loaded).
"""

import os
import queue
import sys
import threading
import time
from collections.abc import Callable

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

RATE = float(os.environ.get("FAKE_RATE", "0"))
CONTEXT = 128
OTHERS = (
    Alternative(1, " yes", -0.2),
    Alternative(2, " no", -1.9),
    Alternative(3, "<|assistant_end|>", -5.0),
    Alternative(4, " maybe", -6.0),
    Alternative(5, "\n", -7.0),
)
LABELS = {other.id: other.label for other in OTHERS}
SPECIAL = {
    "think": [
        ("control", "", "<|think_start|>"),
        ("thinking", "deep", "deep"),
        ("thinking", " thought", " thought"),
        ("control", "", "<|think_end|>"),
        ("text", "so", "so"),
    ],
    "brood": [("control", "", "<|think_start|>"), ("thinking", "deep", "deep")],
    "sum": [
        ("text", "It is", "It is"),
        ("control", "", "<|tool_call_start|>"),
        ("tool_call", "2+3", "2+3"),
        ("control", "", "<|tool_call_end|>"),
        ("control", "", "<|tool_result_start|>"),
        ("tool_result", "5", "5"),
        ("control", "", "<|tool_result_end|>"),
        ("text", "done", "done"),
    ],
    "escape": [("text", "\x1b[31m[red] <b>\u202e", "x")],
}
STORY = ["the", "cat", "sat", "on", "the", "mat", "and", "looked", "at", "the", "moon", ".", "\n\n"]
TAGS = {"thinking": "think", "tool_call": "tool_call", "tool_result": "tool_result"}


def send(reply: Reply) -> None:
    sys.stdout.buffer.write(encode(reply))
    sys.stdout.buffer.flush()


def said(question: str) -> list[tuple[str, str, str]]:
    if question in SPECIAL:
        return SPECIAL[question]
    words = question.split()
    if words[:1] == ["story"]:
        told = [f" {STORY[i % len(STORY)]}" for i in range(int(words[1]))]
        return [("text", word, word) for word in told]
    return [("text", f" {word}", f" {word}") for word in f"echo {question}".split()]


def token_of(count: int, kind: str, text: str, label: str) -> TokenInfo:
    # From likely to unlikely and back.
    logprob = -0.02 - 0.6 * (count * 7 % 11)
    return TokenInfo(
        id=100 + count,
        kind=kind,
        text=text,
        label=label,
        logprob=logprob,
        forced=kind == "tool_result",
        alternatives=OTHERS,
        entropy=None if kind == "tool_result" else 0.25 * (count % 9),
    )


def answer(request: Generate, cancelled: set[int]) -> None:
    question = request.messages[-1]["content"] if request.messages else request.text
    if question == "crash":
        os.write(2, b"the fake fell over\n")
        os._exit(1)
    if question == "garbage":
        sys.stdout.buffer.write(b"this is no JSON\n")
        sys.stdout.buffer.flush()
        time.sleep(60)
    if question == "fail":
        send(Failed(id=request.id, message="the fake will not"))
        return
    tokens = said(question)
    endless = question == "endless"
    reason, count, num_prompt = "stop", 0, 10 + len(request.prefix_ids)
    began = time.perf_counter()
    if question == "long":
        reason, tokens = "length", tokens[:1]
    while request.id not in cancelled and (endless or count < len(tokens)):
        token = token_of(count, *tokens[count % len(tokens)])
        count += 1
        send(Tokens(id=request.id, tokens=(token,), num_context=num_prompt + count))
        if rate := RATE or (500.0 if endless else 0.0):
            time.sleep(max(began + count / rate - time.perf_counter(), 0))
    if request.id in cancelled:
        reason = "cancelled"
    seed = request.options.get("seed")
    reply = Finished(
        id=request.id,
        reason=reason,
        num_tokens=count,
        seed=7 if seed is None else int(seed),
        num_context=num_prompt + count,
        first_seconds=0.01,
        seconds=0.02,
    )
    send(reply)


def score(request: Score) -> None:
    if request.ids:
        words = [LABELS.get(id, f" t{id}") for id in request.ids]
        tokens = [token_of(i, "text", word, word) for i, word in enumerate(words)]
    else:
        last = request.messages[-1]["content"] if request.messages else request.text
        parts = [{"type": "text", "text": last}] if isinstance(last, str) else last
        tokens = []
        for part in parts:
            tag = TAGS.get(part["type"])
            if tag:
                tokens.append(token_of(len(tokens), "control", "", f"<|{tag}_start|>"))
            tokens.append(token_of(len(tokens), part["type"], part["text"], part["text"]))
            if tag:
                tokens.append(token_of(len(tokens), "control", "", f"<|{tag}_end|>"))
    nats = -sum(token.logprob for token in tokens)
    num_bytes = sum(len(token.text.encode()) for token in tokens)
    send(Scored(id=request.id, tokens=tuple(tokens), nats=nats, num_bytes=num_bytes))


def predict(request: Predict) -> None:
    hot = float(request.options.get("temperature", 1))
    rows = [NextToken(1, " yes", 0.6, 0.6 / max(hot, 0.6)), NextToken(2, " no", 0.3, 0.0)]
    send(Predicted(id=request.id, tokens=tuple(rows)))


def obey(request: Request, cancelled: set[int]) -> None:
    match request:
        case Load(path="missing"):
            send(Failed(id=request.id, message="no checkpoint missing"))
        case Load():
            while (gate := os.environ.get("FAKE_LOAD_GATE")) and not os.path.exists(gate):
                time.sleep(0.01)
            facts = {"num_parameters": 4_500_000, "context": CONTEXT, "vocab_size": 300}
            where = {"device": "cpu", "dtype": "float32", "cache_bytes": 2_000_000}
            send(Loaded(id=request.id, path=request.path, **facts, **where))
        case Generate():
            answer(request, cancelled)
        case Predict():
            predict(request)
        case Score():
            score(request)


def serve(obey: Callable[[Request, set[int]], None]) -> None:
    """Obey one request after another; what is to be cancelled comes to be known meanwhile."""
    requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
    cancelled: set[int] = set()

    def read() -> None:
        for line in sys.stdin.buffer:
            request = decode_request(line)
            if isinstance(request, Cancel):
                cancelled.add(request.target)
            else:
                requests.put(request)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while not isinstance(request := requests.get(), Shutdown):
        obey(request, cancelled)


if __name__ == "__main__":
    serve(obey)
