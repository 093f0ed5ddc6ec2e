"""The copy of a model that is decoded with."""

import torch

from picochat.train.decoding import for_decoding


def test_the_copy_for_decoding_says_the_same(small_trainer):
    model = small_trainer().model
    model.kernels = "plain"
    ids_BT = torch.arange(24).view(2, 12)
    assert for_decoding(model) is model
    model.compute_dtype = torch.bfloat16
    copied = for_decoding(model)
    assert copied.wte.weight.dtype == torch.bfloat16
    assert copied.kernels == "plain"
    assert torch.equal(copied(ids_BT), model(ids_BT))
