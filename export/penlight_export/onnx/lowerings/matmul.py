# SPDX-License-Identifier: Apache-2.0
"""Lowerings of matrix products."""

from __future__ import annotations

from typing import Any

from penlight_export.graph import Value
from penlight_export.onnx.builder import Builder
from penlight_export.onnx.lowerings.registry import lowering


@lowering("linear")
def linear(b: Builder, operator: Any, x: Value, weight: Value, bias: Value | None) -> Value:
    """Gemm for matrices; MatMul with a Transpose, which is folded when the weight is constant, for other ranks."""
    if len(b.specs[x].shape) == 2:
        return b.op("Gemm", x, weight, bias, transB=1)
    product = b.op("MatMul", x, b.op("Transpose", weight, perm=[1, 0]))
    return product if bias is None else b.op("Add", product, bias)
