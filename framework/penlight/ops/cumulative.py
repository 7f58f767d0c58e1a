# SPDX-License-Identifier: Apache-2.0
"""Running products, extremes and sums of exponentials; differences and areas along a dimension."""

from __future__ import annotations

from typing import Any

import numpy as np

from penlight.dtype import as_dtype, int64
from penlight.ops import dims as _dims
from penlight.ops.arithmetic import where
from penlight.ops.broadcast import floating
from penlight.ops.dispatch import apply
from penlight.ops.elementwise import exp
from penlight.ops.gather import gather
from penlight.ops.operator import NotDifferentiable, Operator, Spec
from penlight.ops.reduction import cumsum, diagonal_mask
from penlight.ops.registry import register
from penlight.ops.results import named
from penlight.ops.samples import of, sample, shapes
from penlight.ops.shape import cat, narrow
from penlight.tape import mode
from penlight.tensor import Tensor


class _Running(Operator):
    dim: int

    def infer(self, x: Spec) -> Spec:
        return x


def reversed_sum(t: Tensor, dim: int) -> Tensor:
    """The running sum from the end."""
    return cumsum(t.flip(dim), dim).flip(dim)


@register
class Cumprod(_Running):
    """The running product along `dim`"""

    name = "cumprod"
    saves_output = True
    samples = (shapes(3, 4, dim=1), shapes(0, 3, dim=0), sample(of(5, 3, strided=True), dim=0))

    dim: int

    def forward(self, xp, x):
        return xp.cumprod(x, axis=self.dim, dtype=x.dtype)

    def vjp(self, grad, output, x):
        # Up to the first zero the product of the others is output / x; at it the zero is left out; after it all is 0.
        zero = x == 0
        if mode.enabled and zero._data.any():
            return (self._twice(grad, x),)
        zeros = cumsum(zero, self.dim)
        first = zero & (zeros == 1)
        without = apply(Cumprod(self.dim), where(first, 1.0, x))
        usual = reversed_sum(grad * output, self.dim) / where(zero, 1.0, x)
        return (where(first, reversed_sum(grad * without, self.dim), where(zeros > 0, 0.0, usual)),)

    def _twice(self, grad, x):
        """The gradient in a form that can be differentiated again where x is 0: quadratic in the size of `dim`."""
        moved = x.movedim(self.dim, -1)
        without = apply(Cumprod(moved.ndim), where(diagonal_mask(moved), 1.0, moved.unsqueeze(-2)))  # (..., left out, n)
        products = grad.movedim(self.dim, -1).unsqueeze(-2) * without.triu()
        return products.sum(-1).movedim(-1, self.dim)


@register
class LogCumsumExp(_Running):
    """log of the running sum of exp(x) along `dim`"""

    name = "logcumsumexp"
    saves_output = True
    samples = (shapes(3, 4, dim=1), shapes(0, 3, dim=0))

    dim: int

    def forward(self, xp, x):
        return xp.logaddexp.accumulate(x, axis=self.dim)

    def vjp(self, grad, output, x):
        top = x.detach().amax(self.dim, True) if x._data.size else x  # keeps the exponentials in range
        return (reversed_sum(grad * exp(top - output), self.dim) * exp(x - top),)


@register
class RunningPosition(_Running):
    """The index of the largest (or smallest) element so far along `dim`; the last one on a tie"""

    name = "running_position"
    gradient = NotDifferentiable("the result is an index")
    samples = (sample(of(3, 4, distinct=True), dim=1), sample(of(0, 3), dim=0, largest=False))

    dim: int
    largest: bool = True

    def infer(self, x: Spec) -> Spec:
        return Spec(x.shape, int64)

    def forward(self, xp, x):
        best = (xp.maximum if self.largest else xp.minimum).accumulate(x, axis=self.dim)
        places = xp.arange(x.shape[self.dim]).reshape(-1, *(1,) * (x.ndim - 1 - self.dim))
        is_best = (x == best) | xp.isnan(x) if x.dtype.kind == "f" else x == best
        return xp.maximum.accumulate(xp.where(is_best, places, 0), axis=self.dim)


def cumprod(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Returns the running product along `dim`, same shape; bool and small integers become int64."""
    input = input.to(as_dtype(dtype)) if dtype is not None else input if input.dtype.kind >= 2 else input.to(int64)
    return apply(Cumprod(_dims.one("cumprod", dim, input.ndim)), input) if input.ndim else input.clone()


def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """Returns log(cumsum(exp(input))) along `dim` without overflow."""
    input = floating(input)
    return apply(LogCumsumExp(_dims.one("logcumsumexp", dim, input.ndim)), input) if input.ndim else input.clone()


@named("values", "indices")
def cummax(input: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Returns the largest elements so far along `dim`, and their indices (int64; the last one on a tie)."""
    return _running(input, dim, True)


@named("values", "indices")
def cummin(input: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Returns the smallest elements so far along `dim`, and their indices (int64; the last one on a tie)."""
    return _running(input, dim, False)


def _running(input: Tensor, dim: int, largest: bool) -> tuple[Tensor, Tensor]:
    shape = tuple(input.shape)
    x = input if input.ndim else input.reshape(1)
    d = _dims.one("cummax" if largest else "cummin", dim, x.ndim)
    places = apply(RunningPosition(d, largest), x)
    return gather(x, d, places).reshape(shape), places.reshape(shape)


def diff(input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None, append: Tensor | None = None) -> Tensor:
    """Returns the differences of neighbours along `dim`, taken `n` times; `prepend` and `append` are joined first."""
    parts = [t for t in (prepend, input, append) if t is not None] if n else [input]
    d = _dims.one("diff", dim, input.ndim)
    x = cat(parts, d) if len(parts) > 1 else input
    for _ in range(min(n, x.shape[d])):
        size = x.shape[d]
        upper, lower = narrow(x, d, 1, size - 1), narrow(x, d, 0, size - 1)
        x = upper.logical_xor(lower) if x.dtype.kind == 0 else upper - lower
    return x


def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: float = 1, dim: int = -1) -> Tensor:
    """Returns the area under `y` along `dim` by the trapezoidal rule, at the points `x` or `dx` apart."""
    return _trapezoids(y, x, dx, dim).sum(dim)


def cumulative_trapezoid(y: Tensor, x: Tensor | None = None, *, dx: float = 1, dim: int = -1) -> Tensor:
    """Returns the running area under `y` along `dim` by the trapezoidal rule."""
    return _trapezoids(y, x, dx, dim).cumsum(dim)


def _trapezoids(y: Tensor, x: Tensor | None, dx: float, dim: int) -> Tensor:
    d = _dims.one("trapezoid", dim, y.ndim)
    size = y.shape[d]
    pairs = narrow(y, d, 1, max(size - 1, 0)) + narrow(y, d, 0, max(size - 1, 0)) if size else y
    if x is None:
        return pairs * (dx * 0.5)
    if x.ndim == 1:
        steps = diff(x).reshape((-1,) + (1,) * (y.ndim - 1 - d)) if y.ndim > 1 else diff(x)
    else:
        steps = diff(x, dim=dim)
    return pairs * steps * 0.5


def gradient(input: Tensor, *, spacing: Any = 1, dim: Any = None, edge_order: int = 1) -> list[Tensor]:
    """Returns the slopes of samples along each of `dim` (all by default), by central differences.

    Args:
        spacing: a number, numbers per dimension, or coordinate tensors per dimension.
        edge_order: 1 or 2, the order of the one-sided differences at both ends.
    """
    dims = _dims.many("gradient", dim, input.ndim) if not isinstance(dim, (list, tuple)) else tuple(d % input.ndim for d in dim)
    steps = list(spacing) if isinstance(spacing, (list, tuple)) else [1 if spacing is None else spacing] * len(dims)
    return [_slope(input, d, step, edge_order) for d, step in zip(dims, steps, strict=True)]


def _slope(x: Tensor, d: int, spacing: Any, edge_order: int) -> Tensor:
    size = x.shape[d]
    points = spacing if isinstance(spacing, Tensor) else None
    widths = np.diff(points._data.astype(np.float64)) if points is not None else np.full(size - 1, float(spacing))

    def at(start: int, length: int) -> Tensor:
        return narrow(x, d, start, length)

    def shaped(values: np.ndarray) -> Tensor:
        return Tensor(values.astype(x.dtype.numpy if x.dtype.is_floating_point else np.float32)).reshape(
            (-1,) + (1,) * (x.ndim - 1 - d)
        )

    h, k = widths[:-1], widths[1:]
    inner = (
        at(0, size - 2) * shaped(-k / (h * (h + k)))
        + at(1, size - 2) * shaped((k - h) / (h * k))
        + at(2, size - 2) * shaped(h / (k * (h + k)))
    )
    first, last = _ends(at, size, widths, edge_order)
    return cat([first, inner, last], d)


def _ends(at: Any, size: int, widths: np.ndarray, edge_order: int) -> tuple[Tensor, Tensor]:
    if edge_order == 1:
        return (at(1, 1) - at(0, 1)) / float(widths[0]), (at(size - 1, 1) - at(size - 2, 1)) / float(widths[-1])
    h, k = float(widths[0]), float(widths[1])
    first = at(0, 1) * (-(2 * h + k) / (h * (h + k))) + at(1, 1) * ((h + k) / (h * k)) - at(2, 1) * (h / (k * (h + k)))
    h, k = float(widths[-2]), float(widths[-1])
    last = (
        at(size - 3, 1) * (k / (h * (h + k)))
        - at(size - 2, 1) * ((k + h) / (h * k))
        + at(size - 1, 1) * ((2 * k + h) / (k * (h + k)))
    )
    return first, last


def trapz(y: Tensor, x: Tensor | None = None, *, dx: float = 1, dim: int = -1) -> Tensor:
    """Returns `trapezoid`."""
    return trapezoid(y, x, dx=dx, dim=dim)
