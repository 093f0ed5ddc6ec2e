"""A look at a model: the numbers are those of the model's own outputs."""

import math

import numpy as np
import pytest
import torch

from picochat.eval.look import look_at
from picochat.model.config import ModelConfig
from picochat.model.gpt import GPT
from picochat.model.init import initialize
from picochat.tokenizer.tokenizer import Tokenizer

TOKENIZER = Tokenizer.from_merges([], 272)


@pytest.fixture(scope="module")
def model() -> GPT:
    config = ModelConfig(sequence_len=16, vocab_size=272, n_layer=3, n_head=4, n_kv_head=2, n_embd=64)
    model = GPT(config)
    initialize(model, seed=0)
    with torch.no_grad():  # else all layers give the same, for they begin by adding nothing
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.2)
    return model


def test_the_numbers_are_the_models(model: GPT):
    look = look_at(model, TOKENIZER, "a b", step=7)
    ids = [256, *b"a b"]
    assert look.tokens == ["<|bos|>", "a", "·", "b"]
    assert (look.step, look.num_layers, look.num_heads) == (7, 3, 4)
    logits_TV = model(torch.tensor([ids]))[0].detach()
    probs_TV = logits_TV.softmax(-1)
    assert math.isnan(look.loss_T[0])
    for t in range(1, 4):
        assert look.loss_T[t] == pytest.approx(-math.log(probs_TV[t - 1, ids[t]]), rel=1e-4)
    np.testing.assert_allclose(look.attention_LHTT.sum(-1), 1, rtol=1e-5)
    assert not np.triu(look.attention_LHTT, 1).any()
    best = probs_TV[-1].sort(descending=True)
    np.testing.assert_allclose(look.next_probs_K, best.values[:12], rtol=1e-5)
    assert look.next_tokens[0] == look_at(model, TOKENIZER, "a b").next_tokens[0]


def test_the_last_row_of_the_lens_is_the_answer(model: GPT):
    look = look_at(model, TOKENIZER, "some text")
    assert len(look.lens_tokens_LT) == 4
    assert look.lens_probs_LT.shape == (4, len(look.tokens))
    assert look.lens_tokens_LT[-1][-1] == look.next_tokens[0]
    assert look.lens_probs_LT[-1, -1] == pytest.approx(look.next_probs_K[0], rel=1e-5)


def test_no_more_is_read_than_the_model_can(model: GPT):
    assert len(look_at(model, TOKENIZER, "x" * 99).tokens) == 16
    assert len(look_at(model, TOKENIZER, "x" * 99, max_tokens=5).tokens) == 5
    empty = look_at(model, TOKENIZER, "")
    assert empty.tokens == ["<|bos|>"]
    assert len(empty.next_tokens) == 12


def test_a_special_token_that_is_typed_is_text(model: GPT):
    look = look_at(model, TOKENIZER, "<|bos|>")
    assert look.tokens == ["<|bos|>", *"<|bos|>"]
