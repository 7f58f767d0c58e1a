# SPDX-License-Identifier: Apache-2.0
"""Lowerings of normalisations."""

from __future__ import annotations

from typing import Any

import numpy as np

from penlight.dtype import float32
from penlight_export.graph import Value
from penlight_export.onnx.builder import Builder, onnx_dtype
from penlight_export.onnx.lowerings.reduction import reduce
from penlight_export.onnx.lowerings.registry import lowering


@lowering("layer_norm")
def layer_norm(b: Builder, operator: Any, x: Value, weight: Value | None, bias: Value | None) -> tuple[Value | None, ...]:
    """LayerNormalization; mean and 1 / deviation are outputs only where something reads them."""
    if weight is None:
        shape = b.specs[x].shape
        weight = b.constant(np.ones([b.fixed(size) for size in shape[len(shape) - operator.dims :]]), b.specs[x].dtype.numpy)
    attributes = {"axis": -operator.dims, "epsilon": operator.eps}
    if not any(b.wanted[1:]):
        return b.op("LayerNormalization", x, weight, bias, **attributes), None, None
    result, mean, rstd = b.op("LayerNormalization", x, weight, bias, count=3, **attributes)
    if b.outputs[1].dtype is not float32:  # ONNX has the statistics in float32 only
        mean, rstd = (b.op("Cast", part, to=onnx_dtype(b.outputs[1])) for part in (mean, rstd))
    return result, rstd, mean


@lowering("rms_norm")
def rms_norm(b: Builder, operator: Any, x: Value, weight: Value | None) -> tuple[Value, None]:
    """The formula, which a pass puts together where the operator set has RMSNormalization."""
    rank = len(b.specs[x].shape)
    mean = reduce(b, "ReduceMean", b.op("Mul", x, x), tuple(range(rank - operator.dims, rank)), keepdim=True)
    result: Value = b.op("Mul", x, b.op("Reciprocal", b.op("Sqrt", b.op("Add", mean, b.like(operator.eps, x)))))
    return (result if weight is None else b.op("Mul", result, weight)), None


@lowering("batch_norm")
def batch_norm(b: Builder, operator: Any, x: Value, weight: Value | None, bias: Value | None, mean: Value, var: Value) -> Value:
    """BatchNormalization with the running statistics."""
    channels, dtype = b.fixed(b.specs[mean].shape[0]), b.specs[x].dtype.numpy
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
    statistics = [b.op("Reshape", part, flat) for part in (mean, variance)]
    return result, *(_cast(b, part, x, spec) for part, spec in zip(statistics, b.outputs[1:], strict=True))


def _cast(b: Builder, value: Value, x: Value, spec: Any) -> Value:
    """The value in the dtype of a result, where the input has another one."""
    return value if spec.dtype is b.specs[x].dtype else b.op("Cast", value, to=onnx_dtype(spec))
