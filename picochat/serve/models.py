"""The models a server has, by name."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from picochat.engine.generate import Engine
from picochat.errors import UserError
from picochat.model.int8 import is_int8
from picochat.serve.errors import ApiError
from picochat.train.load import load
from picochat.train.run_dir import resolve_checkpoint, run_of

MAX_NAME = 200


@dataclass(frozen=True, kw_only=True)
class Served:
    """One model."""

    name: str
    engine: Engine
    stage: str | None = None
    """What it was trained by last: pretrain, sft or grpo; None if its folder does not say."""
    created: int = 0
    """When it was loaded, in seconds since 1970."""

    @property
    def card(self) -> dict[str, Any]:
        """What `/v1/models` tells of it."""
        model = self.engine.model
        return {
            "id": self.name,
            "object": "model",
            "created": self.created,
            "owned_by": "picochat",
            "context_length": self.engine.context,
            "vocab_size": model.config.vocab_size,
            "num_parameters": model.config.num_parameters(),
            "int8": is_int8(model),
            "stage": self.stage,
        }

    @property
    def longest_token(self) -> int:
        """Bytes of the longest token: a text of more than that many times the context can not fit."""
        return max(self.engine.tokenizer.num_bytes)


def load_models(specs: Sequence[str], *, device: str, dtype: str) -> dict[str, Served]:
    """Load what `--load` names; a model is called as it was asked for, a path by its last part.

    Raises UserError if two have the same name.
    """
    models: dict[str, Served] = {}
    for spec in specs:
        name = Path(spec).resolve().name
        if name in models:
            raise UserError(f"two models are called {name}; serve one of them, or rename its folder")
        path = resolve_checkpoint(spec)
        engine = Engine(*load(path, device=device, dtype=dtype))
        engine.warm_up()
        models[name] = Served(name=name, engine=engine, stage=_stage(path), created=int(time.time()))
    return models


def _stage(checkpoint: Path) -> str | None:
    run = run_of(checkpoint)
    return None if run is None else run.info()["stage"]


def find_model(models: dict[str, Served], name: str | None) -> Served:
    """Return the model of that name, the first one if none is given."""
    if name is None:
        return next(iter(models.values()))
    if name not in models:
        known = ", ".join(models)
        raise ApiError(404, "model_not_found", f"there is no model {name!r}; there is {known}", param="model")
    return models[name]
