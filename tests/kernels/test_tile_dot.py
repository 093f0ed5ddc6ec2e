"""Tiles of dot products against plain products, for every width of vectors: LLVM splits those that the
processor has not."""

import functools

import numba
import numpy as np
import pytest
import torch

from picochat.kernels.decode_loops import matrix
from picochat.kernels.tile_dot import COLUMNS, LANES, make_tile


@functools.cache
def compiled_tile(num_lanes: int, num_rows: int):
    tile = make_tile(num_lanes, num_rows)

    @numba.njit
    def run(weight_OI, ahead, x_BI, out_BO):
        out = out_BO.ctypes.data
        tile(weight_OI.ctypes.data, weight_OI, ahead, x_BI.ctypes.data, x_BI.shape[1], out, out_BO.shape[1])

    return run


def random_weights(dtype: str, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Return weights as the loops hold them, and as float32."""
    generator = torch.Generator().manual_seed(0)
    if dtype == "int8":
        weights = torch.randint(-128, 128, shape, dtype=torch.int8, generator=generator)
        return weights.numpy(), weights.float().numpy()
    weights = torch.randn(*shape, generator=generator)
    if dtype == "bfloat16":
        weights = weights.bfloat16()
        return weights.view(torch.uint16).numpy(), weights.float().numpy()
    return weights.numpy(), weights.numpy()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize(("num_lanes", "num_rows"), [(16, 4), (8, 2), (4, 4)])
def test_a_tile_is_the_product_and_touches_nothing_else(dtype: str, num_lanes: int, num_rows: int):
    held, weight_OI = random_weights(dtype, 2 * num_rows, 48)
    x_BI = np.random.default_rng(0).standard_normal((COLUMNS, 48), dtype=np.float32)
    out_BO = np.full((COLUMNS, num_rows + 3), 7, np.float32)
    compiled_tile(num_lanes, num_rows)(held, num_rows, x_BI, out_BO)
    expected_BO = x_BI.astype(np.float64) @ weight_OI[:num_rows].T.astype(np.float64)
    tolerance = 1e-5 * np.abs(weight_OI).max()
    np.testing.assert_allclose(out_BO[:, :num_rows], expected_BO, rtol=1e-5, atol=tolerance)
    assert (out_BO[:, num_rows:] == 7).all()


@pytest.mark.parametrize("num_in", [4 * LANES, 4 * LANES + 1, 1024])
@pytest.mark.parametrize("num_rows", [1, 3, 4, 7, 30])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_product_of_any_size_is_whole(dtype: str, num_rows: int, num_in: int):
    """Rows and outputs that fill no tile, widths that fill no vector, sizes over several panels."""
    held, weight_OI = random_weights(dtype, 137, num_in)
    x_BI = np.random.default_rng(0).standard_normal((num_rows, num_in), dtype=np.float32)
    scale_O, no_sums = np.linspace(1, 2, 137, dtype=np.float32), np.empty(0, np.int64)
    out_BO = np.full((num_rows, 137), 7, np.float32)
    matrix(held, scale_O, no_sums, x_BI, out_BO, 2, 136)
    expected_BO = (x_BI.astype(np.float64) @ weight_OI.T.astype(np.float64)) * scale_O
    np.testing.assert_allclose(out_BO[:, 2:136], expected_BO[:, 2:136], rtol=1e-5, atol=1e-3)
    assert (out_BO[:, :2] == 7).all()
    assert (out_BO[:, 136:] == 7).all()
