"""Which kernels a model is computed with; importable without torch."""

from typing import Literal

Kernels = Literal["auto", "portable", "plain"]
"""auto: all there is for the device. portable: nothing compiled at run time, no allocator setting. plain:
every operation as its formula is written, for comparison."""
