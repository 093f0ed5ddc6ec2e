"""Which rank updates which part of the weights, and how the parts come together.

Two ways: every rank holds all weights and updates some rows of them (ZeRO stage 1, Rajbhandari et al. 2020,
arXiv 1910.02054); or a rank holds just those rows (FSDP). Either way moments exist once among all ranks, and
each matrix is made orthogonal by one rank.

N: matrices that share a shape, R: rows, r: rows that are this rank's, C: columns.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import torch

Piece = tuple[torch.Tensor, int]
"""A tensor that every rank has, and the rank that owns it."""


class Peers(Protocol):
    """What is asked of the ranks (see `picochat.train.world.World`)."""

    rank: int
    size: int
    is_sharded: bool
    """Whether weights and gradients hold just this rank's rows."""

    def reduce(self, pieces: Iterable[Piece]) -> None:
        """Replace each tensor by its sum over all ranks, at its owner."""
        ...

    def broadcast(self, pieces: Iterable[Piece]) -> None:
        """Replace each tensor by its owner's."""
        ...

    def all_rows(self, rows: torch.Tensor) -> list[torch.Tensor]:
        """Return the tensor of every rank; they may differ in the first dimension."""
        ...


class Alone:
    """A single process."""

    rank = 0
    size = 1
    is_sharded = False

    def reduce(self, pieces: Iterable[Piece]) -> None:
        """Do nothing: a sum of one."""

    def broadcast(self, pieces: Iterable[Piece]) -> None:
        """Do nothing: the owner is here."""

    def all_rows(self, rows: torch.Tensor) -> list[torch.Tensor]:
        """Return the one tensor."""
        return [rows]


class Division:
    """Divides the rows of all parameters among the ranks."""

    def __init__(
        self,
        matrices: Mapping[str, torch.nn.Parameter],
        others: Mapping[str, torch.nn.Parameter],
        peers: Peers,
    ) -> None:
        """`matrices` are kept whole, unless the weights are sharded; every rank has some rows of `others`."""
        self.peers = peers
        self.parameters = {**matrices, **others}
        if peers.is_sharded:
            self._bounds = {name: _chunks(p.shape[0], peers.size) for name, p in self.parameters.items()}
        else:
            self._bounds = {
                **_whole_matrices(matrices, peers.size),
                **{name: _even(p.shape[0], peers.size) for name, p in others.items()},
            }

    def rows(self, name: str) -> slice:
        """Return the rows of a parameter that are this rank's, perhaps none."""
        return slice(*self._bounds[name][self.peers.rank])

    def part(self, name: str) -> torch.Tensor:
        """Return this rank's rows of a weight, with those of its gradient as `.grad`; both are views."""
        parameter = self.parameters[name]
        grad = parameter.grad
        if self.peers.is_sharded:
            part = parameter.detach().to_local()  # pyright: ignore[reportAttributeAccessIssue]
            part.grad = None if grad is None else grad.to_local()  # pyright: ignore[reportAttributeAccessIssue]
            return part
        part = parameter.detach()[self.rows(name)]
        part.grad = None if grad is None else grad[self.rows(name)]
        return part

    def reduce_gradients(self) -> None:
        """Make the gradients of this rank's rows those of the global batch."""
        if self.peers.size == 1 or self.peers.is_sharded:
            return
        for parameter in self.parameters.values():
            # Every rank has to bring as much to the sum.
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.peers.reduce(self._pieces(lambda parameter: parameter.grad))

    def spread_weights(self) -> None:
        """Give every rank the rows that the others have updated."""
        if self.peers.size > 1 and not self.peers.is_sharded:
            self.peers.broadcast(self._pieces(lambda parameter: parameter.detach()))

    def whole(self, rows: torch.Tensor) -> torch.Tensor:
        """Return what this rank's `rows` are a part of; every rank has to call this."""
        return rows if self.peers.size == 1 else torch.cat(self.peers.all_rows(rows))

    def orthogonalize(
        self, rows_NrC: torch.Tensor, function: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        """Return this rank's rows of `function` of the whole matrices, of which every rank takes some."""
        if not self.peers.is_sharded:
            return function(rows_NrC)
        rank, size = self.peers.rank, self.peers.size
        parts = self.peers.all_rows(rows_NrC.movedim(1, 0).contiguous())
        start = sum(len(part) for part in parts[:rank])
        whole_NRC = torch.cat(parts).movedim(0, 1)
        # Of no matrix too: what the ranks gather has one dtype, that of `function`.
        own = function(whole_NRC[rank::size])
        done_NRC = torch.empty(whole_NRC.shape, dtype=own.dtype, device=own.device)
        for other, matrices in enumerate(self.peers.all_rows(own)):
            done_NRC[other::size] = matrices
        return done_NRC[:, start : start + rows_NrC.shape[1]]

    def _pieces(self, tensor_of: Callable[[torch.nn.Parameter], torch.Tensor | None]) -> Iterable[Piece]:
        for name, parameter in self.parameters.items():
            tensor = tensor_of(parameter)
            assert tensor is not None
            for owner, (start, stop) in enumerate(self._bounds[name]):
                if stop > start:
                    yield tensor[start:stop], owner


def _even(num_rows: int, size: int) -> list[tuple[int, int]]:
    return [(num_rows * i // size, num_rows * (i + 1) // size) for i in range(size)]


def _chunks(num_rows: int, size: int) -> list[tuple[int, int]]:
    """Return the bounds that FSDP has, which are those of `torch.chunk`."""
    step = -(-num_rows // size)
    return [(min(num_rows, step * i), min(num_rows, step * (i + 1))) for i in range(size)]


def _whole_matrices(
    matrices: Mapping[str, torch.nn.Parameter], size: int
) -> dict[str, Sequence[tuple[int, int]]]:
    """Give each matrix to the rank with the least to do, the costly ones first."""
    work = [0] * size
    bounds: dict[str, Sequence[tuple[int, int]]] = {}

    def cost(name: str) -> int:
        rows, columns = matrices[name].shape
        return min(rows, columns) * rows * columns

    for name in sorted(matrices, key=cost, reverse=True):
        owner = work.index(min(work))
        work[owner] += cost(name)
        num_rows = matrices[name].shape[0]
        bounds[name] = [(0, num_rows if rank == owner else 0) for rank in range(size)]
    return bounds
