# SPDX-License-Identifier: Apache-2.0
"""Distances, similarities and normalisation by a norm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penlight.errors import ShapeError
from penlight.ops.arithmetic import clamp, where
from penlight.ops.broadcast import broadcast_shapes
from penlight.ops.elementwise import abs as magnitude
from penlight.ops.elementwise import sqrt
from penlight.ops.matmul import matmul
from penlight.tensor import Tensor


def vector_length(input: Tensor, p: float, dim: Any, keepdim: bool = False) -> Tensor:
    """Returns (sum |x|^p)^(1/p) along `dim`: the largest magnitude for p = infinity."""
    if p == float("inf"):
        return magnitude(input).amax(dim, keepdim=keepdim)
    if p == 0:
        return where(input == 0, input * 0.0, 1.0).sum(dim, keepdim=keepdim)
    if p == 1:
        return magnitude(input).sum(dim, keepdim=keepdim)
    if p == 2:
        return sqrt((input * input).sum(dim, keepdim=keepdim))
    return (magnitude(input) ** p).sum(dim, keepdim=keepdim) ** (1.0 / p)


def normalize(input: Tensor, p: float = 2.0, dim: int | Sequence[int] = 1, eps: float = 1e-12) -> Tensor:
    """Returns x / max(|x|_p, eps) along `dim`."""
    return input / clamp(vector_length(input, p, dim, keepdim=True), min=eps)


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """Returns |x1 - x2 + eps|_p along the last dimension: (N,) of (N, D), or () of (D,); the shapes broadcast."""
    return vector_length(x1 - x2 + eps, p, -1, keepdim)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """Returns x1 . x2 / (max(|x1|, eps) * max(|x2|, eps)) along `dim`; the shapes broadcast."""
    if x1.shape != x2.shape:
        shape = broadcast_shapes("cosine_similarity", x1.shape, x2.shape)
        x1, x2 = x1.expand(shape), x2.expand(shape)
    first = clamp(vector_length(x1, 2, dim, keepdim=True), min=eps)
    second = clamp(vector_length(x2, 2, dim, keepdim=True), min=eps)
    return ((x1 / first) * (x2 / second)).sum(dim)


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Returns x1 W_k x2 + b_k for every k.

    Args:
        input1: (..., D1). input2: (..., D2), with the same leading sizes.
        weight: (O, D1, D2). bias: (O,) or None.

    Returns:
        (..., O).

    Raises:
        ShapeError: the sizes do not fit together.
    """
    outputs, first, second = weight.shape
    if input1.shape[-1] != first or input2.shape[-1] != second or tuple(input1.shape[:-1]) != tuple(input2.shape[:-1]):
        came = f"{tuple(input1.shape)} and {tuple(input2.shape)}"
        raise ShapeError(f"bilinear: weight {tuple(weight.shape)} wants (..., {first}) and (..., {second}), came {came}")
    lead = tuple(input1.shape[:-1])
    x1, x2 = input1.reshape((-1, first)), input2.reshape((-1, second))
    mixed = matmul(x1, weight.permute(1, 0, 2).reshape((first, outputs * second))).reshape((-1, outputs, second))
    result = (mixed * x2.unsqueeze(1)).sum(-1).reshape((*lead, outputs))
    return result if bias is None else result + bias
