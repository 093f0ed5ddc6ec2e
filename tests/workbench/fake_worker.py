"""A worker without a model: says what a test needs, token by token, in the real protocol."""

import os
import queue
import sys
import threading
import time

from picochat.engine.protocol import (
    Alternative,
    Cancel,
    Finished,
    Generate,
    Load,
    Loaded,
    Reply,
    Request,
    Shutdown,
    TokenInfo,
    Tokens,
    decode_request,
    encode,
)

OTHERS = (
    Alternative(1, " yes", -0.2),
    Alternative(2, " no", -1.9),
    Alternative(3, "<|assistant_end|>", -5.0),
)
SPECIAL = {
    "think": [
        ("control", "", "<|think_start|>"),
        ("thinking", "deep", "deep"),
        ("control", "", "<|think_end|>"),
    ],
    "sum": [
        ("control", "", "<|tool_call_start|>"),
        ("tool_call", "2+3", "2+3"),
        ("control", "", "<|tool_call_end|>"),
        ("tool_result", "5", "5"),
    ],
    "escape": [("text", "\x1b[31m[red]", "x")],
}


def send(reply: Reply) -> None:
    sys.stdout.buffer.write(encode(reply))
    sys.stdout.buffer.flush()


def answer(request: Generate, cancelled: set[int]) -> None:
    question = request.messages[-1]["content"] if request.messages else request.text
    if question == "crash":
        os.write(2, b"the fake fell over\n")
        os._exit(1)
    said = SPECIAL.get(question, [("text", f" {word}", f" {word}") for word in f"echo {question}".split()])
    endless = question == "endless"
    reason, count = "stop", 0
    while request.id not in cancelled and (endless or count < len(said)):
        kind, text, label = said[count % len(said)]
        token = TokenInfo(id=count, kind=kind, text=text, label=label, logprob=-0.7, alternatives=OTHERS)
        send(Tokens(id=request.id, tokens=(token,)))
        count += 1
        if endless:
            time.sleep(0.002)
    if request.id in cancelled:
        reason = "cancelled"
    reply = Finished(
        id=request.id,
        reason=reason,
        num_tokens=count,
        seed=int(request.options.get("seed") or 7),
        num_context=count + len(request.prefix_ids),
        first_seconds=0.01,
        seconds=0.02,
    )
    send(reply)


def main() -> None:
    requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
    cancelled: set[int] = set()

    def read() -> None:
        for line in sys.stdin.buffer:
            request = decode_request(line)
            if isinstance(request, Cancel):
                cancelled.add(request.target)
            else:
                requests.put(request)
        requests.put(Shutdown(id=0))

    threading.Thread(target=read, daemon=True).start()
    while not isinstance(request := requests.get(), Shutdown):
        if isinstance(request, Load):
            facts = {"num_parameters": 4_500_000, "context": 128, "vocab_size": 300, "cache_bytes": 1}
            where = {"device": "cpu", "dtype": "float32"}
            send(Loaded(id=request.id, path=request.path, **facts, **where))
        elif isinstance(request, Generate):
            answer(request, cancelled)


if __name__ == "__main__":
    main()
