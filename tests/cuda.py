"""What tests that need a CUDA device have in common."""

import pytest
import torch

CUDA = torch.device("cuda")

needs_cuda = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here"),
    # Compilers that torch calls use what torch calls deprecated.
    pytest.mark.filterwarnings("default"),
    pytest.mark.timeout(600),
]
"""To be assigned to `pytestmark`."""
