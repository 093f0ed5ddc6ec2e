"""Which weight is trained how, and the optimizer that does it."""

from dataclasses import dataclass
from typing import Literal

import torch

from picochat.errors import UserError
from picochat.model.gpt import GPT
from picochat.optim.adamw import AdamWState, adamw_update, adamw_update_plain
from picochat.optim.muon import muon_update
from picochat.optim.options import OptimizerOptions


@dataclass(frozen=True, kw_only=True)
class Group:
    """Parameters that share an update rule and a learning rate."""

    name: str
    kind: Literal["muon", "adamw"]
    lr: float
    parameters: dict[str, torch.nn.Parameter]
    betas: tuple[float, float] = (0.8, 0.95)
    weight_decay: float = 0.0


def build_groups(model: GPT, options: OptimizerOptions) -> list[Group]:
    """Sort the model's parameters into groups; every parameter is in exactly one."""
    named = dict(model.named_parameters())

    def pick(*prefixes: str) -> dict[str, torch.nn.Parameter]:
        return {name: named.pop(name) for name in list(named) if name.startswith(prefixes)}

    unit = options.unit_lr
    groups = [
        Group(name="embedding", kind="adamw", lr=options.embedding_lr * unit, parameters=pick("wte.", "ve.")),
        Group(name="head", kind="adamw", lr=options.head_lr * unit, parameters=pick("lm_head.")),
        Group(name="scalars", kind="adamw", lr=options.scalar_lr * unit, parameters=pick("x0_lambdas")),
        # These multiply the whole residual stream: 100 times smaller steps (nanochat's finding).
        Group(
            name="residual scalars",
            kind="adamw",
            lr=0.01 * options.scalar_lr * unit,
            parameters=pick("resid"),
        ),
        Group(
            name="matrices",
            kind=options.optimizer,
            lr=options.matrix_lr,
            betas=(0.9, 0.95),
            weight_decay=options.weight_decay,
            parameters=pick("h."),
        ),
    ]
    assert not named, f"parameters without a group: {list(named)}"
    return groups


class GroupedOptimizer:
    """Updates all groups. State tensors are named as in the Rust picochat's optimizer.safetensors."""

    def __init__(
        self,
        groups: list[Group],
        *,
        momentum: float = 0.95,
        dtype: torch.dtype = torch.float32,
        kernels: str = "auto",
    ) -> None:
        self.groups = groups
        self.momentum = momentum
        self.dtype = dtype
        """What the orthogonalisation of muon is computed in."""
        self.kernels = kernels
        """Where it says plain, each matrix is updated by itself, and AdamW is not one operation."""
        self.adamw: dict[str, AdamWState] = {}
        self.muon: dict[str, torch.Tensor] = {}
        for group in groups:
            for name, parameter in group.parameters.items():
                if group.kind == "adamw":
                    self.adamw[name] = AdamWState.of(parameter.detach())
                else:
                    self.muon[name] = torch.zeros_like(parameter, requires_grad=False)

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """Every trained parameter."""
        return [parameter for group in self.groups for parameter in group.parameters.values()]

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def step(self, factor: float) -> None:
        """Update every parameter that has a gradient; `factor` scales all learning rates."""
        for group in self.groups:
            active = {n: p for n, p in group.parameters.items() if p.grad is not None}
            if group.kind == "adamw" and active:
                device = next(iter(active.values())).device.type
                is_fused = device in ("cpu", "cuda") and self.kernels != "plain"
                update = adamw_update if is_fused else adamw_update_plain
                update(
                    list(active.values()),
                    [self.adamw[name] for name in active],
                    lr=group.lr * factor,
                    betas=group.betas,
                    eps=1e-10,
                    weight_decay=group.weight_decay,
                )
            elif group.kind == "muon":
                self._muon_step(group, active, factor)

    def _muon_step(self, group: Group, active: dict[str, torch.nn.Parameter], factor: float) -> None:
        stacks: dict[object, list[str]] = {}
        for name, parameter in active.items():
            stacks.setdefault(name if self.kernels == "plain" else parameter.shape, []).append(name)
        for names in stacks.values():
            muon_update(
                [active[name] for name in names],
                [self.muon[name] for name in names],
                lr=group.lr * factor,
                momentum=self.momentum,
                weight_decay=group.weight_decay,
                dtype=self.dtype,
            )

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return `adamw.NAME.m|v|step` and `muon.NAME.buf`."""
        state = {f"muon.{name}.buf": buffer for name, buffer in self.muon.items()}
        for name, moments in self.adamw.items():
            state |= {
                f"adamw.{name}.m": moments.m,
                f"adamw.{name}.v": moments.v,
                f"adamw.{name}.step": moments.step.reshape(1),
            }
        return state

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Copy a saved state in; a missing or extra tensor is an error that names it."""
        own = self.state_dict()
        different = sorted(set(own) ^ set(state))
        if different:
            raise UserError(f"optimizer state does not fit the model: {different[0]} is on one side only")
        for name, tensor in own.items():
            if state[name].numel() != tensor.numel():
                raise UserError(
                    f"optimizer state does not fit the model: {name} has shape {list(state[name].shape)}, "
                    f"not {list(tensor.shape)}"
                )
            tensor.copy_(state[name].reshape(tensor.shape))
