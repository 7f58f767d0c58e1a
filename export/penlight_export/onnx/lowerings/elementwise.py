# SPDX-License-Identifier: Apache-2.0
"""Lowerings of elementwise operators that ONNX has not under one name."""

from __future__ import annotations

import math
from typing import Any

from penlight_export.graph import Value
from penlight_export.onnx.builder import Builder
from penlight_export.onnx.lowerings.registry import lowering


@lowering("ne")
def ne(b: Builder, operator: Any, x: Value, y: Value) -> Value:
    """not (x == y)"""
    return b.op("Not", b.op("Equal", x, y))


@lowering("floor_divide")
def floor_divide(b: Builder, operator: Any, x: Value, y: Value) -> Value:
    """ONNX divides integers towards zero: one less where a remainder is left and the signs differ."""
    quotient = b.op("Div", x, y)
    if b.specs[x].dtype.is_floating_point:
        return b.op("Floor", quotient)
    rest = b.op("Sub", x, b.op("Mul", quotient, y))
    zero = b.like(0, x)
    inexact = b.op("Not", b.op("Equal", rest, zero))
    opposite = b.op("Xor", b.op("Less", rest, zero), b.op("Less", y, zero))
    return b.op("Where", b.op("And", inexact, opposite), b.op("Sub", quotient, b.like(1, x)), quotient)


@lowering("remainder")
def remainder(b: Builder, operator: Any, x: Value, y: Value) -> Value:
    """x - y * floor(x / y): ONNX's Mod gives floating-point results the sign of x."""
    if not b.specs[x].dtype.is_floating_point:
        return b.op("Mod", x, y, fmod=0)
    return b.op("Sub", x, b.op("Mul", y, b.op("Floor", b.op("Div", x, y))))


@lowering("pow_scalar")
def pow_scalar(b: Builder, operator: Any, x: Value) -> Value:
    """Small exponents as products: exact, and fast everywhere."""
    if operator.exponent == 2:
        return b.op("Mul", x, x)
    if operator.exponent == 3:
        return b.op("Mul", b.op("Mul", x, x), x)
    if operator.exponent == 0.5:
        return b.op("Sqrt", x)
    return b.op("Pow", x, b.like(operator.exponent, x))


@lowering("clamp")
def clamp(b: Builder, operator: Any, x: Value) -> Value:
    """Clip with its bounds as inputs."""
    low, high = (None if bound is None else b.like(bound, x) for bound in (operator.low, operator.high))
    return b.op("Clip", x, low, high)


@lowering("log1p")
def log1p(b: Builder, operator: Any, x: Value) -> Value:
    """log(1 + x)"""
    return b.op("Log", b.op("Add", x, b.like(1, x)))


@lowering("expm1")
def expm1(b: Builder, operator: Any, x: Value) -> Value:
    """exp(x) - 1"""
    return b.op("Sub", b.op("Exp", x), b.like(1, x))


@lowering("rsqrt")
def rsqrt(b: Builder, operator: Any, x: Value) -> Value:
    """1 / sqrt(x)"""
    return b.op("Reciprocal", b.op("Sqrt", x))


@lowering("trunc")
def trunc(b: Builder, operator: Any, x: Value) -> Value:
    """The floor of the magnitude with the sign of x."""
    return b.op("Mul", b.op("Sign", x), b.op("Floor", b.op("Abs", x)))


@lowering("fmod")
def fmod(b: Builder, operator: Any, x: Value, y: Value) -> Value:
    """The remainder with the sign of x, as in C."""
    return b.op("Mod", x, y, fmod=1)


@lowering("log2", "log10")
def log_of_base(b: Builder, operator: Any, x: Value) -> Value:
    """The natural logarithm, scaled."""
    return b.op("Div", b.op("Log", x), b.like(math.log(2 if operator.name == "log2" else 10), x))


@lowering("erfc")
def erfc(b: Builder, operator: Any, x: Value) -> Value:
    """1 - erf(x); it loses digits above 3, where the function is below 1e-4."""
    return b.op("Sub", b.like(1, x), b.op("Erf", x))
