# SPDX-License-Identifier: Apache-2.0
"""Activation functions."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from penlight.errors import ArgumentError
from penlight.ops.arithmetic import clamp, where
from penlight.ops.broadcast import floating
from penlight.ops.dispatch import apply, shortcut
from penlight.ops.elementwise import erf, erf_array, exp
from penlight.ops.operator import Operator, Spec
from penlight.ops.registry import register
from penlight.ops.samples import of, sample, shapes
from penlight.tensor import Tensor

_ROOT_HALF = math.sqrt(0.5)
_ROOT_TWO_PI = math.sqrt(2 / math.pi)


class Activation(Operator):
    """One floating-point input, one output of the same shape."""

    samples: ClassVar[tuple[Any, ...]] = (
        shapes(3, 4),
        shapes(0),
        shapes(),
        sample(of(5, 3, strided=True)),
        sample(of(17, low=-6, high=6)),
    )

    def infer(self, x: Spec) -> Spec:
        return x


@register
class Relu(Activation):
    """max(x, 0)"""

    name = "relu"
    onnx = "Relu"
    saves_inputs, saves_output = False, True

    def forward(self, xp, x):
        return xp.maximum(x, x.dtype.type(0))

    def vjp(self, grad, output, x):
        return (grad * (output > 0).to(grad.dtype),)

    def backward(self, xp, needs, grad, output, x):
        return (grad * (output > 0),)


@register
class LeakyRelu(Activation):
    """x where x > 0, else slope * x (Maas et al. 2013)"""

    name = "leaky_relu"
    onnx = "LeakyRelu(alpha=slope)"
    samples = (shapes(3, 4), shapes(0), shapes(7, slope=0.2))

    slope: float = 0.01

    def forward(self, xp, x):
        return xp.where(x > 0, x, x * x.dtype.type(self.slope))

    def vjp(self, grad, output, x):
        return (where(x > 0, grad, grad * self.slope),)

    def backward(self, xp, needs, grad, output, x):
        return (xp.where(x > 0, grad, grad * grad.dtype.type(self.slope)),)


@register
class Sigmoid(Activation):
    """1 / (1 + exp(-x))"""

    name = "sigmoid"
    onnx = "Sigmoid"
    saves_inputs, saves_output = False, True

    def forward(self, xp, x):
        return sigmoid_array(xp, x)

    def vjp(self, grad, output, x):
        return (grad * output * (1.0 - output),)

    def backward(self, xp, needs, grad, output, x):
        return (grad * (output * (output.dtype.type(1) - output)),)


def sigmoid_array(xp: Any, x: Any) -> Any:
    """The logistic function of an array, by tanh, which does not overflow."""
    result = xp.tanh(x * x.dtype.type(0.5))
    result *= x.dtype.type(0.5)
    result += x.dtype.type(0.5)
    return result


@register
class Tanh(Activation):
    """The hyperbolic tangent"""

    name = "tanh"
    onnx = "Tanh"
    saves_inputs, saves_output = False, True

    def forward(self, xp, x):
        return xp.tanh(x)

    def vjp(self, grad, output, x):
        return (grad * (1.0 - output * output),)

    def backward(self, xp, needs, grad, output, x):
        return (grad * (output.dtype.type(1) - output * output),)


@register
class Gelu(Activation):
    """x * Phi(x), Phi the normal distribution function (Hendrycks, Gimpel 2016); or its tanh approximation"""

    name = "gelu"
    onnx = "Gelu(approximate=approximate)"
    samples = (shapes(3, 4), shapes(3, 4, approximate="tanh"), shapes(0), sample(of(33, low=-6, high=6)))

    approximate: str = "none"

    def forward(self, xp, x):
        return x * self._phi(xp, x)

    def _phi(self, xp, x):
        one = x.dtype.type
        inner = xp.tanh(self._inner(x)) if self.approximate == "tanh" else erf_array(xp, x * one(_ROOT_HALF))
        inner += one(1)
        inner *= one(0.5)
        return inner

    def _inner(self, x):
        one = x.dtype.type
        return (x * x * one(0.044715) + one(1)) * x * one(_ROOT_TWO_PI)

    def backward(self, xp, needs, grad, output, x):
        one = x.dtype.type
        phi = self._phi(xp, x)
        if self.approximate == "tanh":
            slope = (x * x * one(3 * 0.044715) + one(1)) * (phi * (one(1) - phi)) * one(2 * _ROOT_TWO_PI)
        else:
            slope = xp.exp(x * x * one(-0.5)) * one(1 / math.sqrt(2 * math.pi))
        return (grad * (phi + x * slope),)

    def vjp(self, grad, output, x):
        if self.approximate == "tanh":
            t = tanh((x * x * 0.044715 + 1.0) * x * _ROOT_TWO_PI)
            phi = (t + 1.0) * 0.5
            slope = (1.0 - t * t) * (x * x * (3 * 0.044715) + 1.0) * (0.5 * _ROOT_TWO_PI)
        else:
            phi = (erf(x * _ROOT_HALF) + 1.0) * 0.5
            slope = exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi))
        return (grad * (phi + x * slope),)


@register
class Silu(Activation):
    """x * sigmoid(x)"""

    name = "silu"

    def forward(self, xp, x):
        return x * sigmoid_array(xp, x)

    def vjp(self, grad, output, x):
        s = sigmoid(x)
        return (grad * s * (x * (1.0 - s) + 1.0),)

    def backward(self, xp, needs, grad, output, x):
        s, one = sigmoid_array(xp, x), x.dtype.type(1)
        return (grad * s * (x * (one - s) + one),)


@register
class Elu(Activation):
    """x where x > 0, else alpha * (exp(x) - 1) (Clevert et al. 2015)"""

    name = "elu"
    onnx = "Elu(alpha=alpha)"
    samples = (shapes(3, 4), shapes(0), shapes(7, alpha=0.5))

    alpha: float = 1.0

    def forward(self, xp, x):
        return xp.where(x > 0, x, xp.expm1(xp.minimum(x, x.dtype.type(0))) * x.dtype.type(self.alpha))

    def vjp(self, grad, output, x):
        return (where(x > 0, grad, grad * exp(clamp(x, max=0.0)) * self.alpha),)


@register
class Softplus(Activation):
    """log(1 + exp(beta * x)) / beta, and x where beta * x > threshold"""

    name = "softplus"
    samples = (shapes(3, 4), shapes(0), shapes(7, beta=2.0))

    beta: float = 1.0
    threshold: float = 20.0

    def forward(self, xp, x):
        one = x.dtype.type
        scaled = x * one(self.beta)
        smooth = xp.maximum(scaled, one(0)) + xp.log1p(xp.exp(-xp.abs(scaled)))
        return xp.where(scaled > one(self.threshold), x, smooth / one(self.beta))

    def vjp(self, grad, output, x):
        scaled = x * self.beta
        return (grad * where(scaled > self.threshold, 1.0, sigmoid(scaled)),)


@register
class Hardsigmoid(Activation):
    """clamp(x / 6 + 1 / 2, 0, 1)"""

    name = "hardsigmoid"
    samples = (sample(of(3, 4, distinct=True, low=-4.1)), shapes(0))

    def forward(self, xp, x):
        one = x.dtype.type
        return xp.clip(x * one(1 / 6) + one(0.5), one(0), one(1))

    def vjp(self, grad, output, x):
        return (where((x > -3.0) & (x < 3.0), grad * (1 / 6), 0.0),)


@register
class Hardswish(Activation):
    """x * clamp(x / 6 + 1 / 2, 0, 1) (Howard et al. 2019)"""

    name = "hardswish"
    onnx = "HardSwish"
    samples = (sample(of(3, 4, distinct=True, low=-4.1, high=4.3)), shapes(0))

    def forward(self, xp, x):
        one = x.dtype.type
        return x * xp.clip(x * one(1 / 6) + one(0.5), one(0), one(1))

    def vjp(self, grad, output, x):
        return (grad * where(x < -3.0, 0.0, where(x > 3.0, 1.0, x * (1 / 3) + 0.5)),)


@shortcut("unary", Relu)
def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """Returns max(input, 0)."""
    result = apply(Relu(), input)
    return input.copy_(result) if inplace else result


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """Returns min(max(input, 0), 6)."""
    return clamp(input, 0.0, 6.0)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """Returns the input limited to [min_val, max_val].

    Raises:
        ArgumentError: min_val is above max_val.
    """
    if min_val > max_val:
        raise ArgumentError(f"hardtanh: min_val must not be above max_val, came {min_val} and {max_val}")
    return clamp(input, min_val, max_val)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """Returns input where it is positive, else negative_slope * input."""
    return apply(LeakyRelu(float(negative_slope)), input)


@shortcut("unary", Sigmoid)
def sigmoid(input: Tensor) -> Tensor:
    """Returns 1 / (1 + exp(-input)); integers become float32 first."""
    return apply(Sigmoid(), floating(input))


@shortcut("unary", Tanh)
def tanh(input: Tensor) -> Tensor:
    """Returns the hyperbolic tangent; integers become float32 first."""
    return apply(Tanh(), floating(input))


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """Returns input * Phi(input), Phi the normal distribution function; or its approximation by "tanh".

    Raises:
        ArgumentError: `approximate` is neither "none" nor "tanh".
    """
    if approximate not in ("none", "tanh"):
        raise ArgumentError(f'gelu: approximate must be "none" or "tanh", came {approximate!r}')
    return apply(Gelu(approximate), input)


@shortcut("unary", Silu)
def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """Returns input * sigmoid(input), also known as swish."""
    return apply(Silu(), input)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """Returns input * tanh(softplus(input))."""
    return input * tanh(softplus(input))


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """Returns input where it is positive, else alpha * (exp(input) - 1)."""
    return apply(Elu(float(alpha)), input)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """Returns log(1 + exp(beta * input)) / beta, linear above the threshold."""
    return apply(Softplus(float(beta), float(threshold)), input)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """Returns clamp(input / 6 + 1 / 2, 0, 1)."""
    return apply(Hardsigmoid(), input)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """Returns input * hardsigmoid(input)."""
    return apply(Hardswish(), input)
