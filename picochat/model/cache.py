"""Keys and values of the tokens a model has read, so that the next token costs one position.

B: rows (sequences), R: rows there is room for, G: key/value heads, C: capacity in tokens, K: channels of a
head, T: new tokens.
"""

from collections.abc import Iterable

import torch

from picochat.model.config import ModelConfig


class KVCache:
    """Per-layer key and value buffers, allocated once. Rows may hold sequences of different lengths.

    Slots at and past a row's length hold leftovers; attention masks them and the next tokens overwrite them.
    Rows may come (`append`) and go (`drop`) within the buffers' `max_rows`.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        batch_size: int = 1,
        max_rows: int | None = None,
        capacity: int | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.config = config
        self.capacity = capacity or config.sequence_len
        self.max_rows = max_rows or batch_size
        shape = (config.n_layer, self.max_rows, config.n_kv_head, self.capacity, config.head_dim)
        self.key_rows_LRGCK = torch.zeros(shape, device=device, dtype=dtype)
        self.value_rows_LRGCK = torch.zeros(shape, device=device, dtype=dtype)
        """The buffers as they were allocated, contiguous; the rows there are come first."""
        self.lengths: list[int] = [0] * batch_size
        """Tokens held by each row."""

    @property
    def keys_LBGCK(self) -> torch.Tensor:
        """The keys of the rows there are, a view."""
        return self.key_rows_LRGCK[:, : self.batch_size]

    @property
    def values_LBGCK(self) -> torch.Tensor:
        """The values of the rows there are, a view."""
        return self.value_rows_LRGCK[:, : self.batch_size]

    @property
    def batch_size(self) -> int:
        """Number of rows."""
        return len(self.lengths)

    @property
    def num_bytes(self) -> int:
        """Memory of the buffers in bytes."""
        return 2 * self.key_rows_LRGCK.numel() * self.key_rows_LRGCK.element_size()

    def write(self, layer: int, keys_BTGK: torch.Tensor, values_BTGK: torch.Tensor) -> None:
        """Store T new keys and values per row behind the row's tokens. Lengths are advanced by `advance`."""
        num_new = keys_BTGK.shape[1]
        assert max(self.lengths) + num_new <= self.capacity
        start = self.lengths[0]
        if self.is_uniform:
            self.keys_LBGCK[layer, :, :, start : start + num_new] = keys_BTGK.transpose(1, 2)
            self.values_LBGCK[layer, :, :, start : start + num_new] = values_BTGK.transpose(1, 2)
            return
        rows_B1 = torch.arange(self.batch_size, device=keys_BTGK.device)[:, None]
        slots_BT = self.positions(num_new)
        self.keys_LBGCK[layer][rows_B1, :, slots_BT] = keys_BTGK
        self.values_LBGCK[layer][rows_B1, :, slots_BT] = values_BTGK

    @property
    def is_uniform(self) -> bool:
        """Whether all rows hold equally many tokens."""
        return all(length == self.lengths[0] for length in self.lengths)

    def positions(self, num_new: int) -> torch.Tensor:
        """Return the positions (B, T) that the next `num_new` tokens of each row take."""
        device = self.key_rows_LRGCK.device
        return torch.tensor(self.lengths, device=device)[:, None] + torch.arange(num_new, device=device)

    def advance(self, num_new: list[int]) -> None:
        """Count `num_new[b]` more tokens in row b."""
        self.lengths = [length + new for length, new in zip(self.lengths, num_new, strict=True)]

    def truncate(self, lengths: list[int]) -> None:
        """Forget what row b holds past `lengths[b]` tokens."""
        assert len(lengths) == self.batch_size
        assert all(new <= old for new, old in zip(lengths, self.lengths, strict=True))
        self.lengths = list(lengths)

    def append(self, other: "KVCache") -> None:
        """Add a row behind the others: a copy of the only row of `other`."""
        assert other.batch_size == 1
        assert self.batch_size < self.max_rows
        (length,) = other.lengths
        assert length <= self.capacity
        row = self.batch_size
        self.key_rows_LRGCK[:, row, :, :length] = other.keys_LBGCK[:, 0, :, :length]
        self.value_rows_LRGCK[:, row, :, :length] = other.values_LBGCK[:, 0, :, :length]
        self.lengths.append(length)

    def drop(self, rows: Iterable[int]) -> list[int]:
        """Remove rows; the last ones move into the gaps. Return which row each one left was before."""
        order = list(range(self.batch_size))
        for row in sorted(rows, reverse=True):
            last, length = len(order) - 1, self.lengths[-1]
            if row != last:
                self.key_rows_LRGCK[:, row, :, :length] = self.key_rows_LRGCK[:, last, :, :length]
                self.value_rows_LRGCK[:, row, :, :length] = self.value_rows_LRGCK[:, last, :, :length]
                order[row], self.lengths[row] = order[last], length
            order.pop()
            self.lengths.pop()
        return order

    def fork(self, batch_size: int) -> "KVCache":
        """Return a cache of `batch_size` rows that all hold copies of this cache's only row."""
        assert self.batch_size == 1
        return self.keep([0] * batch_size)

    def keep(self, rows: list[int]) -> "KVCache":
        """Return a cache that holds copies of the given rows, in that order (repetition allowed)."""
        other = object.__new__(KVCache)
        other.config, other.capacity, other.max_rows = self.config, self.capacity, len(rows)
        index = torch.tensor(rows, device=self.key_rows_LRGCK.device)
        other.key_rows_LRGCK = self.key_rows_LRGCK.index_select(1, index)
        other.value_rows_LRGCK = self.value_rows_LRGCK.index_select(1, index)
        other.lengths = [self.lengths[row] for row in rows]
        return other
