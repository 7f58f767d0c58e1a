# SPDX-License-Identifier: Apache-2.0
"""QuantizeLinear and DequantizeLinear round and saturate as NumPy does, bit for bit."""

import numpy as np
import pytest
from kernel_runner import rand, run_node

DTYPES = [np.uint8, np.int8, np.int16, np.uint16]


def quantized(x, scale, zero):
    info = np.iinfo(zero.dtype)
    with np.errstate(all="ignore"):  # infinities and NaN are among the numbers
        whole = np.rint(x / scale).astype(np.float32) + zero.astype(np.float32)
    return np.where(np.isnan(whole), info.min, np.clip(whole, info.min, info.max)).astype(zero.dtype)


def dequantized(y, scale, zero):
    return (y.astype(np.float32) - zero.astype(np.float32)) * scale


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_kind_of_number(dtype):
    odd = np.array([np.nan, np.inf, -np.inf, 0, -0.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 1e6, -1e6, 1.5e6, 4194304.5], np.float32)
    x = np.concatenate([odd, rand(1000, low=-1000, high=1000), rand(200, low=-1e9, high=1e9), np.arange(-3e5, 3e5, 999) / 2])
    x, info = x.astype(np.float32), np.iinfo(dtype)
    for scale, zero in ((1, 0), (0.37, 5), (1, info.max), (0.01, info.min)):
        operands = np.float32(scale), np.array(zero, dtype)
        (y,) = run_node("QuantizeLinear", [x, *operands], [np.empty(1, dtype)], version=21)
        np.testing.assert_array_equal(y, quantized(x, *operands))
        (back,) = run_node("DequantizeLinear", [y, *operands], [x[:1]], version=21)
        np.testing.assert_array_equal(back, dequantized(y, *operands))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_scale_for_each_index_of_an_axis(dtype, axis):
    x = rand(6, 33, 70, low=-300, high=300)
    count, shape = x.shape[axis], [1, 1, 1]
    shape[axis] = count
    scale, zero = rand(count, low=0.5, high=1.5, seed=1), rand(count, low=0, high=50, seed=2).astype(dtype)
    (y,) = run_node("QuantizeLinear", [x, scale, zero], [np.empty((1, 1, 1), dtype)], version=21, axis=axis, threads=2)
    np.testing.assert_array_equal(y, quantized(x, scale.reshape(shape), zero.reshape(shape)))
    (back,) = run_node("DequantizeLinear", [y, scale, zero], [x[:1]], version=21, axis=axis, threads=2)
    np.testing.assert_array_equal(back, dequantized(y, scale.reshape(shape), zero.reshape(shape)))
