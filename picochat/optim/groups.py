"""Which weight is trained how, and the optimizer that does it."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch

from picochat.errors import UserError
from picochat.model.gpt import GPT
from picochat.optim.adamw import AdamWState, adamw_update, adamw_update_plain
from picochat.optim.division import Alone, Division, Peers
from picochat.optim.muon import muon_update, orthogonalize
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
    """Updates all groups. State tensors are named as in the Rust picochat's optimizer.safetensors.

    Among several ranks each holds the state of its part of the weights; see `Division`.
    """

    def __init__(
        self,
        groups: list[Group],
        *,
        momentum: float = 0.95,
        dtype: torch.dtype = torch.float32,
        peers: Peers | None = None,
        kernels: str = "auto",
    ) -> None:
        self.groups = groups
        self.momentum = momentum
        self.dtype = dtype
        """What the orthogonalisation of muon is computed in."""
        self.kernels = kernels
        """Where it says plain, each matrix is updated by itself, and AdamW is not one operation."""
        kinds: dict[str, dict[str, torch.nn.Parameter]] = {"muon": {}, "adamw": {}}
        for group in groups:
            kinds[group.kind] |= group.parameters
        self.division = Division(kinds["muon"], kinds["adamw"], peers or Alone())
        self.adamw = {name: AdamWState.of(self.division.part(name)) for name in kinds["adamw"]}
        self.muon = {name: torch.zeros_like(self.division.part(name)) for name in kinds["muon"]}

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """Every trained parameter."""
        return [parameter for group in self.groups for parameter in group.parameters.values()]

    def parts(self, group: Group) -> dict[str, torch.Tensor]:
        """Return this rank's rows of each weight of a group; they carry their gradients."""
        return {name: self.division.part(name) for name in group.parameters}

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def reduce_gradients(self) -> list[torch.Tensor]:
        """Sum the gradients of all ranks; return those that this rank goes by. A collective."""
        self.division.reduce_gradients()
        parts = (part for group in self.groups for part in self.parts(group).values())
        return [part.grad for part in parts if part.grad is not None]

    def step(self, factor: float) -> None:
        """Update every parameter that has a gradient; `factor` scales all learning rates. A collective."""
        self.update(factor)
        self.division.spread_weights()

    def update(self, factor: float) -> None:
        """Do this rank's part of a step; what the others update is not here yet."""
        for group in self.groups:
            active = {name: part for name, part in self.parts(group).items() if part.grad is not None}
            if group.kind == "adamw":
                self._adamw_step(group, active, factor)
            else:
                self._muon_step(group, active, factor)

    def _adamw_step(self, group: Group, active: dict[str, torch.Tensor], factor: float) -> None:
        for name, part in list(active.items()):
            if not part.numel():
                self.adamw[name].step += 1
                del active[name]
        if not active:
            return
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

    def _muon_step(self, group: Group, active: dict[str, torch.Tensor], factor: float) -> None:
        stacks: dict[object, list[str]] = {}
        for name, part in active.items():
            # Rows that are missing here are no reason to leave the others waiting.
            if part.numel() or self.division.peers.is_sharded:
                key = name if self.kernels == "plain" else group.parameters[name].shape
                stacks.setdefault(key, []).append(name)
        for names in stacks.values():
            muon_update(
                [active[name] for name in names],
                [self.muon[name] for name in names],
                lr=group.lr * factor,
                momentum=self.momentum,
                weight_decay=group.weight_decay,
                orthogonalize=self._orthogonalize,
                shape=group.parameters[names[0]].shape,
            )

    def _orthogonalize(self, rows_NrC: torch.Tensor) -> torch.Tensor:
        return self.division.orthogonalize(rows_NrC, partial(orthogonalize, dtype=self.dtype))

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return `adamw.NAME.m|v|step` and `muon.NAME.buf`, of all ranks. A collective."""
        whole = self.division.whole
        state = {f"muon.{name}.buf": whole(buffer) for name, buffer in self.muon.items()}
        for name, moments in self.adamw.items():
            state |= {
                f"adamw.{name}.m": whole(moments.m),
                f"adamw.{name}.v": whole(moments.v),
                f"adamw.{name}.step": moments.step.reshape(1),
            }
        return state

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Copy a saved state in; a missing, extra or mis-shaped tensor is an error that names it."""
        own: dict[str, tuple[torch.Tensor, torch.Size, slice]] = {}
        for name, buffer in self.muon.items():
            shape, rows = self.division.parameters[name].shape, self.division.rows(name)
            own[f"muon.{name}.buf"] = buffer, shape, rows
        for name, moments in self.adamw.items():
            shape, rows = self.division.parameters[name].shape, self.division.rows(name)
            own[f"adamw.{name}.m"] = moments.m, shape, rows
            own[f"adamw.{name}.v"] = moments.v, shape, rows
            own[f"adamw.{name}.step"] = moments.step.view(1), torch.Size([1]), slice(None)
        different = sorted(set(own) ^ set(state))
        if different:
            raise UserError(f"optimizer state does not fit the model: {different[0]} is on one side only")
        for name, (tensor, shape, rows) in own.items():
            if state[name].shape != shape:
                raise UserError(
                    f"optimizer state does not fit the model: {name} has shape {list(state[name].shape)}, "
                    f"not {list(shape)}"
                )
            tensor.copy_(state[name][rows])
