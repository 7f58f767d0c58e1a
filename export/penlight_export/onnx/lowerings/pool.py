# SPDX-License-Identifier: Apache-2.0
"""Lowerings of pooling."""

from __future__ import annotations

from typing import Any

from penlight_export.graph import Value
from penlight_export.onnx.builder import Builder
from penlight_export.onnx.lowerings.registry import lowering


@lowering("max_pool2d")
def max_pool2d(b: Builder, operator: Any, x: Value) -> Value:
    """MaxPool; its padding never wins either."""
    return b.op("MaxPool", x, dilations=list(operator.dilation), **_attributes(operator))


@lowering("avg_pool2d")
def avg_pool2d(b: Builder, operator: Any, x: Value) -> Value:
    """AveragePool; what ceil mode reads beyond the padding counts in neither."""
    return b.op("AveragePool", x, count_include_pad=int(operator.count_include_pad), **_attributes(operator))


def _attributes(operator: Any) -> dict[str, Any]:
    return {
        "kernel_shape": list(operator.kernel_size),
        "strides": list(operator.stride),
        "pads": [*operator.padding, *operator.padding],
        "ceil_mode": int(operator.ceil_mode),
    }
