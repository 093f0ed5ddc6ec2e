"""Where the tensors of a model lie, by which compiled and recorded steps see that it got others."""

from typing import Any
from weakref import WeakKeyDictionary

from picochat.model.gpt import GPT

_places: WeakKeyDictionary[GPT, list[tuple[dict[str, Any], str]]] = WeakKeyDictionary()
"""Where each model keeps its tensors: its modules, unlike its weights, stay what they are."""


def addresses(model: GPT) -> list[int]:
    """Return the addresses of all weights and buffers of a model."""
    places = _places.get(model)
    if places is None:
        places = _places[model] = [
            (tensors, name)
            for module in model.modules()
            for tensors in (module._parameters, module._buffers)
            for name, tensor in tensors.items()
            if tensor is not None
        ]
    return [tensors[name].data_ptr() for tensors, name in places]
