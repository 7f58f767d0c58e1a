# SPDX-License-Identifier: Apache-2.0
"""Closeness and infinities; blends and products that are sums of simpler ones."""

from __future__ import annotations

import math
from typing import Any

from penlight.errors import ArgumentError
from penlight.ops import complex_parts
from penlight.ops.arithmetic import clamp, maximum, minimum, where
from penlight.ops.broadcast import broadcast_shapes, floating, operand, promote
from penlight.ops.elementwise import abs as magnitude
from penlight.ops.elementwise import sqrt
from penlight.ops.matmul import bmm, matmul, mm, outer
from penlight.ops.shape import stack
from penlight.tensor import Tensor


def isclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    """Returns whether |input - other| <= atol + rtol * |other|, bool, broadcast; equal infinities are close."""
    if rtol < 0 or atol < 0:
        raise ArgumentError(f"isclose: rtol and atol must not be negative, came {rtol} and {atol}")
    if rtol < 0 or atol < 0:
        raise ArgumentError(f"isclose: rtol and atol must not be negative, came {rtol} and {atol}")
    a, b = promote(input, other)
    close = a == b
    if a.dtype.kind >= 2 or rtol or atol:
        x, y = floating(a), floating(b)
        finite = ~(x.isinf() | y.isinf() | x.isnan() | y.isnan())
        close = close | (finite & (magnitude(x - y) <= atol + rtol * magnitude(y)))
    return close | (a.isnan() & b.isnan()) if equal_nan and a.dtype.kind >= 2 else close


def isposinf(input: Tensor) -> Tensor:
    """Returns whether each element is +infinity."""
    return input == math.inf


def isneginf(input: Tensor) -> Tensor:
    """Returns whether each element is -infinity."""
    return input == -math.inf


def isreal(input: Tensor) -> Tensor:
    """Returns whether the imaginary part is 0: true everywhere for real dtypes."""
    return complex_parts.imag(input) == 0 if input.dtype.kind == 3 else (input == input) | True


def allclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Returns whether all elements are close, see `isclose`; a Python bool."""
    return bool(isclose(input, other, rtol, atol, equal_nan).all())


def nan_to_num(input: Tensor, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Tensor:
    """Returns the input with NaN and the infinities replaced; by default infinities become the largest numbers."""
    if input.dtype.kind < 2:
        return input.clone()
    largest = _largest(input)
    high = largest if posinf is None else posinf
    low = -largest if neginf is None else neginf
    x = where(input != input, 0.0 if nan is None else nan, input)
    return where(x == math.inf, high, where(x == -math.inf, low, x))


def _largest(t: Tensor) -> float:
    return {"float64": 1.7976931348623157e308, "float32": 3.4028234663852886e38, "float16": 65504.0}.get(t.dtype.name, 3.3895314e38)


def positive(input: Tensor) -> Tensor:
    """Returns the input."""
    return input


def rsub(input: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """Returns `other - alpha * input`."""
    return (
        operand(other) - (input if alpha == 1 else input * alpha) if not isinstance(other, (int, float)) else other - input * alpha
    )


def sgn(input: Tensor) -> Tensor:
    """Returns -1, 0 or 1 for each element."""
    return input.sign()


def deg2rad(input: Tensor) -> Tensor:
    """Returns degrees as radians."""
    return floating(input) * (math.pi / 180)


def rad2deg(input: Tensor) -> Tensor:
    """Returns radians as degrees."""
    return floating(input) * (180 / math.pi)


def float_power(input: Any, exponent: Any) -> Tensor:
    """Returns `input ** exponent` in float64, or complex128 where one of the two is complex."""
    a, b = operand(input), operand(exponent)
    wide = "complex128" if 3 in (a.dtype.kind, b.dtype.kind) else "float64"
    return a.to(wide) ** b.to(wide)


def fmax(input: Tensor, other: Tensor) -> Tensor:
    """Returns the larger element of the two, broadcast; the other one where one is NaN."""
    a, b = promote(input, other)
    return _other_if_nan(a, b, maximum)


def fmin(input: Tensor, other: Tensor) -> Tensor:
    """Returns the smaller element of the two, broadcast; the other one where one is NaN."""
    a, b = promote(input, other)
    return _other_if_nan(a, b, minimum)


def _other_if_nan(a: Tensor, b: Tensor, choose: Any) -> Tensor:
    if a.dtype.kind < 2:
        return choose(a, b)
    missing_a, missing_b = a != a, b != b
    return choose(where(missing_a & ~missing_b, b.expand((a + b).shape), a), where(missing_b & ~missing_a, a, b))


def heaviside(input: Tensor, values: Tensor) -> Tensor:
    """Returns 0 below 0, `values` at 0, 1 above, broadcast."""
    a, b = promote(input, values)
    return where(a == 0, b, (a > 0).to(a.dtype)).detach()


def hypot(input: Tensor, other: Tensor) -> Tensor:
    """Returns sqrt(input^2 + other^2), broadcast."""
    a, b = promote(input, other)
    total = a * a + b * b
    zero = total == 0
    return where(zero, total * 0.0, sqrt(where(zero, 1.0, total)))


def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """Returns input + weight * (end - input), broadcast."""
    return input + weight * (end - input)


def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """Returns input + value * tensor1 * tensor2."""
    return input + tensor1 * tensor2 * value


def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """Returns input + value * tensor1 / tensor2."""
    return input + tensor1 / tensor2 * value


def _blend(input: Tensor, product: Tensor, beta: float, alpha: float) -> Tensor:
    scaled = product if alpha == 1 else product * alpha
    if beta == 0:  # what is there is not read: it may be NaN
        return scaled.expand(broadcast_shapes("addmm", input.shape, scaled.shape))
    return (input if beta == 1 else input * beta) + scaled


def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """Returns beta * input + alpha * (mat1 @ mat2)."""
    return _blend(input, mm(mat1, mat2), beta, alpha)


def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """Returns beta * input + alpha * (mat @ vec)."""
    return _blend(input, matmul(mat, vec), beta, alpha)


def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """Returns beta * input + alpha * outer(vec1, vec2)."""
    return _blend(input, outer(vec1, vec2), beta, alpha)


def addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """Returns beta * input + alpha * the sum of the products of two batches of matrices."""
    return _blend(input, bmm(batch1, batch2).sum(0), beta, alpha)


def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """Returns beta * input + alpha * the products of two batches of matrices."""
    return _blend(input, bmm(batch1, batch2), beta, alpha)


def mv(input: Tensor, vec: Tensor) -> Tensor:
    """Returns the product of a matrix and a vector."""
    return matmul(input, vec)


def inner(input: Tensor, other: Tensor) -> Tensor:
    """Returns the sums of products over the last dimensions of both."""
    if not input.ndim or not other.ndim:
        return input * other
    flat = matmul(input.reshape(-1, input.shape[-1]), other.reshape(-1, other.shape[-1]).transpose(0, 1))
    return flat.reshape((*input.shape[:-1], *other.shape[:-1]))


def vdot(input: Tensor, other: Tensor) -> Tensor:
    """Returns the inner product of two vectors, the first of them conjugated."""
    return (complex_parts.conj(input) * other).sum()


def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """Returns the sums of products over pairs of dimensions: the last `dims` of a with the first of b, or as listed."""
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if isinstance(dims, int):
        left, right = list(range(a.ndim - dims, a.ndim)), list(range(dims))
    else:
        left, right = ([d % t.ndim for d in given] for given, t in zip(dims, (a, b), strict=True))
    rows = [d for d in range(a.ndim) if d not in left]
    columns = [d for d in range(b.ndim) if d not in right]
    shape = (*(a.shape[d] for d in rows), *(b.shape[d] for d in columns))
    common = [(p, q) for p, q in zip(left, right, strict=True) if a.shape[p] != b.shape[q]]
    for p, q in common:  # a size of 1 broadcasts: the other one is summed up
        a, b = (a, b.sum(q, keepdim=True)) if a.shape[p] == 1 else (a.sum(p, keepdim=True), b)
    inner_size = _total(a, left)
    x = a.permute((*rows, *left)).reshape((_total(a, rows), inner_size))
    y = b.permute((*right, *columns)).reshape((inner_size, _total(b, columns)))
    return matmul(x, y).reshape(shape)


def _total(t: Tensor, dims: list[int]) -> int:
    count = 1
    for d in dims:
        count *= t.shape[d]
    return count


def kron(input: Tensor, other: Tensor) -> Tensor:
    """Returns the Kronecker product: every element of `input` times all of `other`."""
    rank = max(input.ndim, other.ndim)
    a = input.reshape((1,) * (rank - input.ndim) + tuple(input.shape))
    b = other.reshape((1,) * (rank - other.ndim) + tuple(other.shape))
    wide = a.reshape(tuple(n for size in a.shape for n in (size, 1))) * b.reshape(tuple(n for size in b.shape for n in (1, size)))
    return wide.reshape(tuple(m * n for m, n in zip(a.shape, b.shape, strict=True)))


def cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """Returns the cross products along `dim` of size 3 (the first such dimension for None), broadcast."""
    if dim is None:
        dim = next(d for d, size in enumerate(input.shape) if size == 3)
    shape = (input * other).shape
    a, b = (t.expand(shape).unbind(dim) for t in (input, other))
    return stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]], dim)


def clamp_min(input: Tensor, min: Any) -> Tensor:
    """Returns the input, at least `min`."""
    return clamp(input, min=min)


def clamp_max(input: Tensor, max: Any) -> Tensor:
    """Returns the input, at most `max`."""
    return clamp(input, max=max)
