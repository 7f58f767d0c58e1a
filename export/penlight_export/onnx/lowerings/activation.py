# SPDX-License-Identifier: Apache-2.0
"""Lowerings of activations."""

from __future__ import annotations

import math
from typing import Any

from penlight_export.graph import Value
from penlight_export.onnx.builder import Builder
from penlight_export.onnx.lowerings.registry import lowering


@lowering("silu")
def silu(b: Builder, operator: Any, x: Value) -> Value:
    """x * sigmoid(x); ONNX has Swish from version 24 on only."""
    return b.op("Mul", x, b.op("Sigmoid", x))


@lowering("swiglu")
def swiglu(b: Builder, operator: Any, gate: Value, up: Value) -> Value:
    """gate * sigmoid(gate) * up."""
    return b.op("Mul", b.op("Mul", gate, b.op("Sigmoid", gate)), up)


@lowering("gelu")
def gelu(b: Builder, operator: Any, x: Value) -> Value:
    """Gelu from version 20 on, its formula before."""
    if b.opset >= 20:
        return b.op("Gelu", x, approximate=operator.approximate)
    half = b.op("Mul", x, b.like(0.5, x))
    if operator.approximate == "tanh":
        cube = b.op("Mul", b.op("Mul", b.op("Mul", x, x), x), b.like(0.044715, x))
        inner = b.op("Tanh", b.op("Mul", b.op("Add", x, cube), b.like(math.sqrt(2 / math.pi), x)))
    else:
        inner = b.op("Erf", b.op("Mul", x, b.like(math.sqrt(0.5), x)))
    return b.op("Mul", half, b.op("Add", inner, b.like(1, x)))


@lowering("softplus")
def softplus(b: Builder, operator: Any, x: Value) -> Value:
    """Above a threshold of 15 the formula equals x up to rounding, so that it needs no branch."""
    scaled = x if operator.beta == 1 else b.op("Mul", x, b.like(operator.beta, x))
    result: Value = b.op("Softplus", scaled)
    if operator.beta != 1:
        result = b.op("Div", result, b.like(operator.beta, x))
    if operator.threshold < 15:
        result = b.op("Where", b.op("Greater", scaled, b.like(operator.threshold, x)), x, result)
    return result


@lowering("softmax", "log_softmax")
def softmax(b: Builder, operator: Any, x: Value) -> Value:
    """Softmax or LogSoftmax, which take no scalars."""
    name = "Softmax" if operator.name == "softmax" else "LogSoftmax"
    if b.specs[x].shape:
        return b.op(name, x, axis=operator.dim)
    row = b.op(name, b.op("Reshape", x, b.integers([1])), axis=0)
    return b.op("Reshape", row, b.integers([]))


@lowering("hardsigmoid")
def hardsigmoid(b: Builder, operator: Any, x: Value) -> Value:
    """HardSigmoid with the slope of PyTorch; ONNX's default is 0.2."""
    return b.op("HardSigmoid", x, alpha=1 / 6, beta=0.5)
