# SPDX-License-Identifier: Apache-2.0
"""MatMulDequantized is DequantizeLinear and MatMul, up to the order of roundings."""

import numpy as np
import pytest
from kernel_runner import run_node

OURS = {"domain": "ai.penlight"}
SIZES = [(1, 1, 1), (1, 64, 33), (3, 7, 20), (4, 130, 300), (5, 40, 9), (20, 66, 70), (1, 0, 4), (0, 3, 4)]


def product(x, w, scale, zero, block):
    zeros = np.zeros_like(scale, w.dtype) if zero is None else zero
    if block:
        scale, zeros = (np.repeat(each, block, 0)[: len(w)] for each in (scale, zeros))
    return x.astype(np.float64) @ ((w.astype(np.float64) - zeros) * scale)


@pytest.mark.parametrize("has_zeros", [True, False])
@pytest.mark.parametrize("kind", ["one", "columns", "blocks"])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_weights_are_scaled(size, dtype, kind, has_zeros):
    (m, k, n), rng, info = size, np.random.default_rng(0), np.iinfo(dtype)
    block = 32 if kind == "blocks" else 0
    shape = {"one": (), "columns": (n,), "blocks": (-(-k // 32), n)}[kind]
    x, w = rng.standard_normal((1, m, k)).astype(np.float32), rng.integers(info.min, info.max + 1, (k, n)).astype(dtype)
    scale = rng.uniform(0.001, 0.01, shape).astype(np.float32)
    zero = rng.integers(info.min, info.max + 1, shape).astype(dtype) if has_zeros else None
    wanted = product(x, w, scale, zero, block).astype(np.float32)
    given = [x, w, np.asarray(scale), *([zero] if has_zeros else [])]
    options = {"block_size": block} if block else {}
    results = [run_node("MatMulDequantized", given, [wanted], threads=threads, **options, **OURS)[0] for threads in (1, 3)]
    np.testing.assert_array_equal(*results)
    np.testing.assert_allclose(results[0], wanted, rtol=1e-5, atol=2e-4 * max(1, k) ** 0.5)
