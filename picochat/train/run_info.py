"""What run.json holds: how a run was begun, and with what."""

import platform
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from picochat.train.run import Run


def run_info(run: "Run") -> dict[str, Any]:
    """Return the facts of a run as JSON values."""
    return {
        "stage": run.stage,
        "options": run.options.row(),
        "parent": run.parent,
        "model": vars(run.model.config),
        "num_parameters": run.model.config.num_parameters(),
        "device": str(run.model.device),
        "dtype": str(run.model.compute_dtype).removeprefix("torch."),
        "world_size": run.trainer.world.size,
        "created": time.time(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("picochat", "torch", "tokenizers", "safetensors")},
        },
    }
