"""A worker without a model whose words depend on the checkpoint: A and B part at the third."""

import os
import time

from fake_worker import send, serve  # beside this file, which is started as a program

from picochat.engine.protocol import (
    Alternative,
    Failed,
    Finished,
    Generate,
    Load,
    Loaded,
    Request,
    TokenInfo,
    Tokens,
)

OTHERS = (Alternative(1, " yes", -0.2), Alternative(2, " no", -1.9))


def write(request: Generate, path: str, cancelled: set[int]) -> None:
    question = request.messages[-1]["content"] if request.messages else request.text
    if question == "crash":
        os.write(2, b"the fake fell over\n")
        os._exit(3)
    own = ["[b]", "\x1b[31m"] if path.startswith("base") else ["two", "three"]
    words = ["it", "is", own[0], "and", own[1], str(request.options["seed"])]
    count = 0
    while request.id not in cancelled and (question == "endless" or count < len(words)):
        word = words[count % len(words)]
        token = TokenInfo(
            id=sum(map(ord, word)), kind="text", text=f" {word}", label=f" {word}", logprob=-0.7,
            alternatives=OTHERS,
        )  # fmt: skip
        send(Tokens(id=request.id, tokens=(token,)))
        count += 1
        if question == "endless":
            time.sleep(0.002)
    reason = "cancelled" if request.id in cancelled else "stop"
    facts = {"num_context": count, "first_seconds": 0.01, "seconds": 0.0}
    send(Finished(id=request.id, reason=reason, num_tokens=count, seed=request.options["seed"], **facts))


class Pair:
    """Which checkpoint is loaded."""

    path = ""

    def obey(self, request: Request, cancelled: set[int]) -> None:
        if isinstance(request, Load):
            if "missing" in request.path:
                send(Failed(id=request.id, message=f"{request.path}: [b]is not there"))
                return
            self.path = request.path
            facts = {"num_parameters": 4_500_000, "context": 128, "vocab_size": 300, "cache_bytes": 1}
            send(Loaded(id=request.id, path=request.path, **facts, device="cpu", dtype="float32"))
        elif isinstance(request, Generate):
            write(request, self.path, cancelled)


if __name__ == "__main__":
    serve(Pair().obey)
