# SPDX-License-Identifier: Apache-2.0
"""Products of matrices."""

from __future__ import annotations

import penlight as pl
from penlight.nn import functional as F
from penlight_export.imported.registry import operator

Tensor = pl.Tensor


@operator("MatMul")
def matmul(a: Tensor, b: Tensor) -> Tensor:
    """As NumPy multiplies."""
    return pl.matmul(a, b)


@operator("Gemm")
def gemm(
    a: Tensor, b: Tensor, c: Tensor | None = None, *, alpha: float = 1.0, beta: float = 1.0, transA: int = 0, transB: int = 0
) -> Tensor:
    """alpha A B + beta C, with either matrix transposed."""
    a = a.permute(1, 0) if transA else a
    if transB and alpha == beta == 1 and (c is None or (c.ndim == 1 and c.shape[0] == b.shape[0])):
        return F.linear(a, b, c)
    product = pl.matmul(a, b.permute(1, 0) if transB else b)
    product = product if alpha == 1 else product * alpha
    if product.dtype is not a.dtype:
        product = product.to(a.dtype)
    return product if c is None else product + (c if beta == 1 else (c * beta).to(c.dtype))


@operator("Einsum")
def einsum(*inputs: Tensor, equation: str) -> Tensor:
    """A sum of products in Einstein's notation."""
    return pl.einsum(equation, *inputs)
