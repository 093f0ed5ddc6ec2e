"""The ranks of a run. No other module knows torch.distributed."""

import atexit
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
import torch.distributed as dist

from picochat.errors import UserError
from picochat.model.gpt import GPT
from picochat.optim.division import Piece

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

LONGEST_WAIT = timedelta(days=1)
"""How long a rank waits for its peers, for instance while the first one writes samples. A peer that died is
no reason to wait: its connection breaks, or torchrun ends the others."""


class PeerLostError(UserError):
    """Another rank has ended."""


class World:
    """This process and its peers; alone unless started by torchrun."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size
        self.is_sharded = False
        """Whether weights and gradients hold just this rank's rows (see `shard`)."""

    @classmethod
    def from_env(cls, device_type: str) -> "World":
        """Join the peers that torchrun started, if it did (RANK, WORLD_SIZE, MASTER_ADDR are set)."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        if not dist.is_initialized():
            dist.init_process_group("nccl" if device_type == "cuda" else "gloo", timeout=LONGEST_WAIT)
            atexit.register(_leave)
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def is_main(self) -> bool:
        """Whether this rank writes files and talks to the user."""
        return self.rank == 0

    def share(self, num_rows: int) -> tuple[int, int]:
        """Return the first and one past the last of `num_rows` rows that are this rank's."""
        return num_rows * self.rank // self.size, num_rows * (self.rank + 1) // self.size

    def shard(self, model: GPT, device: torch.device) -> None:
        """Keep just this rank's rows of every weight on its device; a block is whole only while it computes.

        FSDP2 (`fully_shard`). What stands outside of the blocks, embeddings and head, is whole from the first
        use in a step to the last. Gradients become sums over the ranks, as elsewhere here. A lone rank has
        all rows.
        """
        if self.size == 1:
            model.to(device)
            return
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

        mesh = init_device_mesh(device.type, (self.size,))
        modules = [fully_shard(block, mesh=mesh) for block in model.h]
        modules.append(fully_shard(model, mesh=mesh, reshard_after_forward=False))
        for module in modules:
            # A sum of what each rank has divided by the global weight already, not a mean.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
        register_fsdp_forward_method(model, "hidden")
        self.is_sharded = True

    def sum_(self, tensor: torch.Tensor) -> None:
        """Replace a tensor by its sum over all ranks."""
        if self.size > 1:
            with _peers_needed():
                dist.all_reduce(tensor)

    def reduce(self, pieces: Iterable[Piece]) -> None:
        """Replace each tensor by its sum over all ranks, at its owner; elsewhere it is lost."""
        with _peers_needed():
            works = [dist.reduce(tensor, owner, async_op=True) for tensor, owner in pieces]
            for work in works:
                assert work is not None
                work.wait()

    def broadcast(self, pieces: Iterable[Piece]) -> None:
        """Replace each tensor by its owner's."""
        with _peers_needed():
            works = [dist.broadcast(tensor, owner, async_op=True) for tensor, owner in pieces]
            for work in works:
                assert work is not None
                work.wait()

    def all_rows(self, rows: torch.Tensor) -> list[torch.Tensor]:
        """Return the tensor of every rank; they may differ in the first dimension, and live on the device."""
        if self.size == 1:
            return [rows]
        own = torch.tensor([len(rows)], device=rows.device)
        counts = [torch.zeros_like(own) for _ in range(self.size)]
        with _peers_needed():
            dist.all_gather(counts, own)
        longest = max(int(count) for count in counts)
        padded = rows.new_zeros(longest, *rows.shape[1:])
        padded[: len(rows)] = rows
        gathered = [torch.empty_like(padded) for _ in range(self.size)]
        with _peers_needed():
            dist.all_gather(gathered, padded)
        return [tensor[: int(count)] for tensor, count in zip(gathered, counts, strict=True)]

    def gather(self, value: Any, device: torch.device) -> list[Any]:
        """Return the JSON value that each rank gives, in the order of ranks; `device` carries the bytes."""
        if self.size == 1:
            return [value]
        text = torch.tensor(list(json.dumps(value).encode()), dtype=torch.uint8, device=device)
        return [json.loads(bytes(rows.tolist())) for rows in self.all_rows(text)]

    def barrier(self) -> None:
        """Wait until every rank is here."""
        if self.size > 1:
            with _peers_needed():
                dist.barrier()


@contextmanager
def _peers_needed() -> Iterator[None]:
    """Tell a broken connection from other faults: it says that a peer is gone, not that anything is wrong
    here. For calls of torch.distributed and nothing else; why they failed stays in the message."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise  # a RuntimeError too, but one of this rank
    except RuntimeError as error:
        # gloo raises a plain RuntimeError, NCCL a DistBackendError, which is one too.
        atexit.unregister(_leave)  # with a peer gone it might wait for it
        reason = " ".join(str(error).split())
        raise PeerLostError(f"another process of this run has ended ({reason})") from error


def _leave() -> None:
    """Take leave of the peers: a group that stands at the end of the process may abort it."""
    if dist.is_initialized():
        dist.destroy_process_group()


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Return all rows of a weight that may be sharded. If it is, every rank has to call this."""
    return tensor.full_tensor() if _is_sharded(tensor) else tensor


def local(tensor: torch.Tensor) -> torch.Tensor:
    """Return the rows that this rank has of a weight that may be sharded."""
    return tensor.to_local() if _is_sharded(tensor) else tensor


def copy_whole_(own: torch.Tensor, source: torch.Tensor) -> None:
    """Copy a whole tensor into one that may be sharded; all ranks have the same `source`."""
    if _is_sharded(own):
        from torch.distributed.tensor import distribute_tensor

        source = distribute_tensor(source.to(own.device), own.device_mesh, own.placements, src_data_rank=None)
    own.copy_(source)


def _is_sharded(tensor: torch.Tensor) -> "TypeGuard[DTensor]":
    # To import the class takes most of a second, which a run that shards nothing need not wait for.
    if "torch.distributed.tensor" not in sys.modules:
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)
