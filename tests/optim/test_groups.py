"""Which parameter is trained how, learning rates, saved state."""

import re

import pytest
import torch

from picochat.errors import UserError
from picochat.model.config import ModelConfig
from picochat.model.gpt import GPT
from picochat.model.init import initialize
from picochat.optim.groups import GroupedOptimizer, build_groups
from picochat.optim.options import DEFAULT_LR, OptimizerOptions


def small_model(depth: int = 2) -> GPT:
    model = GPT(ModelConfig(
        sequence_len=16, vocab_size=40, n_layer=depth, n_head=2, n_kv_head=1, n_embd=32,
    ))  # fmt: skip
    initialize(model, seed=0)
    return model


def set_grads(model: GPT, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize("depth", [1, 4])
def test_every_parameter_is_in_exactly_one_group(optimizer, depth: int):
    model = small_model(depth)
    groups = build_groups(model, OptimizerOptions(optimizer=optimizer))
    grouped = [name for group in groups for name in group.parameters]
    assert sorted(grouped) == sorted(name for name, _ in model.named_parameters())
    for group in groups:
        assert (group.kind == "muon") == (group.name == "matrices" and optimizer == "muon")
    muon = [p for group in groups if group.kind == "muon" for p in group.parameters.values()]
    assert all(parameter.ndim == 2 for parameter in muon)


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_lr_scales_every_group(optimizer):
    model = small_model()
    default, double = (
        {group.name: group.lr for group in build_groups(model, OptimizerOptions(optimizer=optimizer, lr=lr))}
        for lr in (None, 2 * DEFAULT_LR[optimizer])
    )
    assert default["matrices"] == DEFAULT_LR[optimizer]
    assert double == {name: pytest.approx(2 * lr) for name, lr in default.items()}


@pytest.mark.parametrize(
    ("option", "name"), [("embedding_lr", "embedding"), ("head_lr", "head"), ("scalar_lr", "scalars")]
)
def test_each_option_scales_its_group(option: str, name: str):
    model = small_model()
    options = OptimizerOptions(**{option: 0.5})
    assert {group.name: group.lr for group in build_groups(model, options)}[name] == pytest.approx(0.5 * 0.02)


def test_learning_rates_really_reach_the_weights():
    """AdamW's first step moves every weight by its learning rate; muon's has spectral norm about lr."""
    for lr in (0.01, 0.02):
        model = small_model()
        before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        set_grads(model, seed=1)
        groups = build_groups(model, OptimizerOptions(lr=lr))
        GroupedOptimizer(groups).step(0.5)
        for group in groups:
            for name, parameter in group.parameters.items():
                change = parameter.detach() - before[name]
                if group.kind == "adamw":
                    torch.testing.assert_close(
                        change.abs(), torch.full_like(change, group.lr * 0.5), rtol=1e-3, atol=1e-6
                    )
                else:
                    scale = max(1, change.shape[0] / change.shape[1]) ** 0.5
                    norm = torch.linalg.matrix_norm(change, ord=2).item()
                    assert norm == pytest.approx(group.lr * 0.5 * scale, rel=0.3), name


def test_a_parameter_without_gradient_stays():
    model = small_model()
    set_grads(model, seed=0)
    model.wte.weight.grad = model.h[0].mlp.c_fc.weight.grad = None
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = GroupedOptimizer(build_groups(model, OptimizerOptions()))
    optimizer.step(1.0)
    same = {name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])}
    assert same == {"wte.weight", "h.0.mlp.c_fc.weight"}
    optimizer.zero_grad()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_names_of_the_state_are_those_of_the_rust_picochat():
    state = GroupedOptimizer(build_groups(small_model(1), OptimizerOptions())).state_dict()
    assert set(state) == {
        *(f"adamw.{n}.{k}" for n in (
            "wte.weight", "lm_head.weight", "resid_lambdas", "x0_lambdas", "ve.0.weight",
        ) for k in ("m", "v", "step")),
        *(f"muon.h.0.{n}.weight.buf" for n in (
            "attn.c_q", "attn.c_k", "attn.c_v", "attn.c_proj", "attn.ve_gate", "mlp.c_fc", "mlp.c_proj",
        )),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_a_saved_state_goes_on_exactly(kind):
    options = OptimizerOptions(optimizer=kind, weight_decay=0.1)
    one, two = small_model(), small_model()
    first = GroupedOptimizer(build_groups(one, options))
    for seed in range(3):
        set_grads(one, seed)
        first.step(1.0)
    second = GroupedOptimizer(build_groups(two, options))
    two.load_state_dict(one.state_dict())
    second.load_state_dict({name: tensor.clone() for name, tensor in first.state_dict().items()})
    for model, optimizer in ((one, first), (two, second)):
        set_grads(model, seed=3)
        optimizer.step(0.7)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)
    for (name, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_a_state_that_does_not_fit_is_named():
    optimizer = GroupedOptimizer(build_groups(small_model(), OptimizerOptions()))
    state = {name: tensor.clone() for name, tensor in optimizer.state_dict().items()}
    with pytest.raises(UserError, match=r"muon\.h\.0\.mlp\.c_fc\.weight\.buf"):
        optimizer.load_state_dict({n: t for n, t in state.items() if n != "muon.h.0.mlp.c_fc.weight.buf"})
    with pytest.raises(UserError, match="extra"):
        optimizer.load_state_dict({**state, "extra": torch.zeros(1)})
    with pytest.raises(UserError, match=r"adamw\.wte\.weight\.m has shape \[3\], not \[64, 32\]"):
        optimizer.load_state_dict({**state, "adamw.wte.weight.m": torch.zeros(3)})
    for name in ("adamw.wte.weight.v", "muon.h.0.mlp.c_fc.weight.buf"):
        turned = state[name].T.contiguous()
        with pytest.raises(
            UserError, match=rf"{re.escape(name)} has shape {re.escape(str([*turned.shape]))}"
        ):
            optimizer.load_state_dict({**state, name: turned})


@pytest.mark.parametrize("name", ["lr", "embedding_lr", "head_lr", "scalar_lr"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_rates_are_refused(name: str, value: float):
    with pytest.raises(UserError, match=f"--{name.replace('_', '-')} must be over 0"):
        OptimizerOptions(**{name: value})
