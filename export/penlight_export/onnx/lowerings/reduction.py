# SPDX-License-Identifier: Apache-2.0
"""Lowerings of reductions and running sums."""

from __future__ import annotations

from typing import Any

import numpy as np

from penlight_export.graph import DataType, Value
from penlight_export.onnx.builder import Builder
from penlight_export.onnx.lowerings.registry import lowering

_NAMES = {"sum": "ReduceSum", "mean": "ReduceMean", "amax": "ReduceMax", "amin": "ReduceMin", "prod": "ReduceProd"}


@lowering(*_NAMES)
def reduction(b: Builder, operator: Any, x: Value) -> Value:
    """The axes are an input; without axes ONNX would reduce all, so that no axis is an Identity."""
    if not operator.dims:
        return b.op("Identity", x)
    return reduce(b, _NAMES[operator.name], x, operator.dims, operator.keepdim)


def reduce(b: Builder, name: str, x: Value, dims: tuple[int, ...], keepdim: bool) -> Value:
    """One ONNX reduction, in the form of the builder's operator set: axes became an input at 13 (ReduceSum) and 18 (others)."""
    if b.opset < 18 and name != "ReduceSum":
        return b.op(name, x, axes=list(dims), keepdims=int(keepdim))
    return b.op(name, x, b.integers(dims), keepdims=int(keepdim))


@lowering("any")
def any_true(b: Builder, operator: Any, x: Value) -> Value:
    """More than zero true elements; ONNX reduces bool only at the newest versions."""
    return b.op("Greater", _count(b, operator, b.op("Cast", x, to=DataType.INT64)), b.integers(0))


@lowering("all")
def all_true(b: Builder, operator: Any, x: Value) -> Value:
    """No false elements."""
    false = b.op("Not", x if b.specs[x].dtype.numpy == np.bool_ else b.op("Cast", x, to=DataType.BOOL))
    return b.op("Equal", _count(b, operator, b.op("Cast", false, to=DataType.INT64)), b.integers(0))


def _count(b: Builder, operator: Any, x: Value) -> Value:
    return reduce(b, "ReduceSum", x, operator.dims, operator.keepdim) if operator.dims else x


@lowering("cumsum")
def cumsum(b: Builder, operator: Any, x: Value) -> Value:
    """The axis is an input of CumSum."""
    return b.op("CumSum", x, b.integers(operator.dim))
