# SPDX-License-Identifier: Apache-2.0
"""Composites of elementwise operators."""

from __future__ import annotations

import math
from typing import Any

import penlight as pl
from penlight.tensor import Tensor
from penlight_export.onnx.composites.registry import composite


@composite("signbit")
def signbit(operator: Any, x: Tensor) -> Tensor:
    """1 / -0.0 is -inf; the sign of a NaN is lost."""
    if not x.dtype.is_floating_point:
        return x < 0
    return (x < 0) | ((x == 0) & (1 / x < 0))


@composite("atan2")
def atan2(operator: Any, a: Tensor, b: Tensor) -> Tensor:
    """The arc tangent of a / b, turned by half a circle where b is negative."""
    back = signbit(operator, b)
    sign = pl.where(signbit(operator, a), -1.0, 1.0).to(a.dtype)
    infinite = (a.abs() == math.inf) & (b.abs() == math.inf)
    angle = pl.where((a == 0) & (b == 0), pl.zeros_like(a * b), pl.atan(a.abs() / b.abs()))
    angle = pl.where(infinite, pl.full_like(angle, math.pi / 4), angle)
    return sign * pl.where(back, math.pi - angle, angle)


@composite("bitwise_left_shift")
def left_shift(operator: Any, a: Tensor, b: Tensor) -> Tensor:
    """A product with a power of two; ONNX shifts unsigned integers only."""
    return a * _power_of_two(b).to(a.dtype)


@composite("bitwise_right_shift")
def right_shift(operator: Any, a: Tensor, b: Tensor) -> Tensor:
    """The quotient, rounded down as an arithmetic shift rounds."""
    return pl.floor_divide(a, _power_of_two(b).to(a.dtype))


def _power_of_two(b: Tensor) -> Tensor:
    return pl.exp2(b.to(pl.float64)).round().to(pl.int64)


# Giles, "Approximating the erfinv function", GPU Computing Gems 2: two polynomials in w = -log(1 - x^2), highest power first.
_CENTRAL = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
    -0.00125372503, -0.00417768164, 0.246640727, 1.50140941,
)  # fmt: skip
_TAIL = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
    -0.0076224613, 0.00943887047, 1.00167406, 2.83297682,
)  # fmt: skip


@composite("erfinv")
def erfinv(operator: Any, x: Tensor) -> Tensor:
    """A polynomial, good to six digits, and one step of Newton's method for the rest."""
    w = -pl.log((1 - x) * (1 + x))
    guess = x * pl.where(w < 5, _polynomial(_CENTRAL, w - 2.5), _polynomial(_TAIL, w.clamp(5).sqrt() - 3))
    error = pl.erf(guess) - x
    refined = guess - error * (math.sqrt(math.pi) / 2) * pl.exp(guess * guess)
    return pl.where(x.abs() == 1, x * math.inf, pl.where(w < 5, refined, guess))


def _polynomial(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    result: Any = coefficients[0]
    for c in coefficients[1:]:
        result = result * x + c
    return result
