"""First values of the weights."""

import math

import torch

from picochat.model.gpt import GPT


@torch.no_grad()
def initialize(model: GPT, *, seed: int) -> None:
    """Fill the weights from `seed`, the same on every device.

    Token embedding N(0, 1); head N(0, 0.001); query, key, value, first MLP matrix and value embeddings
    uniform with standard deviation 1/sqrt(width); output projections and gates zero, so that every block
    begins as the identity; residual scale 1, share of the token embedding 0.1.
    """
    generator = torch.Generator().manual_seed(seed)
    bound = math.sqrt(3.0 / model.config.n_embd)
    for name, parameter in model.named_parameters():
        if name.endswith(("c_proj.weight", "ve_gate.weight")):
            value = torch.zeros(parameter.shape)
        elif name == "resid_lambdas":
            value = torch.ones(parameter.shape)
        elif name == "x0_lambdas":
            value = torch.full(parameter.shape, 0.1)
        elif name == "wte.weight":
            value = torch.empty(parameter.shape).normal_(0.0, 1.0, generator=generator)
        elif name == "lm_head.weight":
            value = torch.empty(parameter.shape).normal_(0.0, 0.001, generator=generator)
        else:
            value = torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator)
        parameter.copy_(value)
