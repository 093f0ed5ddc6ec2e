"""The process that holds a model, spoken to over its pipes."""

import io
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from picochat.engine.chat import chat
from picochat.engine.events import Done, TextDelta
from picochat.engine.generate import Engine
from picochat.engine.protocol import (
    Cancel,
    Failed,
    Finished,
    Generate,
    Load,
    Loaded,
    Predict,
    Predicted,
    Reply,
    Request,
    Score,
    Scored,
    Shutdown,
    TokenInfo,
    Tokens,
    decode_reply,
    encode,
)
from picochat.engine.worker import Describer, Worker
from picochat.model.gpt import GPT
from picochat.tokenizer.tokenizer import Tokenizer
from picochat.train.checkpoint import save_checkpoint

QUESTION = [{"role": "user", "content": "the cat"}]
PATIENCE = 120.0
"""Seconds; a busy machine is slow to import torch."""
OPTIONS = {"seed": 3, "temperature": 1.0, "max_tokens": 12}


class Child:
    """A worker process."""

    def __init__(self, code: str = "from picochat.engine.worker import main; main()") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def send(self, request: Request) -> None:
        assert self.process.stdin
        self.process.stdin.write(encode(request))
        self.process.stdin.flush()

    def reply(self) -> Reply:
        assert self.process.stdout
        return decode_reply(self.process.stdout.readline())

    def until_finished(self) -> tuple[list[TokenInfo], Finished]:
        tokens: list[TokenInfo] = []
        while isinstance(reply := self.reply(), Tokens):
            tokens += reply.tokens
        assert isinstance(reply, Finished), reply
        return tokens, reply

    def close(self) -> int:
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        return self.process.wait(PATIENCE)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, model: GPT, tokenizer: Tokenizer) -> Path:
    path = tmp_path_factory.mktemp("worker") / "tiny"
    save_checkpoint(path, model=model, tokenizer=tokenizer)
    return path


@pytest.fixture(scope="module")
def child(checkpoint: Path) -> Iterator[Child]:
    child = Child()
    child.send(Load(id=1, path=str(checkpoint), device="cpu", dtype="float32"))
    loaded = child.reply()
    assert isinstance(loaded, Loaded), loaded
    assert (loaded.context, loaded.vocab_size) == (96, 300)
    yield child
    child.close()


def test_it_warms_up_while_nobody_waits(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When it has told that the model is there, and before it takes the first question."""
    told: list[object] = []
    monkeypatch.setattr(Engine, "warm_up", lambda engine: told.append(engine.context))
    worker = Worker(told.append)
    worker.read(io.BytesIO(encode(Load(id=0, path=str(checkpoint))) + encode(Shutdown(id=1))))
    worker.run()
    loaded, context = told
    assert isinstance(loaded, Loaded)
    assert context == loaded.context


def test_an_answer_is_the_librarys_own(child: Child, model: GPT, tokenizer: Tokenizer) -> None:
    expected = list(chat(model, tokenizer, QUESTION, **OPTIONS))
    child.send(Generate(id=7, messages=QUESTION, options=OPTIONS))
    tokens, finished = child.until_finished()
    done = expected[-1]
    assert isinstance(done, Done)
    assert [token.id for token in tokens] == done.completion.ids
    assert "".join(token.text for token in tokens) == done.completion.text
    assert (finished.id, finished.reason, finished.seed) == (7, done.reason, 3)
    assert finished.num_tokens == done.num_tokens
    assert 0 < finished.first_seconds <= finished.seconds
    assert all(len(token.alternatives) == 5 for token in tokens)
    for token in tokens:
        best = token.alternatives[0].logprob
        assert token.logprob <= best + 1e-3
        assert token.logprob == pytest.approx(done.completion.tokens[tokens.index(token)].logprob, abs=1e-3)


def test_a_prefix_is_gone_on_from(child: Child) -> None:
    """Greedy: the answer that begins with half of itself ends with the other half."""
    greedy = {**OPTIONS, "temperature": 0.0}
    child.send(Generate(id=8, messages=QUESTION, options=greedy))
    whole, _ = child.until_finished()
    half = [token.id for token in whole[:5]]
    child.send(Generate(id=9, messages=QUESTION, options={**greedy, "max_tokens": 7}, prefix_ids=half))
    rest, finished = child.until_finished()
    assert [*half, *(token.id for token in rest)] == [token.id for token in whole]
    assert finished.id == 9


def test_raw_text_is_completed(child: Child, model: GPT, tokenizer: Tokenizer) -> None:
    ids = torch.tensor([[tokenizer.special["<|bos|>"], *tokenizer.encode("the hat")]])
    best = int(model(ids)[0, -1].argmax())
    child.send(Generate(id=3, text="the hat", options={"temperature": 0.0, "max_tokens": 1}))
    tokens, finished = child.until_finished()
    assert tokens[0].alternatives[0].id == best
    assert finished.num_context == ids.shape[1] + 1


def test_a_cancelled_answer_ends_within_a_token(child: Child) -> None:
    child.send(Generate(id=20, text="a", options={**OPTIONS, "max_tokens": 90}))
    assert isinstance(child.reply(), Tokens)
    child.send(Cancel(id=21, target=20))
    _, finished = child.until_finished()
    assert finished.reason in ("cancelled", "stop")
    assert finished.num_tokens < 90


def test_an_answer_may_be_cancelled_before_it_begins(child: Child) -> None:
    child.send(Cancel(id=30, target=31))
    child.send(Generate(id=31, text="a", options=OPTIONS))
    tokens, finished = child.until_finished()
    assert (tokens, finished.reason, finished.num_tokens) == ([], "cancelled", 0)


def test_distribution_before_and_after_the_options(child: Child) -> None:
    child.send(Predict(id=4, messages=QUESTION, options={"top_k": 2, "temperature": 0.5}, count=4))
    predicted = child.reply()
    assert isinstance(predicted, Predicted)
    before = [token.before for token in predicted.tokens]
    after = [token.after for token in predicted.tokens]
    assert before == sorted(before, reverse=True)
    assert sum(after) == pytest.approx(1)
    assert sum(share > 0 for share in after) == 2
    ratio = (before[0] / before[1]) ** 2 if after[1] else math.inf
    assert after[0] / after[1] == pytest.approx(ratio, rel=1e-3)


def test_scores_of_a_text(child: Child, model: GPT, tokenizer: Tokenizer) -> None:
    text = "the rat 😀"
    ids = [tokenizer.special["<|bos|>"], *tokenizer.encode(text)]
    logprobs = model(torch.tensor([ids[:-1]]))[0].log_softmax(-1)
    child.send(Score(id=5, text=text))
    scored = child.reply()
    assert isinstance(scored, Scored)
    assert [token.id for token in scored.tokens] == ids[1:]
    assert "".join(token.text for token in scored.tokens) == text
    expected = [float(logprobs[i, id]) for i, id in enumerate(ids[1:])]
    assert [token.logprob for token in scored.tokens] == pytest.approx(expected, abs=1e-3)
    assert scored.nats == pytest.approx(-sum(expected), abs=1e-3)
    entropy = torch.distributions.Categorical(logits=logprobs).entropy().tolist()
    assert [token.entropy for token in scored.tokens] == pytest.approx(entropy, abs=1e-3)
    assert scored.num_bytes == len(text.encode())


def test_an_answer_is_scored_as_the_model_said_it(child: Child) -> None:
    child.send(Generate(id=6, messages=QUESTION, options=OPTIONS))
    said, _ = child.until_finished()
    child.send(Score(id=7, messages=QUESTION, ids=[token.id for token in said]))
    scored = child.reply()
    assert isinstance(scored, Scored)
    assert [token.id for token in scored.tokens] == [token.id for token in said]
    assert [token.text for token in scored.tokens] == [token.text for token in said]
    for one, other in zip(scored.tokens, said, strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=2e-3)
        assert one.entropy == pytest.approx(other.entropy, abs=2e-3)


def test_an_answer_the_user_wrote_is_scored_with_its_parts(child: Child, tokenizer: Tokenizer) -> None:
    parts = [
        {"type": "thinking", "text": "hm"},
        {"type": "tool_call", "text": "1+2"},
        {"type": "tool_result", "text": "3"},
        {"type": "text", "text": " the rat 😀"},
    ]
    child.send(Score(id=8, messages=[*QUESTION, {"role": "assistant", "content": parts}]))
    scored = child.reply()
    assert isinstance(scored, Scored)
    told = [
        {"type": kind, "text": "".join(token.text for token in scored.tokens if token.kind == kind)}
        for kind in ("thinking", "tool_call", "tool_result", "text")
    ]
    assert told == parts
    forced = {token.label for token in scored.tokens if token.forced}
    assert forced == {"<|tool_result_start|>", "3", "<|tool_result_end|>"}
    free = [token.logprob for token in scored.tokens if not token.forced]
    assert scored.nats == pytest.approx(-sum(free), abs=1e-3)
    child.send(Score(id=9, messages=QUESTION))
    assert isinstance(failed := child.reply(), Failed)
    assert "assistant" in failed.message


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Load(id=50, path="nowhere"), "nowhere"),
        (Generate(id=50, text="x", options={"temperature": -1}), "temperature"),
        (Generate(id=50, text="x", options={"heat": 1}), "heat"),
        (Generate(id=50, messages=[{"role": "cat"}]), "the conversation"),
        (Score(id=50, text="cat " * 200), "tokens"),
    ],
)
def test_a_mistake_is_one_line_and_the_process_goes_on(checkpoint, child, request_, words):
    child.send(request_)
    failed = child.reply()
    assert isinstance(failed, Failed)
    assert failed.id == 50
    assert words in failed.message
    assert "\n" not in failed.message
    child.send(Load(id=51, path=str(checkpoint)))
    assert isinstance(child.reply(), Loaded)


def test_lines_that_are_no_requests_are_refused(child: Child) -> None:
    assert child.process.stdin
    for line in (b"{\n", b"[]\n", b'{"type": "dance"}\n', b'{"type": "load", "id": 1, "speed": 2}\n'):
        child.process.stdin.write(line)
        child.process.stdin.flush()
        reply = child.reply()
        assert isinstance(reply, Failed)
        assert reply.id == -1


def test_stray_prints_do_not_break_the_protocol() -> None:
    code = (
        "import os\nfrom picochat.engine import worker\nload = worker.resolve_checkpoint\n"
        "def loud(*args):\n    print('print'); os.write(1, b'native\\n'); return load(*args)\n"
        "worker.resolve_checkpoint = loud\nworker.main()"
    )
    child = Child(code)
    child.send(Load(id=1, path="nowhere"))
    assert isinstance(child.reply(), Failed)
    child.send(Shutdown(id=2))
    out, err = child.process.communicate(timeout=PATIENCE)
    assert out == b""
    assert b"native" in err
    assert child.process.returncode == 0


def test_the_process_ends_with_its_input_even_while_it_works() -> None:
    code = (
        "import os, time\nfrom picochat.engine import worker\n"
        "def work(*args):\n    os.write(2, b'working\\n'); time.sleep(600)\n"
        "worker.resolve_checkpoint = work\nworker.main()"
    )
    child = Child(code)
    child.send(Load(id=1, path="x"))
    assert child.process.stderr
    assert child.process.stderr.readline() == b"working\n"
    assert child.close() == 0


def test_texts_cut_by_a_stop_string_stay_cut(tokenizer: Tokenizer) -> None:
    from picochat.engine.events import Token

    ids = tokenizer.encode("the cat")
    event = TextDelta("the c", tuple(Token(id) for id in ids))
    assert "".join(token.text for token in Describer(tokenizer).tokens(event)) == "the c"
