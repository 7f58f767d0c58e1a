# SPDX-License-Identifier: Apache-2.0
"""Matrix products."""

from __future__ import annotations

import math
from typing import Any

from penlight.errors import DTypeError, ShapeError
from penlight.ops.broadcast import broadcast_shapes, promote, reduced, same_dtype, unbroadcast
from penlight.ops.dispatch import apply, shortcut
from penlight.ops.operator import Operator, Spec
from penlight.ops.registry import register
from penlight.ops.samples import of, sample
from penlight.tensor import Tensor


@register
class MatMul(Operator):
    """a (..., N, K) times b (..., K, M); the leading dimensions broadcast"""

    name = "matmul"
    onnx = "MatMul"
    saves_inputs = "others"
    samples = (
        sample(of(3, 4), of(4, 5)),
        sample(of(2, 3, 4), of(4, 5)),
        sample(of(2, 1, 3, 4), of(3, 4, 2)),
        sample(of(0, 4), of(4, 5)),
        sample(of(3, 0), of(0, 5)),
        sample(of(5, 3, strided=True), of(3, 2, strided=True)),
    )

    def infer(self, a: Spec, b: Spec) -> Spec:
        if a.shape[-1] != b.shape[-2]:
            hint = "; did you mean b.T?" if len(b.shape) == 2 and b.shape[-1] == a.shape[-1] else ""
            raise ShapeError(
                f"matmul: inner dimensions differ: a {tuple(map(int, a.shape))} has {a.shape[-1]}, "
                f"b {tuple(map(int, b.shape))} has {b.shape[-2]}{hint}"
            )
        lead = broadcast_shapes("matmul", a.shape[:-2], b.shape[:-2])
        return Spec((*lead, a.shape[-2], b.shape[-1]), same_dtype("matmul", a, b))

    def forward(self, xp, a, b):
        if b.ndim == 2 and a.ndim > 2 and a.size and a.flags.c_contiguous:  # one large GEMM instead of one per batch entry
            return xp.matmul(a.reshape(-1, a.shape[-1]), b).reshape(*a.shape[:-1], b.shape[-1])
        return xp.matmul(a, b)

    def vjp(self, grad, output, a, b):
        ga = unbroadcast(matmul(grad, b.mT), a) if a.requires_grad else None
        if not b.requires_grad:
            return ga, None
        if len(b.shape) == 2 and len(a.shape) > 2:
            flat = a.reshape(_rows(a), a.shape[-1]), grad.reshape(_rows(grad), grad.shape[-1])
            return ga, matmul(flat[0].mT, flat[1])
        return ga, unbroadcast(matmul(a.mT, grad), b)

    def backward(self, xp, needs, grad, output, a, b):
        ga = reduced(xp.matmul(grad, b.swapaxes(-1, -2)), a) if needs[0] else None
        if not needs[1]:
            return ga, None
        if len(b.shape) == 2 and a.ndim > 2 and a.size and grad.size:
            return ga, a.reshape(-1, a.shape[-1]).T @ grad.reshape(-1, grad.shape[-1])
        return ga, reduced(xp.matmul(a.swapaxes(-1, -2), grad), b)


@register
class Linear(Operator):
    """x (..., in) times weight (out, in) transposed, plus bias (out) if given"""

    name = "linear"
    saves_inputs = "others"
    samples = (
        sample(of(3, 4), of(5, 4), of(5)),
        sample(of(2, 3, 4), of(5, 4), None),
        sample(of(4), of(5, 4), of(5)),
        sample(of(0, 4), of(5, 4), of(5)),
        sample(of(5, 3, strided=True), of(2, 3), of(2)),
    )

    def infer(self, x: Spec, weight: Spec, bias: Spec | None = None) -> Spec:
        if len(weight.shape) != 2 or not x.shape or x.shape[-1] != weight.shape[1]:
            raise ShapeError(
                f"linear: input {tuple(map(int, x.shape))} must end in {weight.shape[-1]}, the last size of "
                f"weight {tuple(map(int, weight.shape))}{_linear_hint(x.shape, weight.shape)}"
            )
        if bias is not None and tuple(bias.shape) != (weight.shape[0],):
            raise ShapeError(f"linear: bias {tuple(bias.shape)} must have shape ({weight.shape[0]},)")
        same_dtype("linear", x, weight, *(() if bias is None else (bias,)))
        return Spec((*x.shape[:-1], weight.shape[0]), x.dtype)

    def forward(self, xp, x, weight, bias):
        if x.dtype != weight.dtype or (bias is not None and bias.shape != weight.shape[:1]):
            raise ValueError("the dtypes or the bias do not fit")  # NumPy would compute all the same; infer says what is wrong
        rows = x if x.ndim == 2 else x.reshape(-1, x.shape[-1]) if weight.shape[1] else x.reshape(_rows(x), 0)
        result = rows @ weight.T
        if bias is not None:
            result += bias
        return result if x.ndim == 2 else result.reshape(*x.shape[:-1], weight.shape[0])

    def vjp(self, grad, output, x, weight, bias):
        gx = matmul(grad, weight) if x.requires_grad else None
        rows = grad if grad._data.ndim == 2 else grad.reshape(_rows(grad), grad.shape[-1])
        gw = matmul(rows.mT, x.reshape(_rows(x), x.shape[-1])) if weight.requires_grad else None
        return gx, gw, None if bias is None or not bias.requires_grad else rows.sum(0)

    def backward(self, xp, needs, grad, output, x, weight, bias):
        rows = grad.reshape(-1, grad.shape[-1]) if grad.size else grad.reshape(_rows(grad), grad.shape[-1])
        gx = (rows @ weight).reshape(*grad.shape[:-1], weight.shape[1]) if needs[0] else None
        gw = rows.T @ x.reshape(rows.shape[0], x.shape[-1]) if needs[1] else None
        return gx, gw, rows.sum(axis=0) if needs[2] else None


def _linear_hint(x: Any, weight: Any) -> str:
    if len(weight) != 2 or not x:
        return "; weight is (out_features, in_features)"
    if len(x) > 2 and math.prod(map(int, x[1:])) == weight[1]:
        return "; did you mean input.flatten(1)?"
    if x[-1] == weight[0]:
        return "; did you mean weight.T?"
    if len(x) == 2 and x[0] == weight[1]:
        return "; did you mean input.T?"
    return f"; make the layer with in_features={x[-1]}"


def _rows(x: Any) -> int:
    count = 1
    for size in x.shape[:-1]:
        count *= size
    return count


_MATMUL, _LINEAR = MatMul(), Linear()


@shortcut("product", MatMul)
def matmul(input: Tensor, other: Tensor) -> Tensor:
    """Returns the matrix product; 1-D operands count as a row on the left and a column on the right.

    Raises:
        ShapeError: the inner dimensions differ, or an operand is 0-dim.
    """
    a, b = promote(input, other)
    if a._data.ndim >= 2 and b._data.ndim >= 2:
        return apply(_MATMUL, a, b)
    if not a._data.ndim or not b._data.ndim:
        raise ShapeError(f"matmul: both operands need a dimension, came {tuple(a.shape)} and {tuple(b.shape)}; use * to scale")
    product = apply(_MATMUL, a.unsqueeze(0) if a._data.ndim == 1 else a, b.unsqueeze(1) if b._data.ndim == 1 else b)
    if b._data.ndim == 1:
        product = product.squeeze(-1)
    return (
        product.squeeze(-1 if b._data.ndim > 1 else 0)
        if a._data.ndim == 1 and b._data.ndim == 1
        else (product.squeeze(-2) if a._data.ndim == 1 else product)
    )


def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """Returns the products of two batches of matrices, (B, N, K) by (B, K, M)."""
    if input.ndim != 3 or mat2.ndim != 3:
        raise ShapeError(f"bmm: expected two 3-D tensors, came {tuple(input.shape)} and {tuple(mat2.shape)}; use matmul")
    return matmul(input, mat2)


def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """Returns the product of two matrices, (N, K) by (K, M)."""
    if input.ndim != 2 or mat2.ndim != 2:
        raise ShapeError(f"mm: expected two matrices, came {tuple(input.shape)} and {tuple(mat2.shape)}; use matmul")
    return matmul(input, mat2)


def dot(input: Tensor, other: Tensor) -> Tensor:
    """Returns the inner product of two vectors of one dtype.

    Raises:
        ShapeError: they are no vectors of one size.
        DTypeError: their dtypes differ.
    """
    if input.ndim != 1 or other.ndim != 1 or input.shape != other.shape:
        raise ShapeError(f"dot: expected two vectors of one size, came {tuple(input.shape)} and {tuple(other.shape)}; use matmul")
    if input.dtype is not other.dtype:
        raise DTypeError(f"dot: expected two vectors of one dtype, came {input.dtype} and {other.dtype}; convert with .to(dtype)")
    return (input * other).sum(dtype=input.dtype)


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """Returns the outer product of two vectors, (N,) by (M,) to (N, M)."""
    return input.unsqueeze(1) * vec2.unsqueeze(0)


@shortcut("linear", Linear)
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Returns `input @ weight.T + bias`.

    Args:
        input: (..., in_features), floating point.
        weight: (out_features, in_features).
        bias: (out_features,) or None.

    Raises:
        ShapeError: the sizes do not fit.
    """
    return apply(_LINEAR, input, weight, bias)
