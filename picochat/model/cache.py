"""Keys and values of the tokens a model has read, so that the next token costs one position.

B: rows (sequences), G: key/value heads, C: capacity in tokens, K: channels of a head, T: new tokens.
"""

import torch

from picochat.model.config import ModelConfig


class KVCache:
    """Per-layer key and value buffers, allocated once. Rows may hold sequences of different lengths.

    Slots at and past a row's length hold leftovers; attention masks them and the next tokens overwrite them.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        batch_size: int = 1,
        capacity: int | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.config = config
        self.capacity = capacity or config.sequence_len
        shape = (config.n_layer, batch_size, config.n_kv_head, self.capacity, config.head_dim)
        self.keys_LBGCK = torch.zeros(shape, device=device, dtype=dtype)
        self.values_LBGCK = torch.zeros(shape, device=device, dtype=dtype)
        self.lengths: list[int] = [0] * batch_size
        """Tokens held by each row."""

    @property
    def batch_size(self) -> int:
        """Number of rows."""
        return len(self.lengths)

    @property
    def num_bytes(self) -> int:
        """Memory of the buffers in bytes."""
        return 2 * self.keys_LBGCK.numel() * self.keys_LBGCK.element_size()

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
        device = self.keys_LBGCK.device
        return torch.tensor(self.lengths, device=device)[:, None] + torch.arange(num_new, device=device)

    def advance(self, num_new: list[int]) -> None:
        """Count `num_new[b]` more tokens in row b."""
        self.lengths = [length + new for length, new in zip(self.lengths, num_new, strict=True)]

    def truncate(self, lengths: list[int]) -> None:
        """Forget what row b holds past `lengths[b]` tokens."""
        assert len(lengths) == self.batch_size
        assert all(new <= old for new, old in zip(lengths, self.lengths, strict=True))
        self.lengths = list(lengths)

    def fork(self, batch_size: int) -> "KVCache":
        """Return a cache of `batch_size` rows that all hold copies of this cache's only row."""
        assert self.batch_size == 1
        return self.keep([0] * batch_size)

    def keep(self, rows: list[int]) -> "KVCache":
        """Return a cache that holds copies of the given rows, in that order (repetition allowed)."""
        other = object.__new__(KVCache)
        other.config, other.capacity = self.config, self.capacity
        index = torch.tensor(rows, device=self.keys_LBGCK.device)
        other.keys_LBGCK = self.keys_LBGCK.index_select(1, index)
        other.values_LBGCK = self.values_LBGCK.index_select(1, index)
        other.lengths = [self.lengths[row] for row in rows]
        return other
