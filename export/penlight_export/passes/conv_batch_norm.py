# SPDX-License-Identifier: Apache-2.0
"""Multiplies a batch normalisation into the weights of the convolution in front of it."""

from __future__ import annotations

import numpy as np

from penlight_export.graph import (
    Model,
    Node,
    Value,
    add_constant,
    all_nodes,
    constant_of,
    find_attribute,
    graph_of,
    make_node,
    replace_node,
    single_consumer,
)
from penlight_export.passes.base import Pass


class FoldBatchNorm(Pass):
    """BatchNorm(Conv(x, W, b)) = Conv(x, W * s, (b - mean) * s + shift) with s = scale / sqrt(variance + eps), per output channel.

    Computed in float64. All factors must be constant, and nothing else may read the convolution's output.
    """

    name = "conv + batch norm"
    operators = frozenset({"BatchNormalization"})

    def run(self, model: Model) -> int:
        """Returns the number of folded normalisations."""
        return sum(
            _fold(node) for node in tuple(all_nodes(model.graph)) if node.op_type == "BatchNormalization" and node.domain == ""
        )


def _fold(norm: Node) -> bool:
    x = norm.inputs[0]
    conv = x.producer() if x is not None else None
    if conv is None or conv.domain != "" or x is None or single_consumer(x) is not norm or find_attribute(norm, "training_mode", 0):
        return False
    channel_axis = _channel_axis(conv)
    weight = constant_of(conv.inputs[1]) if channel_axis is not None else None
    factors = [constant_of(value) for value in norm.inputs[1:5]]
    bias = constant_of(conv.inputs[2]) if _has_bias(conv) else 0.0
    if weight is None or bias is None or channel_axis is None or any(factor is None for factor in factors):
        return False
    scale, shift, mean, variance = (np.asarray(factor, np.float64) for factor in factors)
    s = scale / np.sqrt(variance + find_attribute(norm, "epsilon", 1e-5))  # (channels,)
    shape = [1] * weight.ndim
    shape[channel_axis] = -1
    new_weight = (weight * s.reshape(shape)).astype(weight.dtype)
    new_bias = ((bias - mean) * s + shift).astype(weight.dtype)
    _replace(conv, norm, new_weight, new_bias)
    return True


def _has_bias(conv: Node) -> bool:
    return len(conv.inputs) > 2 and conv.inputs[2] is not None


def _channel_axis(conv: Node) -> int | None:
    """Where the output channels lie in the weight, None when the node is no convolution that can be folded."""
    if conv.op_type == "Conv":
        return 0
    # ConvTranspose with groups keeps its output channels in two axes.
    return 1 if conv.op_type == "ConvTranspose" and find_attribute(conv, "group", 1) == 1 else None


def _replace(conv: Node, norm: Node, weight: np.ndarray, bias: np.ndarray) -> None:
    graph = graph_of(conv)
    values: list[Value | None] = [
        conv.inputs[0],
        add_constant(graph, weight, f"{_name(conv, 1, 'weight')}.folded"),
        add_constant(graph, bias, f"{_name(conv, 2, 'bias')}.folded"),
    ]
    fused = make_node(conv.op_type, values, {name: attribute.value for name, attribute in conv.attributes.items()}, like=conv)
    replace_node(norm, [fused], [fused.outputs[0], *([None] * (len(norm.outputs) - 1))])
    graph.remove(conv, safe=True)


def _name(conv: Node, index: int, fallback: str) -> str:
    value = conv.inputs[index] if len(conv.inputs) > index else None
    return value.name if value is not None and value.name else f"{conv.outputs[0].name}.{fallback}"
