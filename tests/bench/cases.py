"""What is measured, by name. A case builds its inputs and returns a function that does the work once."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass

Repeat = Callable[[], float]
"""Does the work once; returns how much it was (tokens, floating-point operations, bytes, or 1)."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all cases of a run have in common."""

    threads: int
    quick: bool
    text: str = ""
    """A text file for the tokenizer; the built-in world's stories if there is none."""


def build(name: str, settings: Settings) -> Repeat:
    """Return the case called `module.function:argument:argument`."""
    place, *arguments = name.split(":")
    module, function = place.split(".")
    if module != "startup":
        import torch

        torch.manual_seed(0)
        torch.set_num_threads(settings.threads)
    return getattr(importlib.import_module(f"tests.bench.{module}"), function)(settings, *arguments)
