# SPDX-License-Identifier: Apache-2.0
"""MatMulInteger and QLinearMatMul are exact for every size, sign and zero point, on any number of threads."""

import numpy as np
import pytest
from kernel_runner import rand, run_node

SIZES = [(1, 1, 1), (1, 33, 70), (6, 16, 2), (7, 17, 3), (13, 100, 165), (100, 5, 1), (3, 4, 0), (300, 40, 511)]
TYPES = [np.uint8, np.int8]


def numbers(shape, dtype, seed):
    """All numbers of the type, the ends often."""
    info, rng = np.iinfo(dtype), np.random.default_rng(seed)
    ends = rng.choice([info.min, info.max], shape)
    return np.where(rng.random(shape) < 0.5, ends, rng.integers(info.min, info.max + 1, shape)).astype(dtype)


def product(a, b, a_zero, b_zero):
    left = a.astype(np.int64) - np.asarray(a_zero, np.int64).reshape(-1, 1)
    return left @ (b.astype(np.int64) - np.asarray(b_zero, np.int64))


@pytest.mark.parametrize("right", TYPES)
@pytest.mark.parametrize("left", TYPES)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_sums_are_exact(size, left, right):
    m, n, k = size
    a, b = numbers((m, k), left, 0), numbers((k, n), right, 1)
    middle = np.array(0 if left is np.int8 else 128, left)  # signed numbers, which have products of their own
    zeros = [(np.array(3, left), np.array(5, right)), (numbers(m, left, 2), numbers(n, right, 3)), (middle, numbers((), right, 4))]
    for a_zero, b_zero in zeros:
        wanted = product(a, b, a_zero, b_zero).astype(np.int32)
        for threads in (1, 3):
            (sums,) = run_node("MatMulInteger", [a, b, a_zero, b_zero], [wanted], threads=threads, version=10)
            np.testing.assert_array_equal(sums, wanted)
    (plain,) = run_node("MatMulInteger", [a, b], [wanted], version=10)
    np.testing.assert_array_equal(plain, a.astype(np.int32) @ b.astype(np.int32))


def test_batches_share_a_side():
    a, b = numbers((3, 1, 7, 20), np.uint8, 0), numbers((2, 20, 9), np.int8, 1)
    wanted = a.astype(np.int32) @ b.astype(np.int32)
    (sums,) = run_node("MatMulInteger", [a, b], [wanted], threads=2, version=10)
    np.testing.assert_array_equal(sums, wanted)


@pytest.mark.parametrize(
    ("left", "right"), [((20,), (20, 9)), ((7, 20), (20,)), ((20,), (20,)), ((20,), (3, 20, 9)), ((2, 7, 20), (20,))]
)
def test_vectors_are_rows_on_the_left_and_columns_on_the_right(left, right):
    """As numpy.matmul has it; their own axis is not in the result."""
    a, b = numbers(left, np.uint8, 0), numbers(right, np.int8, 1)
    wanted = np.matmul(a.astype(np.int32) - 3, b.astype(np.int32) - 5)
    zeros = [np.array(3, np.uint8), np.array(5, np.int8)]
    (sums,) = run_node("MatMulInteger", [a, b, *zeros], [wanted], version=10)
    assert sums.shape == wanted.shape
    np.testing.assert_array_equal(sums, wanted)
    one = np.float32(1)
    bytes_of = [a, one, zeros[0], b, one, zeros[1], np.float32(1000), np.array(100, np.uint8)]
    (rounded,) = run_node("QLinearMatMul", bytes_of, [np.asarray(wanted, np.uint8)], version=10)
    np.testing.assert_array_equal(rounded, np.clip(np.rint(wanted / np.float32(1000)) + 100, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("dtype", TYPES)
def test_results_are_rounded_to_8_bits(dtype):
    a, b, zero = numbers((2, 9, 40), dtype, 0), numbers((40, 21), np.int8, 1), np.array(7, dtype)
    scale = rand(21, low=0.001, high=0.01, seed=2)
    operands = [a, np.float32(0.02), zero, b, scale, np.zeros(21, np.int8), np.float32(0.03), zero]
    (found,) = run_node("QLinearMatMul", operands, [np.empty((1, 1, 1), dtype)], version=10, threads=2)
    sums, info = (a.astype(np.int64) - 7) @ b.astype(np.int64), np.iinfo(dtype)
    factors = np.float32(0.02) * scale / np.float32(0.03)
    wanted = np.clip(np.rint(sums.astype(np.float32) * factors) + np.float32(7), info.min, info.max).astype(dtype)
    np.testing.assert_array_equal(found, wanted)
