# SPDX-License-Identifier: Apache-2.0
"""The gamma function's logarithm, its derivatives, and the Hurwitz zeta function they are made of."""

from __future__ import annotations

import functools
import math
from typing import Any

from penlight.errors import ArgumentError
from penlight.ops.broadcast import floating, promote, unbroadcast
from penlight.ops.dispatch import apply
from penlight.ops.formula import BinaryFormula, Formula, horner
from penlight.ops.operator import NotDifferentiable
from penlight.ops.registry import register
from penlight.ops.samples import of, sample, shapes
from penlight.tensor import Tensor

_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798, -174611 / 330,
              854513 / 138, -236364091 / 2730)  # fmt: skip
_LIFT = 8.0  # from here on the expansions below reach double precision with eight terms
_POSITIVE = (sample(of(3, 4, low=0.2, high=12)), sample(of(5, 3, low=0.2, high=4, strided=True)), shapes(0))
_MIXED = (*_POSITIVE, sample(of(7, low=-3.9, high=-3.1)))


@register
class Lgamma(Formula):
    """log |Gamma(x)|"""

    name = "lgamma"
    samples = _MIXED

    def formula(self, xp, x):
        below = x < 0.5
        y = xp.where(below, 1.0 - x, x)
        value = xp.where(y < 2.5, _lgamma_near(xp, y), _lgamma_far(xp, y))
        # Reflection, DLMF 5.5.3, with the sine of what is left after the nearest integer, so that no digits are lost.
        sine = xp.abs(xp.sin((x - xp.rint(x)) * math.pi))
        value = xp.where(below, math.log(math.pi) - xp.log(sine) - value, value)
        return xp.where(xp.isinf(x), xp.abs(x), value)

    def vjp(self, grad, output, x):
        return (grad * digamma(x),)


@functools.cache
def _zeta_less_one() -> tuple[float, ...]:
    """(zeta(k) - 1) / k with alternating signs for k = 2, 3, ..., the last first."""
    return tuple((-1) ** k * hurwitz(float(k), 2.0) / k for k in range(32, 1, -1))


def _lgamma_near(xp: Any, y: Any) -> Any:
    """In [0.5, 2.5): the Taylor series at 2, DLMF 5.7.4, exact to the zeros at 1 and 2; below 1.5 one step up."""
    low = y < 1.5
    z = xp.where(low, y - 1.0, xp.where(y < 2.5, y - 2.0, 0.0))
    value = z * (1 - 0.57721566490153286061) + z * z * horner(z, _zeta_less_one())
    return xp.where(low, value - xp.log(xp.where(low, y, 1.0)), value)


def _lgamma_far(xp: Any, y: Any) -> Any:
    """From 2.5 on: Stirling's series, DLMF 5.11.1, lifted by seven steps where y is small."""
    low = y < _LIFT
    start = xp.where(low, y, 1.0)
    product = start
    for k in range(1, 7):
        product = product * (start + k)
    w = xp.where(low, y + 7.0, y)
    inverse = 1.0 / w
    tail = [b / (2 * k * (2 * k - 1)) for k, b in enumerate(_BERNOULLI[:8], 1)]
    series = horner(inverse * inverse, tail[::-1]) * inverse
    stirling = (w - 0.5) * (xp.log(w) - 1.0) + (0.5 * math.log(2 * math.pi) - 0.5) + series
    return stirling - xp.where(low, xp.log(product), 0.0)


@register
class Polygamma(Formula):
    """The derivative number `n` of the digamma function, which is that of log Gamma(x)"""

    name = "polygamma"
    samples = (*(sample(*call.inputs, n=0) for call in _MIXED), *(sample(*call.inputs, n=2) for call in _MIXED))

    n: int = 0

    def formula(self, xp, x):
        if self.n == 0:
            return _digamma(xp, x)
        return (-1.0) ** (self.n + 1) * math.gamma(self.n + 1) * _zeta(xp, float(self.n + 1), x)

    def vjp(self, grad, output, x):
        return (grad * apply(Polygamma(self.n + 1), x),)


def _digamma(xp: Any, x: Any) -> Any:
    """The asymptotic series, DLMF 5.11.2, after eight steps up, and the reflection 5.5.4 below 0."""
    below = x <= 0
    y = xp.where(below, 1.0 - x, x)
    low = y < _LIFT
    start = xp.where(low, y, 1.0)
    steps = 1.0 / start
    for k in range(1, 8):
        steps = steps + 1.0 / (start + k)
    w = xp.where(low, y + 8.0, y)
    inverse = 1.0 / w
    square = inverse * inverse
    series = square * horner(square, [b / (2 * k) for k, b in enumerate(_BERNOULLI[:8], 1)][::-1])
    value = xp.log(w) - 0.5 * inverse - series - xp.where(low, steps, 0.0)
    pole = x == 0
    rest = x - xp.rint(x)
    whole = (rest == 0) & below
    safe = xp.where(whole | ~below, 0.25, rest) * math.pi
    value = xp.where(below, value - math.pi * xp.cos(safe) / xp.sin(safe), value)
    return xp.where(pole, -1.0 / x, xp.where(whole, math.nan, value))  # -1 / x has the sign of the zero


@register
class Zeta(BinaryFormula):
    """Hurwitz' zeta: the sum of (q + k) ** -x over k = 0, 1, ..., for x > 1"""

    name = "zeta"
    gradient = NotDifferentiable("only that of q is written, as in PyTorch")
    samples = (sample(of(3, 4, low=1.1, high=9), of(3, 4, low=0.3, high=12)), sample(of(4, low=2, high=5), of(1, low=1, high=2)))

    def formula(self, xp, x, q):
        return _zeta(xp, x, q)

    def vjp(self, grad, output, x, q):
        return None, unbroadcast(-grad * x * apply(Zeta(), *promote(x + 1.0, q)), q)


def hurwitz(x: Any, q: Any) -> Any:
    """Hurwitz' zeta for x > 1 and q > 0 by Euler and Maclaurin, DLMF 25.11.28 at twelve terms; numbers or arrays."""
    total = q**-x
    for k in range(1, 12):
        total = total + (q + k) ** -x
    a = q + 12.0
    total = total + a ** (1.0 - x) / (x - 1.0)
    term = a**-x
    total = total + term * 0.5
    term = term * x / a
    for j, bernoulli in enumerate(_BERNOULLI, 1):
        total = total + term * (bernoulli / math.factorial(2 * j))
        term = term * (x + (2 * j - 1)) * (x + 2 * j) / (a * a)
    return total


def _zeta(xp: Any, x: Any, q: Any) -> Any:
    """`hurwitz` with its borders; below 0, for whole x, the finite part of the sum is turned over."""
    below = q <= 0
    order = xp.where(xp.asarray(x) > 1, x, 2.0)
    positive = hurwitz(order, xp.where(below | xp.isinf(q), 1.0, q))
    away = xp.where(below, -q, 0.5)
    part = away - xp.floor(away)
    whole = (part == 0) | xp.isinf(away)
    part = xp.where(whole, 0.5, part)
    turned = (1.0 - 2.0 * (order - 2.0 * xp.floor(order * 0.5))) * (hurwitz(order, part) - hurwitz(order, away + 1.0))
    negative = xp.where(order == xp.floor(order), turned + hurwitz(order, 1.0 - part), math.nan)
    negative = xp.where(whole, math.inf, negative)
    value = xp.where(below, negative, xp.where(xp.isinf(q), 0.0, positive))
    return xp.where(xp.asarray(x) > 1, value, xp.where(xp.asarray(x) == 1, math.inf, math.nan))


def lgamma(input: Tensor) -> Tensor:
    """Returns log |Gamma(x)|; infinite at 0, -1, -2, ...; integers become float32 first."""
    return apply(Lgamma(), floating(input))


def digamma(input: Tensor) -> Tensor:
    """Returns the derivative of `lgamma`; infinite at 0, NaN at -1, -2, ...; integers become float32 first."""
    return apply(Polygamma(0), floating(input))


def polygamma(n: int, input: Tensor) -> Tensor:
    """Returns the derivative number `n` of `digamma`; integers become float32 first.

    Raises:
        ArgumentError: n is negative.
    """
    if n < 0:
        raise ArgumentError(f"polygamma: n must be 0 or more, came {n}")
    return apply(Polygamma(int(n)), floating(input))


def zeta(input: Any, other: Any) -> Tensor:
    """Returns the sum of (other + k) ** -input over k = 0, 1, ..., broadcast; the gradient is that of `other` alone.

    It is infinite at input = 1 and where `other` is 0, -1, ...; NaN for input < 1, and for other < 0 unless input is whole.
    """
    x, q = promote(input, other)
    return apply(Zeta(), floating(x), floating(q))


def multigammaln(input: Tensor, p: int) -> Tensor:
    """Returns the logarithm of the gamma function of `p` dimensions, for input > (p - 1) / 2."""
    x = floating(input)
    if p < 1:
        raise ArgumentError(f"multigammaln: p must be 1 or more, came {p}")
    total = lgamma(x)
    for j in range(1, p):
        total = total + lgamma(x - j / 2)
    return total + p * (p - 1) / 4 * math.log(math.pi)
