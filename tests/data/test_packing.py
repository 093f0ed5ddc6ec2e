"""Packing of documents: no token lost, none twice, every row begins with BOS, and the position is exact."""

import json
import time
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from picochat.data import packing
from picochat.data.packing import PackedDocuments
from picochat.data.shards import TokenShards
from picochat.errors import UserError

BOS = 60_000


def corpus(lengths: list[int], fingerprint: str = "corpus") -> TokenShards:
    """Documents of these lengths in which every token is another: it can be seen where each one went."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tokens = np.arange(offsets[-1]).astype(np.uint16)
    return TokenShards(tokens, offsets, num_bytes=int(offsets[-1]), fingerprint=fingerprint)


def pack(lengths: list[int], **options) -> PackedDocuments:
    options = {"bos_id": BOS, "batch_size": 1, "seq_len": 8, "seed": 0} | options
    return PackedDocuments(corpus(lengths), **options)


LENGTHS = st.lists(st.integers(0, 40), min_size=1, max_size=40).filter(any)


@given(LENGTHS, st.integers(1, 24), st.integers(0, 3), st.sampled_from([1, 2, 5, 256]))
@settings(max_examples=200)
def test_every_token_stands_once_per_epoch_and_is_a_target_there(lengths, seq_len, seed, look_ahead):
    num_epochs = 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "LOOK_AHEAD", look_ahead)
        source = pack(lengths, seq_len=seq_len, seed=seed)
        inputs, targets, last = [], [], []
        while source.epoch < num_epochs:
            batch = next(source)
            assert batch.ids_BT.shape == batch.targets_BT.shape == (1, seq_len)
            assert batch.ids_BT.dtype == batch.targets_BT.dtype == torch.int64
            assert batch.ids_BT[0, 0] == BOS
            assert torch.equal(batch.ids_BT[:, 1:], batch.targets_BT[:, :-1])
            inputs += batch.ids_BT[0].tolist()
            targets += batch.targets_BT[0].tolist()
            last.append(int(batch.targets_BT[0, -1]))
    token_targets = [token for token in targets if token != BOS]
    num_tokens = sum(lengths)
    assert len(token_targets) >= num_epochs * num_tokens
    for start in range(0, len(token_targets), num_tokens):
        epoch = token_targets[start : start + num_tokens]
        assert len(set(epoch)) == len(epoch)  # that is all of them, but for the epoch that has just begun
    # A token is an input too unless it is the last of its row.
    never_input = Counter(token for token in last if token != BOS)
    assert Counter(token for token in inputs if token != BOS) == Counter(token_targets) - never_input


@given(LENGTHS, st.integers(1, 24))
@settings(max_examples=100)
def test_pieces_begin_with_bos_and_are_cut_only_at_the_end_of_a_row(lengths, seq_len):
    source = pack(lengths, seq_len=seq_len)
    starts = set(source.shards.offsets_M.tolist())
    cut_at: set[int] = set()
    for _ in range(20):
        batch = next(source)
        row = [*batch.ids_BT[0].tolist(), int(batch.targets_BT[0, -1])]
        for before, token in pairwise(row):
            if token == BOS:
                # The piece before it went to its document's end.
                assert before != BOS
                assert before + 1 in starts
            elif before == BOS:
                assert token in starts | cut_at
            else:
                assert token == before + 1
        if row[-1] != BOS and row[-1] + 1 not in starts:
            cut_at.add(row[-1] + 1)


def test_the_longest_piece_that_fits_is_taken_and_the_longest_of_all_cut():
    source = pack([3, 9, 6, 20], seq_len=9)  # rows of 10
    rows = [next(source).ids_BT[0].tolist() for _ in range(3)]
    assert rows[0] == [BOS, *range(3, 12)][:9]  # the 9 fill a row
    assert rows[1] == [
        BOS,
        *range(12, 18),
        BOS,
        18,
    ]  # the 6; no piece of 1 or 2 fits, 2 of the 20 are cut off
    assert rows[2] == [
        BOS,
        *range(3),
        BOS,
        *range(20, 24),
    ]  # the 3; then 5 more of the rest, the last a target


def test_look_ahead_cuts_far_fewer_documents_than_concatenation():
    lengths = np.random.default_rng(0).integers(5, 120, size=4000)
    source = pack(lengths.tolist(), seq_len=128)
    num_rows = num_bos = 0
    while source.epoch == 0:
        num_bos += 1 + int((next(source).targets_BT == BOS).sum())
        num_rows += 1
    cut_by_packing = num_bos - len(lengths)
    ends = np.cumsum(lengths + 1)
    cut_by_concatenation = int((ends % 129 != 0).sum() - (np.diff(ends // 129, prepend=0) == 0).sum())
    assert num_rows == pytest.approx((lengths.sum() + num_bos) / 129, abs=2), "a row holds padding"
    assert cut_by_packing < 0.55 * cut_by_concatenation


@given(LENGTHS, st.integers(1, 24), st.integers(1, 3), st.integers(0, 25), st.sampled_from([2, 256]))
@settings(max_examples=100)
def test_a_restored_position_gives_the_identical_stream(lengths, seq_len, batch_size, num_before, look_ahead):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "LOOK_AHEAD", look_ahead)
        source = pack(lengths, seq_len=seq_len, batch_size=batch_size)
        for _ in range(num_before):
            next(source)
        state = json.loads(json.dumps(source.state_dict()))
        restored = pack(lengths, seq_len=seq_len, batch_size=batch_size)
        next(restored)
        restored.load_state_dict(state)
        for _ in range(12):
            assert torch.equal(next(source).ids_BT, next(restored).ids_BT)
            assert source.epoch == restored.epoch
        assert source.state_dict() == restored.state_dict()


def test_the_state_is_small_whatever_the_corpus():
    source = pack([5] * 12_000, batch_size=16)
    next(source)
    assert len(json.dumps(source.state_dict())) < 10_000


def test_the_order_is_by_seed_and_epoch():
    def epochs(seed: int) -> list[list[int]]:
        source = pack([9] * 600, seq_len=9, seed=seed)
        return [[int(next(source).ids_BT[0, 1]) for _ in range(600)] for _ in range(2)]

    first, second = epochs(seed=1)
    assert first != second
    assert sorted(first) == sorted(second)
    assert [first, second] == epochs(seed=1)
    assert first != epochs(seed=2)[0]


def test_other_data_or_another_seed_is_refused():
    state = pack([5, 5]).state_dict()
    other = PackedDocuments(corpus([5, 5], "other"), bos_id=BOS, batch_size=1, seq_len=8, seed=0)
    with pytest.raises(UserError, match="not the one this run began with"):
        other.load_state_dict(state)
    with pytest.raises(UserError, match="began with --seed 0, not 1"):
        pack([5, 5], seed=1).load_state_dict(state)


def test_a_corpus_without_tokens_is_refused():
    with pytest.raises(UserError, match="no token"):
        pack([0, 0])


def test_packing_is_fast():
    generator = np.random.default_rng(0)
    lengths = generator.integers(100, 400, size=20_000)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    shards = TokenShards(np.zeros(offsets[-1], np.uint16), offsets, num_bytes=1, fingerprint="x")
    source = PackedDocuments(shards, bos_id=BOS, batch_size=32, seq_len=512, seed=0)
    start = time.process_time()
    for _ in range(60):
        next(source)
    rate = 60 * 32 * 512 / (time.process_time() - start)
    assert rate > 2e6, f"{rate:.3g} tokens/s"
