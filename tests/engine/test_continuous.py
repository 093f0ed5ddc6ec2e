"""Rows that join and leave a running batch against the same rows alone."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
import torch

from picochat.engine.continuous import ContinuousBatch
from picochat.engine.decode import Row
from picochat.engine.events import Completion, Done, Event
from picochat.engine.generate import Engine, SamplingOptions
from picochat.model.cache import KVCache

GREEDY = SamplingOptions(seed=0, temperature=0.0, max_tokens=20)
SAMPLED = SamplingOptions(seed=5, temperature=1.0, top_k=0, max_tokens=20)
PENALISED = SamplingOptions(
    seed=9, temperature=1.2, top_k=40, top_p=0.95, min_p=0.02, repetition_penalty=1.3, max_tokens=20
)
CALL = SamplingOptions(seed=3, temperature=0.9, max_tokens=25, stop=("e",))
TEXTS = ("a", "the hat and the mat", "12 and 34 more " * 4, "the", "the hat and the rat", "😀 naïve")


def prompt(engine: Engine, text: str, *, call: bool = False) -> list[int]:
    special, encode = engine.tokenizer.special, engine.tokenizer.encode
    ids = [special["<|bos|>"], special["<|user_start|>"], *encode(text), special["<|user_end|>"]]
    ids.append(special["<|assistant_start|>"])
    return (
        [*ids, special["<|tool_call_start|>"], *encode("1+1"), special["<|tool_call_end|>"]] if call else ids
    )


def alone(engine: Engine, row: Row) -> Completion:
    fresh = Engine(engine.model, engine.tokenizer)
    *_, done = fresh.generate(row.prompt_ids, row.options, num_logprobs=row.num_logprobs)
    assert isinstance(done, Done)
    return done.completion


def finish(batch: ContinuousBatch) -> list[tuple[Row, list[Event]]]:
    happened = []
    while not batch.is_idle:
        told = batch.step()
        assert len({row for row, _ in told}) == len(told), "a row is told of once a step"
        happened += told
    return happened


def check(engine: Engine, rows: Iterable[Row]) -> None:
    for row in rows:
        ours, theirs = row.state.completion, alone(engine, row)
        assert ours.ids == theirs.ids
        assert ours.parts == theirs.parts
        assert ours.finish_reason == theirs.finish_reason
        assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-5)
        for a, b in zip(ours.tokens, theirs.tokens, strict=True):
            assert [id for id, _ in a.alternatives] == [id for id, _ in b.alternatives]


@pytest.mark.parametrize("prompt_tokens", [3, 64])
@pytest.mark.parametrize("max_rows", [1, 3])
def test_rows_that_come_and_go_equal_the_same_rows_alone(engine: Engine, max_rows: int, prompt_tokens: int):
    batch = ContinuousBatch(engine, max_rows=max_rows, prompt_tokens=prompt_tokens)
    kinds = (GREEDY, SAMPLED, PENALISED, CALL)
    rows = [
        engine.new_row(
            prompt(engine, TEXTS[i % len(TEXTS)], call=options is CALL),
            replace(options, max_tokens=options.max_tokens - i),
            num_logprobs=i % 3,
        )
        for i, options in enumerate(kinds * 3)
    ]
    happened = []
    for row in rows:
        batch.add(row)
        # Newcomers meet mates that are in the middle of their answers.
        for _ in range(3):
            happened += batch.step()
            assert batch.num_active <= max_rows
    happened += finish(batch)
    check(engine, rows)
    for row in rows:
        events = [event for other, events in happened if other is row for event in events]
        assert isinstance(events[-1], Done)
        told = [token for event in events for token in event.tokens]
        assert told == row.state.tokens
    assert len({tuple(row.ids) for row in rows}) > len(TEXTS)


def test_memory_is_taken_once(engine: Engine):
    batch = ContinuousBatch(engine, max_rows=3)
    cache = batch._batch.cache
    addresses = set()
    for i in range(12):
        batch.add(engine.new_row(prompt(engine, TEXTS[i % 6]), replace(SAMPLED, seed=i)))
        batch.step()
        addresses.add(cache.keys_LBGCK.data_ptr())
    finish(batch)
    assert batch._batch.cache is cache
    assert len(addresses) == 1
    assert batch.num_bytes == cache.num_bytes * 4 // 3


def test_a_long_prompt_is_read_in_pieces_while_others_decode(engine: Engine):
    engine.forbidden += [engine.tokenizer.special[name] for name in ("<|assistant_end|>", "<|bos|>")]
    batch = ContinuousBatch(engine, max_rows=2, prompt_tokens=8)
    first = engine.new_row(prompt(engine, "a"), replace(SAMPLED, max_tokens=40))
    long = engine.new_row([66] * 41, SAMPLED)
    batch.add(first)
    batch.step()
    batch.add(long)
    for step in range(1, 5):
        assert [row for row, _ in batch.step()] == [first]
        assert len(long.pending) == 41 - 8 * step
    assert {row for row, _ in batch.step()} == {first, long}


def test_a_shared_beginning_is_read_once(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    widths = []
    forward = engine.model.forward

    def counting(ids_BT, **arguments):
        if ids_BT.shape[0] == 1:  # a prompt: four rows decode together
            widths.append(ids_BT.shape[1])
        return forward(ids_BT, **arguments)

    monkeypatch.setattr(engine.model, "forward", counting)
    batch = ContinuousBatch(engine, max_rows=4)
    ids = prompt(engine, "the hat and the mat")
    rows = [engine.new_row(ids, replace(SAMPLED, seed=i, max_tokens=1)) for i in range(3)]
    rows.append(engine.new_row([*ids[:-3], *ids[-2:]], replace(SAMPLED, max_tokens=1)))
    for row in rows:
        batch.add(row)
    finish(batch)
    assert widths == [len(ids) - 1, 1]
    monkeypatch.undo()
    check(engine, rows)


def test_cancelled_rows_leave_at_once_and_their_mates_go_on(engine: Engine):
    batch = ContinuousBatch(engine, max_rows=3)
    rows = [
        engine.new_row(prompt(engine, TEXTS[i % 6]), replace(PENALISED, seed=i, max_tokens=30))
        for i in range(6)
    ]
    for row in rows:
        batch.add(row)
    for _ in range(4):
        batch.step()
    gone = [rows[0], rows[1], rows[4]]
    happened = batch.cancel(gone)
    assert {row for row, _ in happened} == set(gone)
    assert all(events[-1].reason == "cancelled" for _, events in happened)
    assert (batch.num_active, batch.num_waiting) == (1, 2)
    assert batch.cancel(gone) == []
    finish(batch)
    check(engine, [rows[2], rows[3], rows[5]])
    batch.add(again := engine.new_row(rows[0].prompt_ids, rows[0].options))
    finish(batch)
    check(engine, [again])


def test_an_answer_that_is_over_before_it_begins(engine: Engine):
    ids = prompt(engine, "a", call=True)
    full = [ids[0]] * (engine.context - len(ids)) + ids
    row = engine.new_row(full, GREEDY)
    batch = ContinuousBatch(engine, max_rows=1)
    batch.add(row)
    ((other, events),) = batch.step()
    assert other is row
    assert events[-1].reason == "context"
    assert batch.is_idle


@pytest.mark.parametrize("prompt_tokens", [5, 64])
def test_prompts_are_scored_on_request(engine: Engine, prompt_tokens: int):
    batch = ContinuousBatch(engine, max_rows=2, prompt_tokens=prompt_tokens)
    ids = prompt(engine, "12 and 34 more of the hat")
    for _ in range(2):  # the second time the reader holds the prompt already
        row = engine.new_row(ids, replace(GREEDY, max_tokens=1), num_logprobs=2, score_prompt=True)
        batch.add(row)
        finish(batch)
        assert row.scored_prompt is not None
        assert [token.id for token in row.scored_prompt] == ids[1:]
        logprobs_TV = engine.model(torch.tensor([ids[:-1]]))[0].log_softmax(-1)
        expected = logprobs_TV.gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
        ours = torch.tensor([token.logprob for token in row.scored_prompt])
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)
        best = [token.alternatives[0][0] for token in row.scored_prompt]
        assert best == logprobs_TV.argmax(-1).tolist()
    check(engine, [row])


def test_rows_of_a_cache_move_into_gaps(engine: Engine):
    config = engine.model.config
    cache = KVCache(config, batch_size=0, max_rows=4, capacity=8)
    assert cache.batch_size == 0
    for number in range(1, 5):
        one = KVCache(config, capacity=6)
        one.keys_LBGCK.fill_(number)
        one.values_LBGCK.fill_(-number)
        one.advance([number])
        cache.append(one)
    assert cache.lengths == [1, 2, 3, 4]
    assert cache.drop([0, 2]) == [3, 1]
    assert cache.lengths == [4, 2]
    for row, number in ((0, 4), (1, 2)):
        assert (cache.keys_LBGCK[:, row, :, :number] == number).all()
        assert (cache.values_LBGCK[:, row, :, :number] == -number).all()
    assert cache.drop([]) == [0, 1]
    assert cache.drop([0, 1]) == []
    assert cache.max_rows == 4
