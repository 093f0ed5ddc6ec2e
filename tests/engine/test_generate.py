"""The engine against the plain forward pass, batches against single streams, and the cache over turns."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
import torch

from picochat.engine.events import Done, Event, TextDelta, ToolResult
from picochat.engine.generate import Engine, SamplingOptions
from picochat.engine.sampler import distribution
from picochat.errors import UserError
from picochat.model.cache import KVCache
from picochat.model.config import ModelConfig
from picochat.model.gpt import GPT
from picochat.tokenizer.tokenizer import Tokenizer

SAMPLED = SamplingOptions(seed=5, temperature=1.0, top_k=0, max_tokens=60)
GREEDY = SamplingOptions(seed=0, temperature=0.0, max_tokens=60)
ALL = SamplingOptions(
    seed=9, temperature=1.2, top_k=40, top_p=0.95, min_p=0.02, repetition_penalty=1.2, max_tokens=60
)


def chat_prompt(tokenizer: Tokenizer, text: str, answer: str = "") -> list[int]:
    special = tokenizer.special
    ids = [special["<|bos|>"], special["<|user_start|>"], *tokenizer.encode(text), special["<|user_end|>"]]
    return [*ids, special["<|assistant_start|>"], *tokenizer.encode(answer)]


def told(events: Iterable[Event]) -> list[tuple]:
    """Events without their log-probabilities, which differ in the last digit by how the cache was filled."""
    fields = ("text", "expression", "reason")
    return [
        (type(event), *(getattr(event, name, None) for name in fields), [token.id for token in event.tokens])
        for event in events
    ]


def without_end(engine: Engine) -> Engine:
    """Let no answer end by itself, so that it is long enough to cross the window."""
    engine.forbidden += [engine.tokenizer.special[name] for name in ("<|assistant_end|>", "<|bos|>")]
    return engine


class Scripted(torch.nn.Module):
    """A model that says `script[n]` after n tokens, and remembers what it read."""

    def __init__(self, config: ModelConfig, script: list[int]) -> None:
        super().__init__()
        self.config = config
        self.script = script
        self.compute_dtype = torch.float32
        self.kernels = "plain"
        self.device = torch.device("cpu")
        self.read: list[list[int]] = []

    def forward(self, ids_BT, *, cache: KVCache, num_new=None, last_only=True):
        self.read += ids_BT.tolist()
        cache.advance(num_new or [ids_BT.shape[1]] * ids_BT.shape[0])
        assert max(cache.lengths) <= cache.capacity
        said = torch.tensor([self.script[min(n, len(self.script) - 1)] for n in cache.lengths])
        return 10.0 * torch.nn.functional.one_hot(said, self.config.vocab_size)[:, None].float()


def scripted(tokenizer: Tokenizer, prompt_ids: list[int], answer: list[int], context: int = 2000) -> Engine:
    config = ModelConfig.from_depth(1, vocab_size=tokenizer.vocab_size, sequence_len=context)
    return Engine(Scripted(config, prompt_ids + answer), tokenizer)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("options", [GREEDY, SAMPLED, ALL], ids=["greedy", "sampled", "all"])
def test_cached_decoding_equals_the_full_forward(engine: Engine, options: SamplingOptions) -> None:
    """At every position, on both sides of the window's border (48)."""
    prompt_ids = chat_prompt(engine.tokenizer, "the cat")
    done = list(without_end(engine).generate(prompt_ids, options))[-1]
    assert isinstance(done, Done)
    ids = done.completion.ids
    assert len(prompt_ids) + len(ids) > 60
    logits_TV = engine.model(torch.tensor([prompt_ids + ids]))[0, len(prompt_ids) - 1 : -1]
    rows = torch.arange(len(ids))
    raw = logits_TV.log_softmax(-1)[rows, ids]
    torch.testing.assert_close(torch.tensor(done.completion.logprobs), raw, atol=1e-5, rtol=0)
    tempered = (logits_TV / (options.temperature or 1.0)).log_softmax(-1)[rows, ids]
    torch.testing.assert_close(torch.tensor(done.completion.sampling_logprobs), tempered, atol=1e-5, rtol=0)
    if options is GREEDY:
        logits_TV[:, engine.forbidden] = -torch.inf
        assert logits_TV.argmax(-1).tolist() == ids


@pytest.mark.parametrize("options", [GREEDY, SAMPLED, ALL], ids=["greedy", "sampled", "all"])
def test_a_batch_equals_its_single_runs(engine: Engine, options: SamplingOptions) -> None:
    """Different prompts of different lengths, three samples each, some of which end early."""
    tokenizer = engine.tokenizer
    prompts = [chat_prompt(tokenizer, text) for text in ("a", "the hat and the mat", "12 and 34 more " * 3)]
    prompts.append(prompts[0])
    prompts.append(
        [*chat_prompt(tokenizer, "sum", "x"), tokenizer.special["<|tool_call_start|>"], 49, 43, 49]
    )
    prompts[-1].append(tokenizer.special["<|tool_call_end|>"])
    options = replace(options, stop=("e",))
    batch = engine.generate_batch(prompts, options, 3)
    assert [len(group) for group in batch] == [3] * len(prompts)
    lengths = {len(completion.ids) for group in batch for completion in group}
    assert len(lengths) > (1 if options.is_greedy else 3)
    for prompt_ids, group in zip(prompts, batch, strict=True):
        for j, completion in enumerate(group):
            assert options.seed is not None
            assert completion.seed == options.seed + j
            *_, done = Engine(engine.model, tokenizer).generate(
                prompt_ids, replace(options, seed=completion.seed)
            )
            assert isinstance(done, Done)
            assert done.completion.ids == completion.ids
            assert done.completion.parts == completion.parts
            assert done.reason == completion.finish_reason
            assert completion.logprobs == pytest.approx(done.completion.logprobs, abs=1e-5)
    if not options.is_greedy:
        assert len({tuple(completion.ids) for completion in batch[0]}) == 3


def test_answers_up_to_the_end_of_the_context(engine: Engine) -> None:
    """Rows meet the end at different steps; the last token is the one after a full context."""
    without_end(engine)
    tokenizer = engine.tokenizer
    prompts = [[tokenizer.special["<|bos|>"]] * n for n in (engine.context, engine.context - 1, 80)]
    options = replace(SAMPLED, max_tokens=1000)
    batch = engine.generate_batch(prompts, options)
    for prompt_ids, (completion,) in zip(prompts, batch, strict=True):
        assert completion.finish_reason == "context"
        assert len(prompt_ids) + len(completion.ids) == engine.context + 1
        *_, done = engine.generate(prompt_ids, options)
        assert isinstance(done, Done)
        assert done.completion.ids == completion.ids
    with pytest.raises(UserError, match="context holds 96"):
        engine.generate([0] * (engine.context + 1))


def test_the_cache_is_used_over_turns(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt_ids = chat_prompt(engine.tokenizer, "the cat and the hat")
    *_, done = engine.generate(prompt_ids, replace(SAMPLED, max_tokens=10))
    assert isinstance(done, Done)
    longer = prompt_ids + done.completion.ids + engine.tokenizer.encode(" mat")
    fresh = Engine(engine.model, engine.tokenizer)
    num_read: list[int] = []
    forward: Callable = engine.model.forward

    def counting(ids_BT, **arguments):
        num_read.append(ids_BT.shape[1])
        return forward(ids_BT, **arguments)

    engine.model.kernels = "plain"  # the compiled step calls no layer
    monkeypatch.setattr(engine.model, "forward", counting)
    again = told(engine.generate(longer, SAMPLED))
    # All but the answer's last token, which was never read, was in the cache.
    assert num_read[0] == len(longer) - len(prompt_ids) - 9
    assert again == told(fresh.generate(longer, SAMPLED))
    # Asking for the same again reads the last token only; a shorter prompt is cut off.
    num_read.clear()
    assert told(engine.generate(longer, SAMPLED)) == again
    assert num_read[0] == 1
    assert told(engine.generate(prompt_ids, SAMPLED)) == told(fresh.generate(prompt_ids, SAMPLED))


@pytest.mark.parametrize("how", ["cancel", "close", "drop", "interrupt"])
def test_a_stopped_generation_leaves_the_cache_right(
    engine: Engine, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt_ids = chat_prompt(engine.tokenizer, "the cat")
    wanted = list(Engine(engine.model, engine.tokenizer).generate(prompt_ids, SAMPLED))
    generation = engine.generate(prompt_ids, SAMPLED)
    begun = [next(generation) for _ in range(4)]
    assert told(begun) == told(wanted[:4])
    if how == "cancel":
        generation.cancel()
        (done,) = generation
        assert isinstance(done, Done)
        assert done.reason == "cancelled"
        assert done.completion.text == "".join(e.text for e in begun if isinstance(e, TextDelta))
    elif how == "close":
        generation.close()
        assert list(generation) == []
        assert generation.completion.finish_reason == "cancelled"
    elif how == "interrupt":

        def interrupted(*args, **arguments):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(engine.model, "kernels", "plain")  # the compiled step calls no layer
            patch.setattr(engine.model.h[1].mlp, "forward", interrupted)
            with pytest.raises(KeyboardInterrupt):
                list(generation)
    assert told(engine.generate(prompt_ids, SAMPLED)) == told(wanted)


def test_a_new_generation_ends_the_old_one(engine: Engine) -> None:
    prompt_ids = chat_prompt(engine.tokenizer, "the cat")
    old = engine.generate(prompt_ids, SAMPLED)
    next(old)
    new = engine.generate(prompt_ids, SAMPLED)
    rest = list(old)
    assert [type(event) for event in rest] == [Done]
    assert rest[0].reason == "cancelled"
    assert told(new) == told(Engine(engine.model, engine.tokenizer).generate(prompt_ids, SAMPLED))


def test_next_logits_and_generations_share_the_cache(engine: Engine) -> None:
    prompt_ids = chat_prompt(engine.tokenizer, "the cat and the hat")
    wanted = list(Engine(engine.model, engine.tokenizer).generate(prompt_ids, GREEDY))
    for length in (len(prompt_ids), 3, len(prompt_ids)):
        full_V = engine.model(torch.tensor([prompt_ids[:length]]))[0, -1]
        torch.testing.assert_close(engine.next_logits(prompt_ids[:length]), full_V, atol=1e-5, rtol=0)
    assert list(engine.generate(prompt_ids, GREEDY))[-1].completion.ids == wanted[-1].completion.ids
    first = distribution(engine.next_logits(prompt_ids), GREEDY, forbidden=engine.forbidden)
    assert first.ids[first.after.index(1.0)] == wanted[-1].completion.ids[0]


def test_new_weights_need_forget(tokenizer: Tokenizer) -> None:
    model = GPT(ModelConfig.from_depth(1, vocab_size=tokenizer.vocab_size, sequence_len=32))
    engine = Engine(model.requires_grad_(False), tokenizer)
    prompt_ids = chat_prompt(tokenizer, "the cat")
    list(engine.generate(prompt_ids, GREEDY))
    for parameter in model.parameters():
        parameter.mul_(-1.5)
    engine.forget()
    fresh = Engine(model, tokenizer)
    assert told(engine.generate(prompt_ids, GREEDY)) == told(fresh.generate(prompt_ids, GREEDY))


def test_tool_results_are_read_by_the_model(tokenizer: Tokenizer) -> None:
    special = tokenizer.special
    prompt_ids = chat_prompt(tokenizer, "sum?")
    call = [special["<|tool_call_start|>"], *tokenizer.encode("12+30"), special["<|tool_call_end|>"]]
    result = [special["<|tool_result_start|>"], *tokenizer.encode("42"), special["<|tool_result_end|>"]]
    rest = [*tokenizer.encode("It is 42."), special["<|assistant_end|>"]]
    engine = scripted(tokenizer, prompt_ids, call + result + rest)
    events = list(engine.generate(prompt_ids, GREEDY))
    assert [event.text for event in events if isinstance(event, ToolResult)] == ["42"]
    (done,) = (event for event in events if isinstance(event, Done))
    assert done.completion.text == "It is 42."
    assert done.completion.ids == call + result + rest
    assert done.completion.forced == [False] * len(call) + [True] * len(result) + [False] * len(rest)
    assert done.num_tokens == len(call) + len(rest)
    read = engine.model.read  # pyright: ignore[reportAttributeAccessIssue]
    assert [id for ids in read for id in ids] == prompt_ids + call + result + rest[:-1]
    # The whole result is read in one step.
    assert [call[-1], *result] in read


def test_a_batch_grows_its_cache_for_long_tool_results(tokenizer: Tokenizer) -> None:
    special = tokenizer.special
    call = [special["<|tool_call_start|>"], *tokenizer.encode("2**200"), special["<|tool_call_end|>"]]
    value = tokenizer.encode(str(2**200))
    result = [special["<|tool_result_start|>"], *value, special["<|tool_result_end|>"]]
    prompts = [chat_prompt(tokenizer, "a"), chat_prompt(tokenizer, "b")]
    answer = (call + result) * 5 + [special["<|assistant_end|>"]]
    engine = scripted(tokenizer, prompts[0], answer)
    for (completion,) in engine.generate_batch(prompts, GREEDY):
        assert completion.ids == answer
        assert completion.tool_results == [str(2**200)] * 5


def test_alternatives_on_request(engine: Engine) -> None:
    prompt_ids = chat_prompt(engine.tokenizer, "the cat")
    *_, done = engine.generate(prompt_ids, replace(GREEDY, max_tokens=5), num_logprobs=3)
    assert isinstance(done, Done)
    logits_TV = engine.model(torch.tensor([prompt_ids + done.completion.ids]))[0, len(prompt_ids) - 1 :]
    for token, logits_V in zip(done.completion.tokens, logits_TV, strict=False):
        values, ids = logits_V.log_softmax(-1).topk(3)
        assert [id for id, _ in token.alternatives] == ids.tolist()
        assert [logprob for _, logprob in token.alternatives] == pytest.approx(values.tolist(), abs=1e-5)
    *_, done = engine.generate(prompt_ids, GREEDY)
    assert not any(token.alternatives for token in done.tokens)


def test_forbidden_ids_are_never_sampled(engine: Engine) -> None:
    options = SamplingOptions(seed=0, temperature=100.0, top_k=0, max_tokens=90)
    prompt_ids = [engine.tokenizer.special["<|bos|>"]]
    (completions,) = engine.generate_batch([prompt_ids], options, 32)
    sampled = {t.id for completion in completions for t in completion.tokens if not t.forced}
    assert len(sampled) > 200
    assert not sampled & set(engine.forbidden)


def test_without_a_seed_answers_differ_and_can_be_told_again(engine: Engine) -> None:
    prompt_ids = chat_prompt(engine.tokenizer, "the cat")
    unseeded = replace(SAMPLED, seed=None)
    first, second = (engine.generate_batch([prompt_ids], unseeded)[0][0] for _ in range(2))
    assert first.ids != second.ids
    assert engine.generate_batch([prompt_ids], replace(unseeded, seed=first.seed))[0][0].ids == first.ids


@pytest.mark.parametrize(
    ("prompt_ids", "message"), [([], "empty"), ([0, 300], "vocabulary"), ([-1], "vocab")]
)
def test_bad_prompts_are_refused(engine: Engine, prompt_ids: list[int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        engine.generate(prompt_ids)
    with pytest.raises(UserError, match=message):
        engine.generate_batch([[0], prompt_ids])


def test_a_foreign_tokenizer_is_refused(model: GPT) -> None:
    with pytest.raises(UserError, match="272 ids and the model 300"):
        Engine(model, Tokenizer.from_merges([], 272))


def test_a_batch_of_nothing_is_nothing(engine: Engine) -> None:
    assert engine.generate_batch([], SAMPLED, 4) == []
