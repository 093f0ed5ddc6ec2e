"""Layers whose weights are int8, one float32 scale per row (output channel, or token of a table).

O: output channels, I: input channels.
"""

import torch
from torch import nn

from picochat.model.gpt import GPT

FEW_ROWS = 8
"""Up to so many rows torch's int8 kernel reads the weights faster than they can be converted."""
MIN_ELEMENTS = 4096
"""Smaller tensors (gates, scales of layers) stay as they are: they save nothing and cost precision."""


class _Int8Weight(nn.Module):
    def __init__(self, num_rows: int, num_columns: int) -> None:
        super().__init__()
        self.weight: torch.Tensor
        self.scale: torch.Tensor
        self.register_buffer("weight", torch.zeros(num_rows, num_columns, dtype=torch.int8))
        self.register_buffer("scale", torch.zeros(num_rows))

    def float_weight(self) -> torch.Tensor:
        """Return the weights that the int8 ones stand for, in the dtype of the scales."""
        return self.weight.to(self.scale.dtype) * self.scale[:, None]


class Int8Linear(_Int8Weight):
    """x @ weight.T * scale."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return (..., O) in the dtype of the input (..., I)."""
        scale_O = self.scale.to(input.dtype)
        rows = input.reshape(-1, input.shape[-1])
        if rows.shape[0] <= FEW_ROWS and input.device.type == "cpu" and input.dtype == torch.bfloat16:
            # Its float32 variant is no match for a conversion followed by an ordinary product.
            return torch._weight_int8pack_mm(rows, self.weight, scale_O).view(*input.shape[:-1], -1)
        return (rows @ self.weight.to(input.dtype).t() * scale_O).view(*input.shape[:-1], -1)


class Int8Embedding(_Int8Weight):
    """weight[id] * scale[id]."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the rows of the table, (..., I), in the dtype of the scales."""
        return self.weight[input].to(self.scale.dtype) * self.scale[input][..., None]


def with_int8_layers(model: GPT) -> GPT:
    """Replace the large layers of `model`, in place, by empty int8 ones; return it."""
    for module in list(model.modules()):
        for name, layer in list(module.named_children()):
            if isinstance(layer, nn.Linear | nn.Embedding) and layer.weight.numel() >= MIN_ELEMENTS:
                kind = Int8Linear if isinstance(layer, nn.Linear) else Int8Embedding
                setattr(module, name, kind(*layer.weight.shape).to(layer.weight.device))
    return model


def is_int8(model: GPT) -> bool:
    """Whether `model` has int8 layers."""
    return any(isinstance(module, _Int8Weight) for module in model.modules())
