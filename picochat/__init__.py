"""picochat: a workbench to understand and train small language models.

The names below are the library. torch is imported with the first use of one that needs it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from picochat.engine.chat import chat
    from picochat.tools.expression import calculate
    from picochat.train.grpo import grpo
    from picochat.train.load import load
    from picochat.train.pretrain import pretrain
    from picochat.train.sft import sft

__all__ = ["calculate", "chat", "grpo", "load", "pretrain", "sft"]

_MODULES = {
    "calculate": "picochat.tools.expression",
    "chat": "picochat.engine.chat",
    "grpo": "picochat.train.grpo",
    "load": "picochat.train.load",
    "pretrain": "picochat.train.pretrain",
    "sft": "picochat.train.sft",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for by name (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module 'picochat' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)
