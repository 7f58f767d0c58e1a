# SPDX-License-Identifier: Apache-2.0
"""ConvInteger and QLinearConv are exact for every size, sign, zero point and padding, on any number of threads."""

from itertools import product

import numpy as np
import pytest
from kernel_runner import run_node

TYPES = [np.uint8, np.int8]
# batch, channels, filters, groups, image, kernel, strides, dilations, pads
CASES = [
    (1, 3, 5, 1, (9, 11), (3, 3), (2, 2), (1, 1), (0, 1, 1, 0)),
    (2, 8, 7, 1, (5, 7), (1, 1), (1, 1), (1, 1), (0, 0, 0, 0)),
    (1, 33, 20, 1, (8, 9), (1, 1), (1, 1), (1, 1), (0, 0, 0, 0)),
    (1, 130, 19, 1, (30, 33), (1, 1), (1, 1), (1, 1), (0, 0, 0, 0)),  # several blocks of columns, which share the weights
    (1, 96, 70, 1, (21, 20), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),  # too many weights to be shared
    (1, 40, 9, 1, (1, 1), (1, 1), (1, 1), (1, 1), (0, 0, 0, 0)),
    (2, 6, 6, 3, (7, 40), (3, 2), (1, 2), (2, 1), (2, 1, 0, 3)),
    (2, 5, 5, 5, (7, 7), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    (1, 4, 8, 4, (13, 90), (3, 3), (2, 2), (1, 1), (0, 0, 1, 1)),
    (1, 3, 3, 3, (90, 70), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    (1, 2, 2, 2, (9, 17), (4, 5), (1, 3), (2, 3), (3, 6, 1, 2)),
    (1, 2, 2, 2, (6, 19), (1, 3), (1, 1), (1, 1), (0, 1, 0, 1)),
    (1, 4, 3, 1, (50,), (5,), (2,), (1,), (2, 3)),
    (1, 4, 4, 4, (50,), (5,), (1,), (2,), (4, 4)),
    (1, 2, 3, 1, (4, 5, 6), (2, 3, 2), (1, 2, 1), (1, 1, 2), (1, 0, 1, 0, 1, 2)),
]


def numbers(shape, dtype, seed):
    """All numbers of the type, the ends often."""
    info, rng = np.iinfo(dtype), np.random.default_rng(seed)
    ends = rng.choice([info.min, info.max], shape)
    return np.where(rng.random(shape) < 0.5, ends, rng.integers(info.min, info.max + 1, shape)).astype(dtype)


def convolve(x, w, groups, strides, dilations, pads):
    """x (N, C, ...), w (F, C / groups, ...): int64 without zero points; padding is 0."""
    rank = x.ndim - 2
    x = np.pad(x, [(0, 0), (0, 0), *((pads[d], pads[d + rank]) for d in range(rank))])
    sizes = [(x.shape[d + 2] - (w.shape[d + 2] - 1) * dilations[d] - 1) // strides[d] + 1 for d in range(rank)]
    y = np.zeros((x.shape[0], w.shape[0], *sizes), np.int64)
    channels, filters = w.shape[1], w.shape[0] // groups
    for tap in product(*(range(size) for size in w.shape[2:])):
        ends = [tap[d] * dilations[d] + (sizes[d] - 1) * strides[d] + 1 for d in range(rank)]
        part = x[(slice(None), slice(None), *(slice(tap[d] * dilations[d], ends[d], strides[d]) for d in range(rank)))]
        for g in range(groups):
            weights = w[(slice(g * filters, (g + 1) * filters), slice(None), *tap)]
            y[:, g * filters : (g + 1) * filters] += np.einsum(
                "fc,nc...->nf...", weights, part[:, g * channels : (g + 1) * channels]
            )
    return y


def operands(case, left, right, seed=0):
    batch, channels, filters, groups, image, kernel, *_ = case
    x = numbers((batch, channels, *image), left, seed)
    return x, numbers((filters, channels // groups, *kernel), right, seed + 1)


def attributes(case):
    _, _, _, group, _, _, strides, dilations, pads = case
    return {"group": group, "strides": list(strides), "dilations": list(dilations), "pads": list(pads)}


@pytest.mark.parametrize("right", TYPES)
@pytest.mark.parametrize("left", TYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_sums_are_exact(case, left, right):
    x, w = operands(case, left, right)
    _, _, filters, groups, *_, strides, dilations, pads = case
    x_zeros = np.array(3, left), numbers((), left, 2), numbers((), left, 4)
    w_zeros = np.array(5, right), numbers(filters, right, 3), np.full(filters, 0 if right is np.int8 else 128, right)
    for x_zero, w_zero in zip(x_zeros, w_zeros, strict=True):
        zeros = w_zero.astype(np.int64).reshape(-1, *(1,) * (w.ndim - 1))
        wanted = convolve(x.astype(np.int64) - int(x_zero), w.astype(np.int64) - zeros, groups, strides, dilations, pads)
        for threads in (1, 3):
            (sums,) = run_node(
                "ConvInteger", [x, w, x_zero, w_zero], [wanted.astype(np.int32)], **attributes(case), threads=threads, version=10
            )
            np.testing.assert_array_equal(sums, wanted)


def rounded(sums, bias, scale, own, zero, dtype):
    info = np.iinfo(dtype)
    values = (sums + bias).astype(np.float32) * np.float32(scale) * own
    return np.clip(np.rint(values.astype(np.float64)) + int(zero), info.min, info.max).astype(dtype)


@pytest.mark.parametrize("largest_bias", [5000, 2**31 - 1])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("case", [CASES[0], CASES[1], CASES[3], CASES[5], CASES[7], CASES[8], CASES[14]], ids=str)
def test_sums_are_rounded_to_even(case, dtype, largest_bias):
    x, w = operands(case, dtype, np.int8, 7)
    _, _, filters, groups, *_, strides, dilations, pads = case
    shape, rng = (-1, *(1,) * (x.ndim - 2)), np.random.default_rng(1)
    bias = rng.integers(-largest_bias - 1, largest_bias + 1, filters).astype(np.int32)
    own, zero = rng.choice([0.25, 0.0625, 0.0071], filters).astype(np.float32), numbers((), dtype, 5)
    x_scale, y_scale = np.float32(0.02), np.float32(0.04)  # 0.5: many ties
    given = [x, x_scale, zero, w, own, np.zeros(filters, np.int8), y_scale, zero, bias]
    sums = convolve(x.astype(np.int64) - int(zero), w.astype(np.int64), groups, strides, dilations, pads)
    wanted = rounded(sums, bias.astype(np.int64).reshape(shape), x_scale / y_scale, own.reshape(shape), zero, dtype)
    for threads in (1, 2):
        (found,) = run_node("QLinearConv", given, [wanted], **attributes(case), threads=threads, version=10)
        np.testing.assert_array_equal(found, wanted)


def test_scales_that_are_not_finite():
    x, w = operands(CASES[1], np.uint8, np.int8)
    zero, filters = np.uint8(9), CASES[1][2]
    own = np.array([np.inf, np.nan, -np.inf, 1, 0, 1e30, -1e30], np.float32)
    given = [x, np.float32(1), zero, w, own, np.zeros(filters, np.int8), np.float32(1), zero]
    (found,) = run_node("QLinearConv", given, [np.empty((2, filters, 5, 7), np.uint8)], **attributes(CASES[1]), version=10)
    sums = convolve(x.astype(np.int64) - 9, w.astype(np.int64), 1, (1, 1), (1, 1), (0, 0, 0, 0))
    assert (found[:, 1] == 0).all() and (found[:, 4] == 9).all()  # NaN is the smallest number
    np.testing.assert_array_equal(found[:, 0], np.where(sums[:, 0] > 0, 255, 0))
