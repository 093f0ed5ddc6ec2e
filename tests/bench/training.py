"""Training steps: ours with each set of kernels, and a Hugging Face Llama of the same shape."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from picochat.kernels.memory import keep_large_buffers
from picochat.model.config import ModelConfig
from picochat.model.gpt import GPT
from picochat.model.init import initialize
from picochat.optim.groups import GroupedOptimizer, build_groups
from picochat.optim.options import OptimizerOptions
from picochat.optim.schedule import Schedule
from picochat.train.device import pick_dtype, prepare_training
from picochat.train.trainer import CrossEntropy, Trainer
from tests.bench.cases import Repeat, Settings
from tests.bench.models import SameBatch

CPU = torch.device("cpu")


def step(settings: Settings, kernels: str, depth: str, rows: str, length: str, vocab_size: str) -> Repeat:
    """Return a training step of our model as `picochat pretrain` makes it; plain is float32 throughout."""
    B, T, V = int(rows), int(length), int(vocab_size)
    model = GPT(ModelConfig.from_depth(int(depth), vocab_size=V, sequence_len=T))
    initialize(model, seed=0)
    prepare_training(CPU, kernels)
    dtype = torch.float32 if kernels == "plain" else pick_dtype("auto", CPU)
    model.compute_dtype, model.kernels = dtype, kernels
    groups = build_groups(model, OptimizerOptions())
    optimizer = GroupedOptimizer(groups, dtype=dtype, kernels=kernels)
    schedule = Schedule(steps=10**6)
    trainer = Trainer(
        model, optimizer, schedule, SameBatch(B, T, V), CrossEntropy(), clip=1.0, measure_every=10**6
    )
    trainer.step = 1  # the step that measures the size of the updates is not the usual one

    def repeat() -> float:
        next(trainer)
        return B * T

    return repeat


def llama(depth: int, length: int, vocab_size: int) -> LlamaForCausalLM:
    """Return a Llama of our width, heads and MLP (which has three matrices there, so it is made narrower)."""
    ours = ModelConfig.from_depth(depth, vocab_size=vocab_size, sequence_len=length)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=ours.n_embd,
        intermediate_size=8 * ours.n_embd // 3,
        num_hidden_layers=depth,
        num_attention_heads=ours.n_head,
        num_key_value_heads=ours.n_kv_head,
        max_position_embeddings=max(length, 1024),
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=None,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config)


def hugging_face(
    settings: Settings, allocator: str, depth: str, rows: str, length: str, vocab_size: str
) -> Repeat:
    """Return a training step of that Llama with fused AdamW, under bfloat16 autocast where that is native."""
    B, T, V = int(rows), int(length), int(vocab_size)
    if allocator == "kept":
        keep_large_buffers()
    model = llama(int(depth), T, V)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    ids_BT = SameBatch(B, T, V).batch.ids_BT
    autocasts = pick_dtype("auto", CPU) == torch.bfloat16

    def repeat() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocasts):
            loss = model(input_ids=ids_BT, labels=ids_BT).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return B * T

    return repeat


def product(settings: Settings) -> Repeat:
    """Return a large matrix product in the dtype that training computes in, by the library that it uses."""
    prepare_training(CPU)
    size = 1024 if settings.quick else 2048
    a = torch.randn(size, size).to(pick_dtype("auto", CPU))
    out = torch.empty_like(a)

    def repeat() -> float:
        for _ in range(4):
            torch.mm(a, a, out=out)
        return 4 * 2 * size**3

    return repeat
