# SPDX-License-Identifier: Apache-2.0
"""Modified Bessel functions of the first kind, of orders 0 and 1, plain and scaled by exp(-|x|)."""

from __future__ import annotations

import math
from typing import Any

from penlight.ops.arithmetic import where
from penlight.ops.broadcast import floating
from penlight.ops.dispatch import apply
from penlight.ops.elementwise import sign
from penlight.ops.formula import Formula, horner
from penlight.ops.registry import register
from penlight.ops.samples import of, sample, shapes
from penlight.tensor import Tensor

_BORDER = 20.0  # beyond it the asymptotic series errs by exp(-2 x), below 1e-17
_WIDE = (shapes(3, 4), shapes(0), sample(of(5, 3, low=-40, high=40, strided=True)))


@register
class I0(Formula):
    """The Bessel function I_0(x)"""

    name = "i0"
    samples = _WIDE[:2]

    def formula(self, xp, x):
        return _grown(xp, x, _scaled(xp, xp.abs(x), 0), xp.abs(x))

    def vjp(self, grad, output, x):
        return (grad * i1(x),)


@register
class I0e(Formula):
    """I_0(x) exp(-|x|)"""

    name = "i0e"
    saves_output = True
    samples = _WIDE

    def formula(self, xp, x):
        return _scaled(xp, xp.abs(x), 0)

    def vjp(self, grad, output, x):
        return (grad * (i1e(x) - sign(x) * output),)


@register
class I1(Formula):
    """The Bessel function I_1(x)"""

    name = "i1"
    saves_output = True
    samples = _WIDE[:2]

    def formula(self, xp, x):
        return _grown(xp, x, xp.sign(x) * _scaled(xp, xp.abs(x), 1), x)

    def vjp(self, grad, output, x):
        return (grad * (i0(x) - _over(output, x)),)


@register
class I1e(Formula):
    """I_1(x) exp(-|x|)"""

    name = "i1e"
    saves_output = True
    samples = _WIDE

    def formula(self, xp, x):
        return xp.sign(x) * _scaled(xp, xp.abs(x), 1)

    def vjp(self, grad, output, x):
        return (grad * (i0e(x) - sign(x) * output - _over(output, x)),)


def _scaled(xp: Any, a: Any, order: int) -> Any:
    """I(a) exp(-a) for a >= 0: the power series, DLMF 10.25.2, then the asymptotic one, 10.40.1."""
    low = a <= _BORDER
    near, far = xp.where(low, a, 0.0), xp.where(low, 1000.0, a)
    t = near * near * 0.25
    series = 1.0 + t * (1 / (40.0 * (40 + order)))
    for k in range(39, 0, -1):  # nested, so that no coefficient leaves the range of float32
        series = 1.0 + t * (1 / (k * (k + order))) * series
    if order == 1:
        series = series * near * 0.5
    coefficients = [1.0]
    for k in range(1, 28):
        coefficients.append(coefficients[-1] * ((2 * k - 1) ** 2 - 4 * order) / (8 * k))
    tail = horner(1.0 / far, coefficients[::-1]) / xp.sqrt(far) * (1 / math.sqrt(2 * math.pi))
    return xp.where(low, series * xp.exp(-near), xp.where(a != a, a, tail))


def _grown(xp: Any, x: Any, scaled: Any, limit: Any) -> Any:
    half = xp.exp(xp.abs(x) * 0.5)  # in two steps: the product is finite for longer than exp(x)
    return xp.where(xp.isinf(x), limit, scaled * half * half)


def _over(value: Tensor, x: Tensor) -> Tensor:
    """value / x, and the limit 1/2 at 0, with slope 0."""
    zero = x == 0
    return where(zero, 0.5, value / where(zero, 1.0, x))


def i0(input: Tensor) -> Tensor:
    """Returns the modified Bessel function I_0; integers become float32 first."""
    return apply(I0(), floating(input))


def i0e(input: Tensor) -> Tensor:
    """Returns I_0(x) exp(-|x|), which does not overflow; integers become float32 first."""
    return apply(I0e(), floating(input))


def i1(input: Tensor) -> Tensor:
    """Returns the modified Bessel function I_1; integers become float32 first."""
    return apply(I1(), floating(input))


def i1e(input: Tensor) -> Tensor:
    """Returns I_1(x) exp(-|x|), which does not overflow; integers become float32 first."""
    return apply(I1e(), floating(input))
