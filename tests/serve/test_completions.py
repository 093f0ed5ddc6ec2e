"""Raw completions: prompts of all kinds, log-probabilities, echo, as lm-evaluation-harness asks for them."""

from typing import Any

import pytest
import torch
from starlette.testclient import TestClient

from picochat.serve.models import Served
from picochat.tokenizer.special import SPECIAL_TOKENS
from tests.serve.test_chat import stream

ROUTE = "/v1/completions"


def ask(client: TestClient, **fields: Any) -> Any:
    response = client.post(ROUTE, json=fields)
    assert response.status_code == 200, response.text
    return response.json()


def logprobs_of(models: dict[str, Served], ids: list[int]) -> torch.Tensor:
    """Return what the full forward pass says of ids[1:]."""
    logprobs_TV = models["tiny"].engine.model(torch.tensor([ids[:-1]]))[0].log_softmax(-1)
    return logprobs_TV.gather(1, torch.tensor(ids[1:])[:, None])[:, 0]


def test_a_text_is_gone_on_with(client: TestClient, models: dict[str, Served]):
    answer = ask(client, prompt="the cat", seed=3)
    assert answer["object"] == "text_completion"
    assert answer["usage"]["prompt_tokens"] == 1 + len(models["tiny"].engine.tokenizer.encode("the cat"))
    assert answer["usage"]["completion_tokens"] == 16
    (choice,) = answer["choices"]
    assert choice["logprobs"] is None
    assert choice["finish_reason"] == "length"
    chunks = stream(client, ROUTE, prompt="the cat", seed=3)
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == choice["text"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"


def test_prompts_of_all_kinds(client: TestClient, models: dict[str, Served]):
    tokenizer = models["tiny"].engine.tokenizer
    ids = [tokenizer.special["<|bos|>"], *tokenizer.encode("the cat")]
    fields = {"temperature": 0, "max_tokens": 6}
    expected = ask(client, prompt="the cat", **fields)["choices"][0]["text"]
    assert ask(client, prompt=ids, **fields)["choices"][0]["text"] == expected
    choices = ask(client, prompt=["the cat", "the mat"], n=2, **fields)["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2, 3]
    assert choices[0]["text"] == choices[1]["text"] == expected
    other = ask(client, prompt="the mat", **fields)["choices"][0]["text"]
    assert choices[2]["text"] == choices[3]["text"] == other
    assert [c["text"] for c in ask(client, prompt=[ids, ids], **fields)["choices"]] == [expected] * 2


def test_a_text_that_spells_a_special_is_text(client: TestClient, models: dict[str, Served]):
    tokenizer = models["tiny"].engine.tokenizer
    for special in SPECIAL_TOKENS:
        text = f"the {special}cat"
        answer = ask(client, prompt=text, echo=True, logprobs=0, max_tokens=1, temperature=0)
        ids = tokenizer.encode(text)
        assert not any(map(tokenizer.is_special, ids))
        assert answer["usage"]["prompt_tokens"] == 1 + len(ids)
        assert answer["choices"][0]["logprobs"]["tokens"][:-1] == [tokenizer.decode([id]) for id in ids]


@pytest.mark.parametrize("is_text", [True, False])
def test_echo_scores_the_prompt(client: TestClient, models: dict[str, Served], is_text: bool):
    tokenizer = models["tiny"].engine.tokenizer
    ids = [tokenizer.special["<|bos|>"], *tokenizer.encode("the hat and 12 of the 😀")]
    prompt = "the hat and 12 of the 😀" if is_text else ids
    answer = ask(client, prompt=prompt, echo=True, logprobs=2, max_tokens=1, temperature=0)
    (choice,) = answer["choices"]
    told = choice["logprobs"]
    assert {len(values) for values in told.values()} == {len(ids) + (0 if is_text else 1)}
    # What lm-evaluation-harness reads: all but the token that was generated.
    scores = told["token_logprobs"][:-1]
    if not is_text:
        assert scores.pop(0) is None
        assert told["top_logprobs"][0] is None
        assert choice["text"].startswith("<|bos|>the hat")
    torch.testing.assert_close(torch.tensor(scores), logprobs_of(models, ids), atol=1e-5, rtol=0)
    for token, score, top in list(
        zip(told["tokens"], told["token_logprobs"], told["top_logprobs"], strict=True)
    )[1:]:
        assert top[token] == score
        assert len(top) in (2, 3)
    assert choice["text"].removeprefix("<|bos|>").startswith("the hat and 12 of the 😀")
    streamed = stream(client, ROUTE, prompt=prompt, echo=True, logprobs=2, max_tokens=1, temperature=0)
    parts = [chunk["choices"][0] for chunk in streamed]
    assert "".join(part["text"] for part in parts) == choice["text"]
    assert [token for part in parts if part["logprobs"] for token in part["logprobs"]["tokens"]] == told[
        "tokens"
    ]


def test_only_the_prompt(client: TestClient, models: dict[str, Served]):
    answer = ask(client, prompt="the cat", echo=True, logprobs=0, max_tokens=0)
    (choice,) = answer["choices"]
    assert choice["text"] == "the cat"
    assert answer["usage"]["completion_tokens"] == 0
    assert len(choice["logprobs"]["tokens"]) == len(models["tiny"].engine.tokenizer.encode("the cat"))


def test_offsets_point_into_the_text(client: TestClient):
    choice = ask(client, prompt="the cat", echo=True, logprobs=0, seed=1, max_tokens=8, temperature=0.3)[
        "choices"
    ][0]
    told = choice["logprobs"]
    for token, offset in zip(told["tokens"], told["text_offset"], strict=True):
        if not token.startswith(("bytes:", "<|")):
            assert choice["text"][offset:].startswith(token)


def test_several_prompts_are_bounded(client: TestClient):
    response = client.post(ROUTE, json={"prompt": ["a"] * 3, "n": 3})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "n"
