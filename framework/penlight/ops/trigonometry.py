# SPDX-License-Identifier: Apache-2.0
"""The rarer functions of angles, circular and hyperbolic."""

from __future__ import annotations

from typing import Any

from penlight.ops.arithmetic import Binary
from penlight.ops.broadcast import floating, promote, unbroadcast
from penlight.ops.dispatch import apply
from penlight.ops.elementwise import Unary, sqrt
from penlight.ops.registry import register
from penlight.ops.samples import of, sample, shapes
from penlight.tensor import Tensor

_INSIDE = (sample(of(3, 4, low=-0.9, high=0.9)), shapes(0), sample(of(5, 3, low=-0.9, high=0.9, strided=True)))
_ABOVE_ONE = (sample(of(3, 4, low=1.1, high=3)), sample(of(0)))


@register
class Tan(Unary):
    """sin(x) / cos(x), radians"""

    name = "tan"
    onnx = "Tan"
    saves_inputs, saves_output = False, True
    samples = _INSIDE

    def forward(self, xp, x):
        return xp.tan(x)

    def vjp(self, grad, output, x):
        return (grad * (output * output + 1.0),)


@register
class Asin(Unary):
    """The angle in [-pi/2, pi/2] whose sine is x"""

    name = "asin"
    onnx = "Asin"
    samples = _INSIDE

    def forward(self, xp, x):
        return xp.arcsin(x)

    def vjp(self, grad, output, x):
        return (grad / sqrt(1.0 - x * x),)


@register
class Acos(Unary):
    """The angle in [0, pi] whose cosine is x"""

    name = "acos"
    onnx = "Acos"
    samples = _INSIDE

    def forward(self, xp, x):
        return xp.arccos(x)

    def vjp(self, grad, output, x):
        return (-grad / sqrt(1.0 - x * x),)


@register
class Atan(Unary):
    """The angle in (-pi/2, pi/2) whose tangent is x"""

    name = "atan"
    onnx = "Atan"

    def forward(self, xp, x):
        return xp.arctan(x)

    def vjp(self, grad, output, x):
        return (grad / (x * x + 1.0),)


@register
class Sinh(Unary):
    """(exp(x) - exp(-x)) / 2"""

    name = "sinh"
    onnx = "Sinh"

    def forward(self, xp, x):
        return xp.sinh(x)

    def vjp(self, grad, output, x):
        return (grad * cosh(x),)


@register
class Cosh(Unary):
    """(exp(x) + exp(-x)) / 2"""

    name = "cosh"
    onnx = "Cosh"

    def forward(self, xp, x):
        return xp.cosh(x)

    def vjp(self, grad, output, x):
        return (grad * sinh(x),)


@register
class Asinh(Unary):
    """The inverse of sinh"""

    name = "asinh"
    onnx = "Asinh"

    def forward(self, xp, x):
        return xp.arcsinh(x)

    def vjp(self, grad, output, x):
        return (grad / sqrt(x * x + 1.0),)


@register
class Acosh(Unary):
    """The inverse of cosh, for x >= 1"""

    name = "acosh"
    onnx = "Acosh"
    samples = _ABOVE_ONE

    def forward(self, xp, x):
        return xp.arccosh(x)

    def vjp(self, grad, output, x):
        return (grad / (sqrt(x - 1.0) * sqrt(x + 1.0)),)


@register
class Atanh(Unary):
    """The inverse of tanh, for x in (-1, 1)"""

    name = "atanh"
    onnx = "Atanh"
    samples = _INSIDE

    def forward(self, xp, x):
        return xp.arctanh(x)

    def vjp(self, grad, output, x):
        return (grad / (1.0 - x * x),)


@register
class Atan2(Binary):
    """The angle of the point (b, a) in (-pi, pi]"""

    name = "atan2"
    samples = (
        sample(of(3, 4), of(3, 1, low=0.5)),
        sample(of(2, 3, low=0.5), of(3)),
        sample(of(0), of(0)),
    )

    def forward(self, xp, a, b):
        return xp.arctan2(a, b)

    def vjp(self, grad, output, a, b):
        scaled = grad / (a * a + b * b)
        return unbroadcast(scaled * b, a), unbroadcast(-scaled * a, b)


def tan(input: Tensor) -> Tensor:
    """Returns the tangent of radians; integers become float32 first."""
    return apply(Tan(), floating(input))


def asin(input: Tensor) -> Tensor:
    """Returns the angle in [-pi/2, pi/2] with this sine; NaN outside [-1, 1]; integers become float32 first."""
    return apply(Asin(), floating(input))


def acos(input: Tensor) -> Tensor:
    """Returns the angle in [0, pi] with this cosine; NaN outside [-1, 1]; integers become float32 first."""
    return apply(Acos(), floating(input))


def atan(input: Tensor) -> Tensor:
    """Returns the angle in (-pi/2, pi/2) with this tangent; integers become float32 first."""
    return apply(Atan(), floating(input))


def sinh(input: Tensor) -> Tensor:
    """Returns the hyperbolic sine; integers become float32 first."""
    return apply(Sinh(), floating(input))


def cosh(input: Tensor) -> Tensor:
    """Returns the hyperbolic cosine; integers become float32 first."""
    return apply(Cosh(), floating(input))


def asinh(input: Tensor) -> Tensor:
    """Returns the inverse of `sinh`; integers become float32 first."""
    return apply(Asinh(), floating(input))


def acosh(input: Tensor) -> Tensor:
    """Returns the inverse of `cosh`; NaN below 1; integers become float32 first."""
    return apply(Acosh(), floating(input))


def atanh(input: Tensor) -> Tensor:
    """Returns the inverse of `tanh`; NaN outside [-1, 1]; integers become float32 first."""
    return apply(Atanh(), floating(input))


def atan2(input: Any, other: Any) -> Tensor:
    """Returns the angle of the point (other, input) in radians, in (-pi, pi], broadcast."""
    a, b = promote(input, other)
    return apply(Atan2(), floating(a), floating(b))
