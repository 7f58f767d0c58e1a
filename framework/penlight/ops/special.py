# SPDX-License-Identifier: Apache-2.0
"""Exponentials of other bases, and the functions around the normal distribution."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from penlight.ops.arithmetic import pow, where
from penlight.ops.broadcast import floating, promote
from penlight.ops.dispatch import apply
from penlight.ops.elementwise import Unary, exp, log, log1p
from penlight.ops.elementwise import abs as magnitude
from penlight.ops.registry import register
from penlight.ops.samples import of, sample, shapes
from penlight.tensor import Tensor

_POSITIVE = (sample(of(3, 4, low=0.5, high=3)), sample(of(0)))


@register
class Log2(Unary):
    """The logarithm to base 2"""

    name = "log2"
    samples = _POSITIVE

    def forward(self, xp, x):
        return xp.log2(x)

    def vjp(self, grad, output, x):
        return (grad / (x * math.log(2)),)


@register
class Log10(Unary):
    """The logarithm to base 10"""

    name = "log10"
    samples = _POSITIVE

    def forward(self, xp, x):
        return xp.log10(x)

    def vjp(self, grad, output, x):
        return (grad / (x * math.log(10)),)


@register
class Erfc(Unary):
    """1 - erf(x), exact for large x"""

    name = "erfc"
    samples = (shapes(3, 4), shapes(0))

    def forward(self, xp, x):
        return elementwise_math(xp, math.erfc, x)

    def vjp(self, grad, output, x):
        return (grad * exp(-(x * x)) * (-2 / math.sqrt(math.pi)),)


@register
class Erfinv(Unary):
    """The inverse of erf on (-1, 1)"""

    name = "erfinv"
    saves_inputs, saves_output = False, True
    samples = (sample(of(3, 4, low=-0.95, high=0.95)), shapes(0))

    def forward(self, xp, x):
        return elementwise_math(xp, _erfinv, x)

    def vjp(self, grad, output, x):
        return (grad * exp(output * output) * (math.sqrt(math.pi) / 2),)


def elementwise_math(xp: Any, function: Any, x: Any) -> Any:
    """A function of Python floats, element by element; on the host, since it has no array form."""
    host = x if isinstance(x, np.ndarray) else x.get()
    values = [function(v) for v in host.astype(np.float64).ravel().tolist()]
    return xp.asarray(np.array(values, dtype=np.float64).reshape(host.shape).astype(host.dtype))


def _erfinv(y: float) -> float:
    """Giles' approximation ("Approximating the erfinv function", 2010), then Newton steps to full precision."""
    if not -1 < y < 1:
        return math.copysign(math.inf, y) if y in (-1, 1) else math.nan
    w = -math.log((1 - y) * (1 + y))
    if w < 5:
        coefficients = (2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503,
                        -0.00417768164, 0.246640727, 1.50140941)  # fmt: skip
        w -= 2.5
    else:
        coefficients = (-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613,
                        0.00943887047, 1.00167406, 2.83297682)  # fmt: skip
        w = math.sqrt(w) - 3
    x = 0.0
    for c in coefficients:
        x = x * w + c
    x *= y
    for _ in range(3):  # erfc keeps the digits near 1
        error = math.erf(x) - y if abs(y) < 0.5 else ((1 - abs(y)) - math.erfc(abs(x))) * math.copysign(1, y)
        x -= error / (2 / math.sqrt(math.pi) * math.exp(-x * x))
    return x


def exp2(input: Tensor) -> Tensor:
    """Returns 2 ** input."""
    return pow(2.0, floating(input))


def log2(input: Tensor) -> Tensor:
    """Returns the logarithm to base 2."""
    return apply(Log2(), floating(input))


def log10(input: Tensor) -> Tensor:
    """Returns the logarithm to base 10."""
    return apply(Log10(), floating(input))


def erfc(input: Tensor) -> Tensor:
    """Returns 1 - erf(input), exact where erf is near 1."""
    return apply(Erfc(), floating(input))


def erfinv(input: Tensor) -> Tensor:
    """Returns the inverse of erf; infinite at -1 and 1, NaN outside."""
    return apply(Erfinv(), floating(input))


def xlogy(input: Any, other: Any) -> Tensor:
    """Returns input * log(other), and 0 where input is 0, broadcast."""
    a, b = promote(input, other)
    a, b = floating(a), floating(b)
    zero = (a == 0) & ~b.isnan()
    return where(zero, a * 0.0, a * log(where(zero, 1.0, b)))


def xlog1py(input: Any, other: Any) -> Tensor:
    """Returns input * log(1 + other), and 0 where input is 0, broadcast."""
    a, b = promote(input, other)
    a, b = floating(a), floating(b)
    zero = (a == 0) & ~b.isnan()
    return where(zero, a * 0.0, a * log1p(where(zero, 1.0, b)))


def entr(input: Tensor) -> Tensor:
    """Returns -x log(x); 0 at 0, -infinity below."""
    x = floating(input)
    value = -xlogy(x, where(x > 0, x, 1.0))
    return where(x < 0, -math.inf, where(x == 0, x * 0.0, value))


def ndtr(input: Tensor) -> Tensor:
    """Returns the area under the standard normal density up to `input`."""
    return erfc(floating(input) * -math.sqrt(0.5)) * 0.5


def ndtri(input: Tensor) -> Tensor:
    """Returns the inverse of `ndtr`."""
    return erfinv(floating(input) * 2.0 - 1.0) * math.sqrt(2)


def sinc(input: Tensor) -> Tensor:
    """Returns sin(pi x) / (pi x); 1 at 0."""
    x = floating(input) * math.pi
    zero = x == 0
    safe = where(zero, 1.0, x)
    return where(zero, 1.0 - x * x / 6.0, safe.sin() / safe)


def logaddexp(input: Tensor, other: Tensor) -> Tensor:
    """Returns log(exp(input) + exp(other)) without overflow, broadcast."""
    a, b = promote(input, other)
    same = (a == b) & a.isinf()
    larger, gap = a.maximum(b), -magnitude(where(same, 0.0, a) - where(same, 0.0, b))
    return where(same, a, larger + log1p(exp(gap)))


def logaddexp2(input: Tensor, other: Tensor) -> Tensor:
    """Returns log2(2 ** input + 2 ** other) without overflow, broadcast."""
    a, b = promote(input, other)
    return logaddexp(a * math.log(2), b * math.log(2)) * (1 / math.log(2))


def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """Returns log(x / (1 - x)), of x limited to [eps, 1 - eps] if `eps` is named."""
    x = floating(input)
    x = x if eps is None else x.clamp(eps, 1 - eps)
    return log(x / (1.0 - x))
