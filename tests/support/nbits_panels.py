# SPDX-License-Identifier: Apache-2.0
"""Operands of MatMulNBits as the edge runtime takes them, and what they mean."""

import numpy as np

PANEL, GROUP = 16, 8


def nbits_inputs(m, k, n, bits, block, zeros="", has_bias=False, seed=0):
    """x (1, m, k), weights, scales, zero points of a dtype or None, bias; what comes behind the last one is left out."""
    rng = np.random.default_rng([seed, m, k, n, bits])
    panels, groups, blocks = -(-n // PANEL), -(-k // GROUP), -(-k // block)
    x = rng.standard_normal((1, m, k)).astype(np.float32)
    if bits == 4:
        w = rng.integers(0, 2**32, (panels, groups, PANEL), dtype=np.uint32)
    else:
        w = rng.integers(-128, 128, (panels, groups * GROUP, PANEL)).astype(np.int8)
    sizes = panels, blocks, PANEL
    scales = (rng.uniform(0.1, 1.0, sizes) / 2**bits).astype(np.float32)
    points = {"uint8": rng.integers(0, 2**bits, sizes).astype(np.uint8), "float32": rng.uniform(0, 9, sizes).astype(np.float32)}
    given = [x, w, scales, points.get(zeros), rng.standard_normal(n).astype(np.float32) if has_bias else None]
    while given[-1] is None:
        given.pop()
    return given


def nbits_product(given, n, bits, block):
    """The product, float32 of sums in float64."""
    x, w, scales, zeros, bias = (*given, None, None)[:5]
    k = x.shape[-1]
    numbers = w.astype(np.float64)
    if bits == 4:
        nibbles = [w[:, :, None] >> np.uint32(4 * row) & np.uint32(15) for row in range(GROUP)]
        numbers = np.concatenate(nibbles, 2).astype(np.float64).reshape(len(w), w.shape[1] * GROUP, PANEL)
    middle = 8.0 if bits == 4 else 0.0
    points = np.full(scales.shape, middle) if zeros is None else zeros.astype(np.float64)
    if bits == 8 and zeros is not None and zeros.dtype == np.uint8:
        points = points - 128
    of_row = np.arange(k) // block
    values = (numbers[:, :k] - points[:, of_row]) * scales[:, of_row]
    matrix = values.transpose(1, 0, 2).reshape(k, len(w) * PANEL)[:, :n]
    return (x.astype(np.float64) @ matrix + (0 if bias is None else bias)).astype(np.float32)
