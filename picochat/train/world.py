"""The ranks of a run. No other module knows torch.distributed."""

import json
import os
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

LONGEST_WAIT = timedelta(days=7)
"""How long a rank waits for its peers. Only the first obeys a pause; the others wait for its part of the next
step. A peer that died is no reason to wait: torchrun ends the others."""


class World:
    """This process and its peers; alone unless started by torchrun."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size

    @classmethod
    def from_env(cls, device_type: str) -> "World":
        """Join the peers that torchrun started, if it did (RANK, WORLD_SIZE, MASTER_ADDR are set)."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        if not dist.is_initialized():
            dist.init_process_group("nccl" if device_type == "cuda" else "gloo", timeout=LONGEST_WAIT)
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def is_main(self) -> bool:
        """Whether this rank writes files and talks to the user."""
        return self.rank == 0

    def share(self, num_rows: int) -> tuple[int, int]:
        """Return the first and one past the last of `num_rows` rows that are this rank's."""
        return num_rows * self.rank // self.size, num_rows * (self.rank + 1) // self.size

    def sum_(self, tensors: Iterable[torch.Tensor]) -> None:
        """Replace each tensor by its sum over all ranks."""
        if self.size > 1:
            for tensor in tensors:
                dist.all_reduce(tensor)

    def gather(self, value: Any, device: torch.device) -> list[Any]:
        """Return the JSON value that each rank gives, in the order of ranks; `device` carries the bytes."""
        if self.size == 1:
            return [value]
        text = torch.tensor(list(json.dumps(value).encode()), dtype=torch.uint8, device=device)
        sizes = [torch.zeros(1, dtype=torch.long, device=device) for _ in range(self.size)]
        dist.all_gather(sizes, torch.tensor([len(text)], device=device))
        longest = max(int(size) for size in sizes)
        texts = [torch.zeros(longest, dtype=torch.uint8, device=device) for _ in range(self.size)]
        dist.all_gather(texts, torch.nn.functional.pad(text, (0, longest - len(text))))
        pairs = zip(texts, sizes, strict=True)
        return [json.loads(bytes(padded[: int(size)].tolist())) for padded, size in pairs]

    def barrier(self) -> None:
        """Wait until every rank is here."""
        if self.size > 1:
            dist.barrier()
