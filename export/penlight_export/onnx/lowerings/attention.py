# SPDX-License-Identifier: Apache-2.0
"""The lowering of attention, spelled out: ONNX's own operator came with version 23 and few engines have it."""

from __future__ import annotations

from typing import Any

import numpy as np

from penlight_export.graph import Value
from penlight_export.onnx.builder import Builder, symbol_text
from penlight_export.onnx.lowerings.registry import lowering


@lowering("attention", "flash_attention")
def attention(b: Builder, operator: Any, q: Value, k: Value, v: Value, mask: Value | None) -> tuple[Value, Value | None]:
    """softmax(q * scale @ k.T + mask) @ v, and the probabilities; flash_attention's second output serves the gradient only."""
    rank = len(b.specs[k].shape)
    columns = b.op("Transpose", k, perm=[*range(rank - 2), rank - 1, rank - 2])
    scores = b.op("MatMul", b.op("Mul", q, b.like(operator.scale, q)), columns)
    if operator.is_causal:
        scores = b.op("Where", _causal(b, (b.specs[q].shape[-2], b.specs[k].shape[-2])), scores, b.like(-np.inf, q))
    if mask is not None:
        boolean = b.specs[mask].dtype.numpy == np.bool_
        scores = b.op("Where", mask, scores, b.like(-np.inf, q)) if boolean else b.op("Add", scores, mask)
    weights = b.op("Softmax", scores, axis=-1)
    if mask is not None:  # a row that sees nothing is 0 / 0
        weights = b.op("Where", b.op("IsNaN", weights), b.like(0, q), weights)
    return b.op("MatMul", weights, v), weights if operator.name == "attention" else None


def _causal(b: Builder, sizes: tuple[int, int]) -> Value:
    """(L, S) bool: row i sees columns 0..i. A constant when both sizes are fixed, else computed once for all layers."""
    rows, columns = sizes
    if symbol_text(rows) is None and symbol_text(columns) is None:
        return b.constant(np.tril(np.ones((int(rows), int(columns)), bool)), np.bool_)
    return b.shared(
        f"causal {symbol_text(rows) or rows} {symbol_text(columns) or columns}", lambda: _compare_positions(b, rows, columns)
    )


def _compare_positions(b: Builder, rows: int, columns: int) -> Value:
    zero, one = b.integers(0), b.integers(1)
    row = b.op("Unsqueeze", b.op("Range", zero, b.size(rows), one), b.integers([1]))
    return b.op("LessOrEqual", b.op("Range", zero, b.size(columns), one), row)
