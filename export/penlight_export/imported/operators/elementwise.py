# SPDX-License-Identifier: Apache-2.0
"""Operators that compute each element by itself, with broadcasting."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from onnx.helper import tensor_dtype_to_np_dtype

import penlight as pl
from penlight.nn import functional as F
from penlight_export.imported.registry import operator
from penlight_export.imported.values import DTYPES

Tensor = pl.Tensor

_SAME: dict[str, Callable[..., Tensor]] = {
    "Abs": pl.abs,
    "Acos": pl.acos,
    "Acosh": pl.acosh,
    "Add": pl.add,
    "And": pl.logical_and,
    "Asin": pl.asin,
    "Asinh": pl.asinh,
    "Atan": pl.atan,
    "Atanh": pl.atanh,
    "BitwiseAnd": pl.bitwise_and,
    "BitwiseNot": pl.bitwise_not,
    "BitwiseOr": pl.bitwise_or,
    "BitwiseXor": pl.bitwise_xor,
    "Ceil": pl.ceil,
    "Cos": pl.cos,
    "Cosh": pl.cosh,
    "Det": pl.det,
    "Equal": pl.eq,
    "Erf": pl.erf,
    "Exp": pl.exp,
    "Floor": pl.floor,
    "Greater": pl.gt,
    "GreaterOrEqual": pl.ge,
    "HardSwish": F.hardswish,
    "IsNaN": pl.isnan,
    "Less": pl.lt,
    "LessOrEqual": pl.le,
    "Log": pl.log,
    "Mish": F.mish,
    "Mul": pl.mul,
    "Neg": pl.neg,
    "Not": pl.logical_not,
    "Or": pl.logical_or,
    "Reciprocal": pl.reciprocal,
    "Relu": F.relu,
    "Round": pl.round,
    "Sigmoid": pl.sigmoid,
    "Sign": pl.sign,
    "Sin": pl.sin,
    "Sinh": pl.sinh,
    "Softplus": F.softplus,
    "Softsign": F.softsign,
    "Sqrt": pl.sqrt,
    "Sub": pl.sub,
    "Tan": pl.tan,
    "Tanh": pl.tanh,
    "Where": pl.where,
    "Xor": pl.logical_xor,
}


def _plain(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def compute(*inputs: Tensor) -> Tensor:
        return function(*inputs)

    return compute


for _name, _function in _SAME.items():
    operator(_name)(_plain(_function))


@operator("Identity", raw=True)
def identity(x: Any) -> Any:
    """The value itself, of whatever kind."""
    return x


@operator("Div")
def div(a: Tensor, b: Tensor) -> Tensor:
    """Integers are divided towards zero."""
    return pl.div(a, b) if a.dtype.is_floating_point else pl.div(a, b, rounding_mode="trunc")


@operator("Mod")
def mod(a: Tensor, b: Tensor, *, fmod: int = 0) -> Tensor:
    """The sign of the divisor, or with fmod of the dividend."""
    return pl.fmod(a, b) if fmod else pl.remainder(a, b)


@operator("Pow")
def power(x: Tensor, exponent: Tensor) -> Tensor:
    """Of the base's dtype."""
    if exponent.dtype is not x.dtype:
        return (
            pl.pow(x.to(pl.float64), exponent.to(pl.float64)).to(x.dtype)
            if _mixed(x, exponent)
            else pl.pow(x, exponent.to(x.dtype))
        )
    return pl.pow(x, exponent)


def _mixed(x: Tensor, exponent: Tensor) -> bool:
    return exponent.dtype.is_floating_point and not x.dtype.is_floating_point


@operator("Max")
def maximum(*inputs: Tensor) -> Tensor:
    """Of all inputs."""
    return functools.reduce(pl.maximum, inputs)


@operator("Min")
def minimum(*inputs: Tensor) -> Tensor:
    """Of all inputs."""
    return functools.reduce(pl.minimum, inputs)


@operator("Sum")
def total(*inputs: Tensor) -> Tensor:
    """Of all inputs."""
    return functools.reduce(pl.add, inputs)


@operator("Mean")
def mean(*inputs: Tensor) -> Tensor:
    """Of all inputs."""
    return functools.reduce(pl.add, inputs) / len(inputs)


@operator("BitShift")
def bit_shift(x: Tensor, count: Tensor, *, direction: str) -> Tensor:
    """To the left or right."""
    return pl.bitwise_left_shift(x, count) if direction == "LEFT" else pl.bitwise_right_shift(x, count)


@operator("Cast")
def cast(x: Tensor, *, to: int, saturate: int = 1, round_mode: str = "up") -> Tensor:
    """To another dtype; those that the framework has not are refused."""
    dtype = np.dtype(tensor_dtype_to_np_dtype(to))
    if dtype not in DTYPES:
        raise NotImplementedError(f"the framework has no dtype {dtype}")
    return x.to(DTYPES[dtype])


@operator("CastLike")
def cast_like(x: Tensor, like: Tensor, *, saturate: int = 1, round_mode: str = "up") -> Tensor:
    """To the dtype of another."""
    return x.to(like.dtype)


@operator("BitCast")
def bit_cast(x: Tensor, *, to: int) -> Tensor:
    """The same bits in another dtype of the same size."""
    return pl.tensor(x.detach().numpy().view(tensor_dtype_to_np_dtype(to)))


@operator("Clip")
def clip(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    """Between bounds of which either may be left out; the upper one wins."""
    if low is None and high is None:
        return x
    bounds = [None if bound is None else bound.item() if bound._traced is None else bound for bound in (low, high)]
    if any(isinstance(bound, Tensor) for bound in bounds):
        x = x if low is None else pl.maximum(x, low)
        return x if high is None else pl.minimum(x, high)
    return pl.clamp(x, *bounds)


@operator("LeakyRelu")
def leaky_relu(x: Tensor, *, alpha: float = 0.01) -> Tensor:
    """A slope below zero."""
    return F.leaky_relu(x, alpha)


@operator("PRelu")
def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """A slope below zero that is learned; it broadcasts from the right."""
    return pl.where(x < 0, x * slope, x)


@operator("Elu")
def elu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """alpha (e^x - 1) below zero."""
    return F.elu(x, alpha)


@operator("Selu")
def selu(x: Tensor, *, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875) -> Tensor:
    """gamma times Elu."""
    return F.elu(x, alpha) * gamma


@operator("Celu")
def celu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """Elu whose derivative has no jump."""
    return F.celu(x, alpha)


@operator("Gelu")
def gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    """x times the normal distribution function."""
    return F.gelu(x, approximate)


@operator("Swish")
def swish(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """x sigmoid(alpha x)."""
    return F.silu(x) if alpha == 1 else x * pl.sigmoid(x * alpha)


@operator("HardSigmoid")
def hard_sigmoid(x: Tensor, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    """alpha x + beta between 0 and 1."""
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return F.hardsigmoid(x)
    return pl.clamp(x * alpha + beta, 0, 1)


@operator("ThresholdedRelu")
def thresholded_relu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """Zero up to alpha."""
    return F.threshold(x, alpha, 0)


@operator("Shrink")
def shrink(x: Tensor, *, bias: float = 0.0, lambd: float = 0.5) -> Tensor:
    """Zero between -lambd and lambd, nearer to it by the bias elsewhere."""
    outside = pl.where(x > lambd, x - bias, pl.zeros_like(x))
    return pl.where(x < -lambd, x + bias, outside).to(x.dtype)


@operator("IsInf")
def is_inf(x: Tensor, *, detect_negative: int = 1, detect_positive: int = 1) -> Tensor:
    """Which elements are infinite, of either sign or one."""
    found = pl.isinf(x)
    if not detect_negative:
        found = pl.logical_and(found, x > 0)
    return found if detect_positive else pl.logical_and(found, x < 0)
