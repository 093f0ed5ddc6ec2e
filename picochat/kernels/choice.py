"""Which kernels a model is computed with; importable without torch."""

from typing import Literal

Kernels = Literal["auto", "compile", "portable", "plain"]
"""auto: all there is for the device. compile: the same, with blocks and loss in training through
torch.compile on CPU too. portable: nothing compiled at run time, no allocator setting. plain: every operation
as its formula is written, for comparison."""
