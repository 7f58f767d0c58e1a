# SPDX-License-Identifier: Apache-2.0
"""The rarer activations, made of elementwise operators, so that gradients of any order and export come with them."""

from __future__ import annotations

from typing import Any

from penlight.errors import ArgumentError, ShapeError
from penlight.ops.activation import elu, sigmoid, softplus, tanh
from penlight.ops.arithmetic import maximum, minimum, where
from penlight.ops.elementwise import abs as magnitude
from penlight.ops.elementwise import expm1
from penlight.ops.precision import under_autocast
from penlight.ops.softmax import softmax
from penlight.random import Generator, rand
from penlight.tensor import Tensor

# The fixed point of mean 0 and variance 1 (Klambauer et al. 2017, "Self-Normalizing Neural Networks").
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """Returns max(x, 0) + min(alpha * (exp(x / alpha) - 1), 0), elementwise (Barron 2017).

    Raises:
        ArgumentError: alpha is 0.
    """
    if alpha == 0:
        raise ArgumentError("celu: alpha must not be 0")
    return elu(input / alpha, 1.0) * alpha if alpha > 0 else maximum(input, 0.0) + minimum(expm1(input / alpha) * alpha, 0.0)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """Returns scale * elu(x, alpha), elementwise, with the constants that keep mean 0 and variance 1."""
    return elu(input, SELU_ALPHA) * SELU_SCALE


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """Returns a * sigmoid(b) for the halves a and b of the input along `dim` (Dauphin et al. 2017).

    Raises:
        ShapeError: the size along `dim` is odd.
    """
    size = input.shape[dim]
    if size % 2:
        raise ShapeError(f"glu: dimension {dim} of {tuple(map(int, input.shape))} must be even to be halved, it is {size}")
    return input.narrow(dim, 0, size // 2) * sigmoid(input.narrow(dim, size // 2, size // 2))


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """Returns x where |x| > lambd, else 0, elementwise."""
    return where(magnitude(input) > lambd, input, 0.0)


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """Returns x moved towards 0 by lambd, elementwise: 0 where |x| <= lambd.

    Raises:
        ArgumentError: lambd is negative.
    """
    if not lambd >= 0:
        raise ArgumentError(f"softshrink: lambd must be 0 or more, came {lambd}")
    return where(input > lambd, input - lambd, where(input < -lambd, input + lambd, input * 0.0))


def softsign(input: Tensor) -> Tensor:
    """Returns x / (1 + |x|), elementwise."""
    return input / (magnitude(input) + 1.0)


def tanhshrink(input: Tensor) -> Tensor:
    """Returns x - tanh(x), elementwise."""
    return input - tanh(input)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """Returns x where x > threshold, else value, elementwise."""
    return where(input > threshold, input, value)


def logsigmoid(input: Tensor) -> Tensor:
    """Returns log(1 / (1 + exp(-x))), elementwise, exact where exp would overflow."""
    return -softplus(-input)


def softmin(input: Tensor, dim: int = -1, *, dtype: Any = None) -> Tensor:
    """Returns softmax(-x) along `dim`, in `dtype` if one is named."""
    return softmax(-(input if dtype is None else input.to(dtype)), dim)


@under_autocast
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """Returns x where x > 0, else weight * x (He et al. 2015).

    Args:
        input: (N, C, ...), or any shape if there is one weight.
        weight: (C,), (1,) or ().

    Raises:
        ShapeError: there are several weights, and another number of channels.
    """
    channels = input.shape[1] if input.ndim > 1 else 1
    if weight.numel() != 1:
        if weight.ndim != 1 or weight.numel() != channels:
            raise ShapeError(f"prelu: weight {tuple(weight.shape)} must hold 1 value, or one for each of the {channels} channels")
        weight = weight.reshape((1, channels, *(1,) * (input.ndim - 2)))
    elif weight.ndim:
        weight = weight.reshape(())
    return where(input > 0, input, weight * input)


def rrelu(
    input: Tensor,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Returns x where x >= 0, else a * x, with a drawn from [lower, upper) per element, or their mean outside of training.

    Raises:
        ArgumentError: lower is above upper.
    """
    if lower > upper:
        raise ArgumentError(f"rrelu: lower {lower} must not be above upper {upper}")
    if not training:
        return where(input >= 0, input, input * ((lower + upper) / 2))
    slope = rand(*input.shape, generator=generator).to(input.device).to(input.dtype) * (upper - lower) + lower
    return where(input >= 0, input, input * slope)
