# SPDX-License-Identifier: Apache-2.0
"""Functions of single elements."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from penlight.dtype import bool_, complex64, complex128, float32, float64
from penlight.ops.broadcast import floating
from penlight.ops.dispatch import apply
from penlight.ops.operator import Operator, Spec
from penlight.ops.registry import register
from penlight.ops.samples import of, sample, shapes
from penlight.tensor import Tensor

_POSITIVE = (sample(of(3, 4, low=0.5, high=3)), sample(of(0)), sample(of(5, 3, low=0.5, high=3, strided=True)))


_UNARY = (shapes(3, 4), shapes(0), shapes(), sample(of(5, 3, strided=True)))


class Unary(Operator):
    """One input, one output of the same shape and dtype."""

    samples: ClassVar[tuple[Any, ...]] = _UNARY

    def infer(self, x: Spec) -> Spec:
        return x


class Step(Unary):
    """A function that is constant between jumps: its gradient is 0, as in PyTorch."""

    saves_inputs = False

    def vjp(self, grad, output, x):
        return (grad * 0.0,)


@register
class Neg(Unary):
    """-x"""

    name = "neg"
    complex_gradient = True
    onnx = "Neg"
    saves_inputs = False

    def forward(self, xp, x):
        return xp.negative(x)

    def vjp(self, grad, output, x):
        return (-grad,)

    def backward(self, xp, needs, grad, output, x):
        return (xp.negative(grad),)


@register
class Abs(Unary):
    """|x|; the gradient at 0 is 0"""

    name = "abs"
    onnx = "Abs"
    complex_gradient = True
    samples = (sample(of(3, 4, distinct=True, low=-2.05)), shapes(0))

    def infer(self, x: Spec) -> Spec:
        return Spec(x.shape, {complex64: float32, complex128: float64}.get(x.dtype, x.dtype))

    def forward(self, xp, x):
        return xp.abs(x)

    def vjp(self, grad, output, x):
        if x.dtype.kind != 3:
            return (grad * sign(x),)
        size = abs(x)  # the gradient points along the number
        return (grad / (size + (size == 0).to(size.dtype)) * x,)


@register
class Sign(Step):
    """-1, 0 or 1"""

    name = "sign"
    onnx = "Sign"

    def forward(self, xp, x):
        return xp.sign(x)


@register
class Floor(Step):
    """The largest integer <= x"""

    name = "floor"
    onnx = "Floor"

    def forward(self, xp, x):
        return xp.floor(x)


@register
class Ceil(Step):
    """The smallest integer >= x"""

    name = "ceil"
    onnx = "Ceil"

    def forward(self, xp, x):
        return xp.ceil(x)


@register
class Round(Step):
    """The nearest integer; halves go to the even one"""

    name = "round"
    onnx = "Round"

    def forward(self, xp, x):
        return xp.rint(x)


@register
class Exp(Unary):
    """e ** x"""

    name = "exp"
    onnx = "Exp"
    saves_inputs, saves_output = False, True

    def forward(self, xp, x):
        return xp.exp(x)

    def vjp(self, grad, output, x):
        return (grad * output,)

    def backward(self, xp, needs, grad, output, x):
        return (grad * output,)


@register
class Log(Unary):
    """The natural logarithm"""

    name = "log"
    onnx = "Log"
    samples = _POSITIVE

    def forward(self, xp, x):
        return xp.log(x)

    def vjp(self, grad, output, x):
        return (grad / x,)


@register
class Log1p(Unary):
    """log(1 + x), exact for small x"""

    name = "log1p"
    samples = _POSITIVE

    def forward(self, xp, x):
        return xp.log1p(x)

    def vjp(self, grad, output, x):
        return (grad / (x + 1.0),)


@register
class Expm1(Unary):
    """e ** x - 1, exact for small x"""

    name = "expm1"
    saves_inputs, saves_output = False, True

    def forward(self, xp, x):
        return xp.expm1(x)

    def vjp(self, grad, output, x):
        return (grad * (output + 1.0),)


@register
class Sqrt(Unary):
    """The square root"""

    name = "sqrt"
    onnx = "Sqrt"
    saves_inputs, saves_output = False, True
    samples = _POSITIVE

    def forward(self, xp, x):
        return xp.sqrt(x)

    def vjp(self, grad, output, x):
        return (grad / (output * 2.0),)


@register
class Rsqrt(Unary):
    """1 / sqrt(x)"""

    name = "rsqrt"
    saves_inputs, saves_output = False, True
    samples = _POSITIVE

    def forward(self, xp, x):
        return xp.reciprocal(xp.sqrt(x))

    def vjp(self, grad, output, x):
        return (grad * (output * output * output) * -0.5,)


@register
class Reciprocal(Unary):
    """1 / x"""

    name = "reciprocal"
    onnx = "Reciprocal"
    saves_inputs, saves_output = False, True
    samples = _POSITIVE

    def forward(self, xp, x):
        return xp.reciprocal(x)

    def vjp(self, grad, output, x):
        return (-grad * (output * output),)


@register
class Sin(Unary):
    """sin(x), radians"""

    name = "sin"
    onnx = "Sin"

    def forward(self, xp, x):
        return xp.sin(x)

    def vjp(self, grad, output, x):
        return (grad * cos(x),)


@register
class Cos(Unary):
    """cos(x), radians"""

    name = "cos"
    onnx = "Cos"

    def forward(self, xp, x):
        return xp.cos(x)

    def vjp(self, grad, output, x):
        return (-grad * sin(x),)


@register
class Erf(Unary):
    """2 / sqrt(pi) * integral of exp(-t**2) from 0 to x"""

    name = "erf"
    onnx = "Erf"

    def forward(self, xp, x):
        return erf_array(xp, x)

    def vjp(self, grad, output, x):
        return (grad * exp(-(x * x)) * (2 / math.sqrt(math.pi)),)


# Rational approximation x * P(x^2) / Q(x^2) on [-4, 4], as in Eigen and XLA; error 4e-7.
_ERF_P = (
    -2.72614225801306e-10,
    2.77068142495902e-08,
    -2.10102402082508e-06,
    -5.69250639462346e-05,
    -7.34990630326855e-04,
    -2.95459980854025e-03,
    -1.60960333262415e-02,
)
_ERF_Q = (-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03, -1.42647390514189e-02)


def erf_array(xp: Any, x: Any) -> Any:
    """erf of an array; float64 by the series, which is slow and exact to 2e-15, others by the rational form."""
    if x.dtype.itemsize == 8:
        return _erf_series(xp, x)
    x = xp.clip(x, -4, 4)
    square = x * x
    return x * _polynomial(xp, _ERF_P, square) / _polynomial(xp, _ERF_Q, square)


def _polynomial(xp: Any, coefficients: tuple[float, ...], x: Any) -> Any:
    result = x * x.dtype.type(coefficients[0]) + x.dtype.type(coefficients[1])
    for c in coefficients[2:]:
        result *= x
        result += x.dtype.type(c)
    return result


def _erf_series(xp: Any, x: Any) -> Any:
    """Kummer's series: all terms are positive, so nothing cancels."""
    a = xp.minimum(xp.abs(x), 6.0)  # erf(6) is 1 in float64
    term = total = a
    for n in range(1, 150):
        term = term * (2 * a * a) / (2 * n + 1)
        total = total + term
    return xp.sign(x) * xp.minimum(2 / math.sqrt(math.pi) * xp.exp(-a * a) * total, 1.0)


def neg(input: Tensor) -> Tensor:
    """Returns `-input`."""
    return apply(Neg(), input)


def abs(input: Tensor) -> Tensor:
    """Returns the absolute values."""
    return apply(Abs(), input)


def sign(input: Tensor) -> Tensor:
    """Returns -1, 0 or 1 for each element; truth values stay."""
    return input.clone() if input.dtype is bool_ else apply(Sign(), input)


def floor(input: Tensor) -> Tensor:
    """Returns the largest integers <= `input`, same dtype."""
    return apply(Floor(), input)


def ceil(input: Tensor) -> Tensor:
    """Returns the smallest integers >= `input`, same dtype."""
    return apply(Ceil(), input)


def round(input: Tensor) -> Tensor:
    """Returns the nearest integers, halves to even, same dtype."""
    return apply(Round(), input)


def exp(input: Tensor) -> Tensor:
    """Returns e ** input; integers become float32 first."""
    return apply(Exp(), floating(input))


def log(input: Tensor) -> Tensor:
    """Returns the natural logarithm; NaN below 0, -inf at 0."""
    return apply(Log(), floating(input))


def log1p(input: Tensor) -> Tensor:
    """Returns log(1 + input), exact for small values."""
    return apply(Log1p(), floating(input))


def expm1(input: Tensor) -> Tensor:
    """Returns e ** input - 1, exact for small values."""
    return apply(Expm1(), floating(input))


def sqrt(input: Tensor) -> Tensor:
    """Returns the square roots; NaN below 0."""
    return apply(Sqrt(), floating(input))


def rsqrt(input: Tensor) -> Tensor:
    """Returns 1 / sqrt(input)."""
    return apply(Rsqrt(), floating(input))


def reciprocal(input: Tensor) -> Tensor:
    """Returns 1 / input."""
    return apply(Reciprocal(), floating(input))


def sin(input: Tensor) -> Tensor:
    """Returns the sine of radians."""
    return apply(Sin(), floating(input))


def cos(input: Tensor) -> Tensor:
    """Returns the cosine of radians."""
    return apply(Cos(), floating(input))


def erf(input: Tensor) -> Tensor:
    """Returns the error function."""
    return apply(Erf(), floating(input))
