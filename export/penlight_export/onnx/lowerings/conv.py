# SPDX-License-Identifier: Apache-2.0
"""Lowerings of convolutions."""

from __future__ import annotations

from typing import Any

from penlight_export.graph import Value
from penlight_export.onnx.builder import Builder
from penlight_export.onnx.lowerings.registry import lowering


@lowering("conv2d")
def conv2d(b: Builder, operator: Any, x: Value, weight: Value, bias: Value | None) -> Value:
    """Conv; ONNX lists the pads of all starts, then of all ends."""
    return b.op("Conv", x, weight, bias, kernel_shape=_kernel(b, weight), **_attributes(operator))


@lowering("conv2d_input_grad")
def conv2d_input_grad(b: Builder, operator: Any, grad: Value, weight: Value) -> Value:
    """ConvTranspose; `output_shape` would move the pads, so that the rest of the division is given as output padding."""
    kernel = _kernel(b, weight)
    spans = zip(operator.size, b.specs[grad].shape[2:], operator.stride, operator.padding, operator.dilation, kernel, strict=True)
    rest = [b.fixed(size - ((out - 1) * step - 2 * pad + dilation * (k - 1) + 1)) for size, out, step, pad, dilation, k in spans]
    return b.op("ConvTranspose", grad, weight, kernel_shape=kernel, output_padding=rest, **_attributes(operator))


def _kernel(b: Builder, weight: Value) -> list[int]:
    return [b.fixed(size) for size in b.specs[weight].shape[2:]]


def _attributes(operator: Any) -> dict[str, Any]:
    return {
        "strides": list(operator.stride),
        "pads": [*operator.padding, *operator.padding],
        "dilations": list(operator.dilation),
        "group": operator.groups,
    }
