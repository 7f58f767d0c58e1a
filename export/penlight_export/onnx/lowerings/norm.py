# SPDX-License-Identifier: Apache-2.0
"""Lowerings of normalisations."""

from __future__ import annotations

from typing import Any

import numpy as np

from penlight_export.graph import Value
from penlight_export.onnx.builder import Builder
from penlight_export.onnx.lowerings.reduction import reduce
from penlight_export.onnx.lowerings.registry import lowering


@lowering("layer_norm")
def layer_norm(b: Builder, operator: Any, x: Value, weight: Value | None, bias: Value | None) -> tuple[Value | None, ...]:
    """LayerNormalization; mean and 1 / deviation are outputs only where something reads them."""
    if weight is None:
        shape = b.specs[x].shape
        weight = b.constant(np.ones([int(size) for size in shape[len(shape) - operator.dims :]]), b.specs[x].dtype.numpy)
    attributes = {"axis": -operator.dims, "epsilon": operator.eps}
    if not any(b.wanted[1:]):
        return b.op("LayerNormalization", x, weight, bias, **attributes), None, None
    result, mean, rstd = b.op("LayerNormalization", x, weight, bias, count=3, **attributes)
    return result, rstd, mean


@lowering("batch_norm")
def batch_norm(b: Builder, operator: Any, x: Value, weight: Value | None, bias: Value | None, mean: Value, var: Value) -> Value:
    """BatchNormalization with the running statistics."""
    channels, dtype = int(b.specs[mean].shape[0]), b.specs[x].dtype.numpy
    scale = b.constant(np.ones(channels), dtype) if weight is None else weight
    shift = b.constant(np.zeros(channels), dtype) if bias is None else bias
    return b.op("BatchNormalization", x, scale, shift, mean, var, epsilon=operator.eps)


@lowering("batch_norm_training")
def batch_norm_training(
    b: Builder, operator: Any, x: Value, weight: Value | None, bias: Value | None
) -> tuple[Value, Value, Value]:
    """The statistics of the batch, spelled out; ONNX's training mode would update running ones."""
    rank = len(b.specs[x].shape)
    axes = (0, *range(2, rank))
    mean = reduce(b, "ReduceMean", x, axes, keepdim=True)
    centred = b.op("Sub", x, mean)
    variance = reduce(b, "ReduceMean", b.op("Mul", centred, centred), axes, keepdim=True)
    result = b.op("Div", centred, b.op("Sqrt", b.op("Add", variance, b.like(operator.eps, x))))
    for operation, parameter in (("Mul", weight), ("Add", bias)):
        if parameter is not None:
            result = b.op(operation, result, b.op("Reshape", parameter, b.integers([-1] + [1] * (rank - 2))))
    flat = b.integers([-1])
    return result, b.op("Reshape", mean, flat), b.op("Reshape", variance, flat)
