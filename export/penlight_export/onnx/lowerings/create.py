# SPDX-License-Identifier: Apache-2.0
"""Lowerings of new tensors from sizes and numbers; they are in a trace only where a size is dynamic or nothing else made them."""

from __future__ import annotations

from typing import Any

import numpy as np

from penlight_export.graph import Value
from penlight_export.onnx.builder import Builder, onnx_dtype, symbol_text
from penlight_export.onnx.lowerings.registry import lowering


@lowering("full")
def full(b: Builder, operator: Any) -> Value:
    """A constant expanded to the shape."""
    return b.op("Expand", _number(b, operator.value), b.sizes(operator.shape))


@lowering("arange")
def arange(b: Builder, operator: Any) -> Value:
    """Range, whose bounds are scalars of the result's dtype."""
    return b.op("Range", *(_number(b, bound) for bound in (operator.start, operator.end, operator.step)))


@lowering("symbolic_scalar")
def symbolic_scalar(b: Builder, operator: Any) -> Value:
    """A size as a number."""
    return b.op("Identity", _number(b, operator.value))


def _number(b: Builder, number: Any) -> Value:
    """A scalar in the dtype of the output: a constant, or computed from shapes."""
    if symbol_text(number) is None:
        return b.constant(number, b.outputs[0].dtype.numpy)
    size = b.size(number)
    return size if b.outputs[0].dtype.numpy == np.int64 else b.op("Cast", size, to=onnx_dtype(b.outputs[0]))
