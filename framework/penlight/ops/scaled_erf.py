# SPDX-License-Identifier: Apache-2.0
"""The complementary error function scaled by exp(x^2), and the logarithm of the normal distribution."""

from __future__ import annotations

import math
from typing import Any

from penlight.ops.arithmetic import where
from penlight.ops.broadcast import floating
from penlight.ops.dispatch import apply
from penlight.ops.elementwise import log, log1p
from penlight.ops.formula import Formula, horner
from penlight.ops.registry import register
from penlight.ops.samples import of, sample, shapes
from penlight.ops.special import erfc
from penlight.tensor import Tensor

# Rational approximations of W. J. Cody, "Rational Chebyshev approximations for the error function",
# Math. Comp. 23 (1969), tables II to IV, highest power first.
_NEAR = (
    (1.85777706184603153e-1, 3.16112374387056560, 1.13864154151050156e2, 3.77485237685302021e2, 3.20937758913846947e3),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3),
)
_MIDDLE = (
    (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594, 6.61191906371416295e1, 2.98635138197400131e2,
     8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3, 1.23033935479799725e3),
    (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
     3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3),
)  # fmt: skip
_FAR = (
    (1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1, 1.60837851487422766e-2,
     6.58749161529837803e-4),
    (1.0, 2.56852019228982242, 1.87295284992346725, 5.27905102951428412e-1, 6.05183413124413191e-2, 2.33520497626869185e-3),
)  # fmt: skip
_OVERFLOW = 26.7  # 2 exp(x^2) exceeds float64 beyond 26.63
_TWO_OVER_ROOT_PI = 2 / math.sqrt(math.pi)


@register
class Erfcx(Formula):
    """erfc(x) exp(x^2)"""

    name = "erfcx"
    saves_output = True
    samples = (shapes(3, 4), shapes(0), sample(of(5, 3, low=-3, high=40, strided=True)))

    def formula(self, xp, x):
        y = xp.abs(x)
        value = xp.where(y <= 4, _ratio(_MIDDLE, xp.where(y <= 4, y, 1.0)), _tail(xp.where(y <= 4, 5.0, y)))
        near = xp.where(y < 0.46875, x, 0.0)
        square = near * near
        inner = xp.exp(square) * (1.0 - near * _ratio(_NEAR, square))
        left = xp.where(x < 0, xp.where(y < _OVERFLOW, y, 0.0), 0.0)
        whole = xp.floor(left * 16.0) * 0.0625  # the square in two parts, so that its exponential keeps its digits
        mirrored = 2.0 * xp.exp(whole * whole) * xp.exp((left - whole) * (left + whole)) - value
        mirrored = xp.where(y < _OVERFLOW, mirrored, math.inf)
        value = xp.where(x < 0, mirrored, value)
        return xp.where(y < 0.46875, inner, xp.where(xp.isinf(x), xp.where(x < 0, y, 0.0), xp.where(x != x, x, value)))

    def vjp(self, grad, output, x):
        return (grad * (x * output * 2.0 - _TWO_OVER_ROOT_PI),)


def _ratio(table: Any, x: Any) -> Any:
    return horner(x, table[0]) / horner(x, table[1])


def _tail(y: Any) -> Any:
    inverse = 1.0 / (y * y)
    return (1 / math.sqrt(math.pi) - inverse * _ratio(_FAR, inverse)) / y


def erfcx(input: Tensor) -> Tensor:
    """Returns erfc(x) exp(x^2), which stays exact where erfc vanishes; integers become float32 first."""
    return apply(Erfcx(), floating(input))


def log_ndtr(input: Tensor) -> Tensor:
    """Returns the logarithm of the area under the standard normal density up to `input`, exact far below 0."""
    x = floating(input)
    low = x < -1
    far, near = where(low, x, -1.0), where(low, 0.0, x)
    tail = log(erfcx(far * -math.sqrt(0.5)) * 0.5) - far * far * 0.5
    return where(low, tail, log1p(erfc(near * math.sqrt(0.5)) * -0.5))
