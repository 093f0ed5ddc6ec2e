"""Bits per byte: exact on models whose probabilities are known, the same for any batch size and window."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from picochat.data.batch import IGNORE
from picochat.errors import UserError
from picochat.eval.bpb import BitsPerByte, bits_per_byte
from picochat.model.config import ModelConfig
from picochat.model.gpt import GPT
from picochat.tokenizer.tokenizer import Tokenizer

TOKENIZER = Tokenizer.from_merges([(ord("a"), ord("b")), (256, ord("c"))], 256 + 2 + 16)
BOS = TOKENIZER.special["<|bos|>"]
V = TOKENIZER.vocab_size


class Rigged:
    """Gives each token the loss that `rule(ids before it, token)` says."""

    device = torch.device("cpu")

    def __init__(self, rule):
        self.rule = rule
        self.scored: list[tuple[tuple[int, ...], int]] = []

    def loss_per_token(self, ids_BT: torch.Tensor, targets_BT: torch.Tensor) -> torch.Tensor:
        loss_BT = torch.zeros(ids_BT.shape)
        for b, t in (targets_BT != IGNORE).nonzero().tolist():
            before, target = tuple(ids_BT[b, : t + 1].tolist()), int(targets_BT[b, t])
            self.scored.append((before, target))
            loss_BT[b, t] = self.rule(before, target)
        return loss_BT


def measure(model, documents, *, seq_len=8, batch_size=3) -> BitsPerByte:
    return bits_per_byte(model, documents, tokenizer=TOKENIZER, seq_len=seq_len, batch_size=batch_size)


def documents(*lengths: int) -> list[list[int]]:
    rng = np.random.default_rng(7)
    return [rng.integers(0, 258, size=length).tolist() for length in lengths]


def test_uniform_model_needs_log2_vocabulary_bits_per_token():
    texts = ["abcab", "c" * 40, "", "é", "ab" * 25]
    tokens = [TOKENIZER.encode(text) for text in texts]
    result = measure(Rigged(lambda before, target: math.log(V)), tokens)
    num_tokens = sum(map(len, tokens))
    num_bytes = sum(len(text.encode()) for text in texts)
    assert (result.tokens, result.bytes, result.documents) == (num_tokens, num_bytes, 5)
    assert result.bpb == pytest.approx(math.log2(V) * num_tokens / num_bytes, rel=1e-6)
    assert result.loss == pytest.approx(math.log(V), rel=1e-6)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.integers(1, 9), st.integers(1, 7))
def test_each_token_is_scored_once_from_bos_and_what_is_before_it(
    lengths: list[int], seq_len: int, batch_size: int
):
    texts = documents(*lengths)
    if not any(lengths):
        return
    model = Rigged(lambda before, target: 1.0)
    result = measure(model, texts, seq_len=seq_len, batch_size=batch_size)
    assert result.bits * math.log(2) == pytest.approx(sum(lengths), rel=1e-12)
    expected = []
    for text in texts:
        scored = 0
        while scored < len(
            text
        ):  # a window holds seq_len tokens: half of them known, but for the first window
            start = max(0, scored - seq_len // 2)
            stop = min(len(text), start + seq_len)
            expected += [((BOS, *text[start:i]), text[i]) for i in range(scored, stop)]
            scored = stop
    assert sorted(model.scored) == sorted(expected)
    assert all(len(before) <= seq_len for before, _ in model.scored)
    assert max(len(before) for before, _ in model.scored) >= min(seq_len, max(lengths))


def test_known_probabilities_sum_exactly():
    # 1 bit for a byte, 2 for a merged token, 1 more at the beginning of a document.
    rule = lambda before, target: (1 + (target >= 256) + (len(before) == 1)) * math.log(2)  # noqa: E731
    result = measure(Rigged(rule), [TOKENIZER.encode("abcx"), TOKENIZER.encode("yz")])
    assert result.bits == pytest.approx((2 + 1) + 1 + (1 + 1) + 1, rel=1e-6)
    assert result.bytes == 6


def tiny_model() -> GPT:
    torch.manual_seed(1)
    config = ModelConfig(sequence_len=16, vocab_size=V, n_layer=2, n_head=2, n_kv_head=1, n_embd=64)
    model = GPT(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def test_gpt_equals_the_definition_at_any_batch_size_and_order():
    model = tiny_model()
    texts = documents(5, 16, 3, 12, 1, 0, 9)
    nats = 0.0
    for text in texts:
        for i in range(len(text)):
            logits = model(torch.tensor([[BOS, *text[:i]]]))[0, -1].detach().double()
            nats -= logits.log_softmax(-1)[text[i]].item()
    for batch_size in range(1, 8):
        result = measure(model, texts, seq_len=16, batch_size=batch_size)
        assert result.bits == pytest.approx(nats / math.log(2), rel=1e-6)
    assert measure(model, texts[::-1], seq_len=16).bits == pytest.approx(nats / math.log(2), rel=1e-6)


@pytest.mark.parametrize("batch_size", range(1, 8))
def test_batch_size_changes_nothing(batch_size: int):
    rule = lambda before, target: ((sum(before) * 31 + target * 17) % 1009) / 128  # noqa: E731  exact in float32
    texts = documents(5, 40, 3, 17, 1, 0, 9, 100, 8)
    one = measure(Rigged(rule), texts, batch_size=1)
    many = measure(Rigged(rule), texts[::-1], batch_size=batch_size)
    assert many.bits == pytest.approx(one.bits, rel=1e-12)
    assert (many.bytes, many.tokens, many.documents) == (one.bytes, one.tokens, one.documents)


def test_shards_arrays_and_generators_are_documents():
    texts = documents(5, 20)

    class Shards:
        num_documents = 2

        def document(self, index: int) -> np.ndarray:
            return np.asarray(texts[index], dtype=np.uint16)

    model = tiny_model()
    expected = measure(model, texts)
    assert measure(model, Shards()) == expected
    assert measure(model, (np.asarray(text, dtype=np.uint16) for text in texts)) == expected


def test_weights_can_be_trained_after_measuring():
    model = tiny_model()
    measure(model, documents(30), seq_len=16)
    model(torch.tensor([[BOS, 1, 2]])).sum().backward()
    assert model.wte.weight.grad is not None


def test_progress_ends_at_all_tokens():
    seen: list[int] = []
    bits_per_byte(
        Rigged(lambda before, target: 1.0),
        documents(5, 40, 3),
        tokenizer=TOKENIZER,
        seq_len=8,
        batch_size=2,
        progress=seen.append,
    )
    assert seen == sorted(seen)
    assert seen[-1] == 48


def test_nothing_to_measure_is_a_user_error():
    with pytest.raises(UserError, match="no text"):
        measure(Rigged(lambda before, target: 1.0), [[], []])
