# SPDX-License-Identifier: Apache-2.0
"""QuantizedAdd, DynamicQuantizeLinear and MatMulIntegerToFloat have the bits of the operators that they stand for."""

import numpy as np
import pytest
from kernel_runner import run_node

OURS = {"domain": "ai.penlight"}
COUNTS = [0, 1, 3, 31, 32, 33, 100, 40_000]


def numbers(shape, dtype, seed):
    info = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(info.min, info.max + 1, shape).astype(dtype)


def quantized(values, scale, zero):
    info = np.iinfo(zero.dtype)
    with np.errstate(all="ignore"):
        return np.clip(np.rint(values / scale) + np.float32(zero), info.min, info.max).astype(zero.dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("count", COUNTS)
def test_sums_of_quantized_tensors(count, dtype):
    a, b = numbers(count, dtype, 0), numbers(count, dtype, 1)
    a_scale, b_scale, y_scale = np.float32(0.0123), np.float32(0.031), np.float32(0.0277)
    zeros = [np.array(zero, dtype) for zero in (np.iinfo(dtype).min, 17, np.iinfo(dtype).max)]
    for a_zero, b_zero, y_zero in (zeros, zeros[::-1], [zeros[1]] * 3):
        total = (a.astype(np.float32) - np.float32(a_zero)) * a_scale + (b.astype(np.float32) - np.float32(b_zero)) * b_scale
        wanted = quantized(total, y_scale, y_zero)
        given = [a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero]
        for threads in (1, 3):
            (found,) = run_node("QuantizedAdd", given, [wanted], threads=threads, **OURS)
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("count", COUNTS[1:])
@pytest.mark.parametrize("low", [-3.0, 0.5, -9.0])
def test_ranges_are_found(count, low):
    x = np.random.default_rng(0).uniform(low, low + 6, count).astype(np.float32)
    smallest, largest = np.minimum(x.min(), np.float32(0)), np.maximum(x.max(), np.float32(0))
    scale = np.float32((largest - smallest) / np.float32(255))
    zero = np.uint8(np.clip(np.rint(-smallest / scale), 0, 255))
    wanted = [quantized(x, scale, zero), np.array(scale), np.array(zero)]
    found = run_node("DynamicQuantizeLinear", [x], wanted, threads=2, version=11)
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_nan_reaches_the_scale():
    for place in (0, 40, 77):
        x = np.ones(78, np.float32)
        x[place] = np.nan
        outputs = [np.empty(78, np.uint8), np.float32(0), np.uint8(0)]
        assert np.isnan(run_node("DynamicQuantizeLinear", [x], outputs, version=11)[1])


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("columns", [1, 21])
@pytest.mark.parametrize("rows", [1, 9])
def test_products_become_floats(rows, columns, biased):
    a, b = numbers((2, rows, 30), np.uint8, 0), numbers((30, 21), np.int8, 1)
    a_zero, b_zero = np.uint8(200), numbers(columns if columns > 1 else (), np.int8, 2)
    a_scale, b_scale = np.float32(0.02), np.random.default_rng(3).uniform(0.01, 0.1, columns).astype(np.float32)
    bias = np.random.default_rng(4).standard_normal(21).astype(np.float32)
    sums = (a.astype(np.int64) - 200) @ (b.astype(np.int64) - b_zero.astype(np.int64))
    wanted = sums.astype(np.float32) * (a_scale * b_scale)
    given = [a, b, a_scale, b_scale, a_zero, b_zero]
    if biased:
        wanted, given = wanted + bias, [*given, bias]
    (found,) = run_node("MatMulIntegerToFloat", given, [wanted], threads=2, **OURS)
    np.testing.assert_array_equal(found, wanted)
