"""Decoding: ours by the compiled step, the same model in plain PyTorch, and Hugging Face's `generate`."""

import numpy as np
import torch

from picochat.kernels.compiled import compiled
from picochat.kernels.decode import next_logits
from picochat.kernels.memory import keep_large_buffers
from picochat.kernels.threads import in_parallel
from picochat.model.cache import KVCache
from picochat.model.config import ModelConfig
from tests.bench.cases import Repeat, Settings
from tests.bench.models import VOCAB_SIZE, make_model
from tests.bench.training import llama

PROMPT, ANSWER = 16, 48
"""Tokens read at once and decoded one by one."""


def greedy(settings: Settings, kernels: str, dtype: str, depth: str, rows: str) -> Repeat:
    """Return a greedy continuation of `rows` prompts."""
    model, B = make_model(int(depth), dtype), int(rows)
    model.kernels = kernels
    cache = KVCache(model.config, batch_size=B, capacity=PROMPT + ANSWER + 1, dtype=model.compute_dtype)
    prompt_BT = torch.randint(VOCAB_SIZE, (B, PROMPT))
    with torch.no_grad():
        first_B1 = model(prompt_BT, cache=cache, last_only=True)[:, 0].argmax(-1)[:, None]

    @torch.no_grad()
    def repeat() -> float:
        cache.truncate([PROMPT] * B)
        ids_B1 = first_B1
        for _ in range(ANSWER):
            ids_B1 = next_logits(model, ids_B1, cache).argmax(-1)[:, None]
        return B * ANSWER

    return repeat


def hugging_face(settings: Settings, dtype: str, depth: str) -> Repeat:
    """Return the same of a Llama of the same shape by `generate`; the prompt costs it next to nothing."""
    model = llama(int(depth), 256, VOCAB_SIZE).to(getattr(torch, dtype)).eval()
    prompt_1T = torch.randint(VOCAB_SIZE, (1, PROMPT))
    mask_1T = torch.ones_like(prompt_1T)

    @torch.no_grad()
    def repeat() -> float:
        out = model.generate(  # pyright: ignore[reportAttributeAccessIssue]
            prompt_1T, attention_mask=mask_1T, do_sample=False, min_new_tokens=ANSWER, max_new_tokens=ANSWER
        )
        return out.shape[1] - PROMPT

    return repeat


def read(settings: Settings, dtype: str, depth: str) -> Repeat:
    """Return one reading of the bytes that a decoded token needs, by loops on all threads."""
    config = ModelConfig.from_depth(int(depth), vocab_size=VOCAB_SIZE)
    block = (
        2 * config.n_embd**2 + 2 * config.n_embd * config.n_kv_head * config.head_dim + 8 * config.n_embd**2
    )
    num_weights = config.n_layer * block + VOCAB_SIZE * config.n_embd
    size = {"float32": 4, "bfloat16": 2, "int8": 1}[dtype]
    words = np.ones(num_weights * size // 8, dtype=np.int64)

    @compiled
    def total(words):
        s = np.int64(0)
        for i in range(words.size):
            s += words[i]
        return s

    def repeat() -> float:
        totals = []
        in_parallel(
            lambda first, last: totals.extend(total(words[first:last]) for _ in range(10)), words.size
        )
        assert sum(totals) == 10 * words.size
        return 10.0

    return repeat


def prefill(settings: Settings, logits: str) -> Repeat:
    """Return the reading of a prompt of 512 tokens, with the logits of its last position or of all."""
    keep_large_buffers()
    model = make_model(4, "float32", context=512)
    prompt_1T = torch.randint(VOCAB_SIZE, (1, 512))
    cache = KVCache(model.config)

    @torch.no_grad()
    def repeat() -> float:
        cache.truncate([0])
        model(prompt_1T, cache=cache, last_only=logits == "last")[0, -1].argmax().item()
        return 512

    return repeat
