"""The model in training as one to decode with."""

import torch

from picochat.model.gpt import GPT
from picochat.train.world import whole


def for_decoding(model: GPT) -> GPT:
    """Return `model`, or a copy with its weights in the compute dtype: decoding would convert them for every
    token. Of a sharded model it is a copy with all weights; every rank has to call this then."""
    own = model.state_dict()
    weights = {name: whole(tensor) for name, tensor in own.items()}
    is_sharded = any(weights[name] is not tensor for name, tensor in own.items())
    if model.compute_dtype == torch.float32 and not is_sharded:
        return model
    with torch.device("meta"):
        copy = GPT(model.config)
    weights = {name: tensor.to(model.compute_dtype) for name, tensor in weights.items()}
    copy.load_state_dict(weights, assign=True)
    copy.compute_dtype, copy.kernels = model.compute_dtype, model.kernels
    return copy.requires_grad_(False)
