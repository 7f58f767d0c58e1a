# SPDX-License-Identifier: Apache-2.0
"""Multiplies factors behind a product or convolution into its weights."""

from __future__ import annotations

import numpy as np

from penlight_export.graph import (
    Model,
    Node,
    Value,
    add_constant,
    all_nodes,
    bypass_node,
    constant_of,
    constant_size,
    find_attribute,
    graph_of,
    single_consumer,
)
from penlight_export.passes.base import Pass
from penlight_export.passes.formula import scalar_of

_FARTHEST = 6  # nodes between the factor and the weights
_MOVES = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity"})
_LINEAR = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose"})


class ScaleWeights(Pass):
    """(x W + b) * c = x (W c) + (b c) for one number c, also through nodes that only move data. Weights that others read stay."""

    name = "scale into weights"
    operators = frozenset({"Mul", "Div"})

    def run(self, model: Model) -> int:
        """Returns the number of factors that went."""
        return sum(_fold(node) for node in tuple(all_nodes(model.graph)) if node.op_type in ("Mul", "Div") and node.domain == "")


def _fold(node: Node) -> bool:
    sides = (1,) if node.op_type == "Div" else (1, 0)
    for side in sides:
        factor, x = scalar_of(node.inputs[side]), node.inputs[1 - side]
        shape = node.inputs[side].shape if node.inputs[side] is not None else None  # type: ignore[union-attr]  # just checked
        if factor is None or factor == 0 or x is None or shape is None or x.shape is None or len(shape) > len(x.shape):
            continue
        found = _constants_behind(x, node)
        if found is not None and bypass_node(node, x):
            for reader, index in found:
                _scale(reader, index, 1 / factor if node.op_type == "Div" else factor)
            return True
    return False


def _constants_behind(value: Value, reader: Node) -> list[tuple[Node, int]] | None:
    """Which operands to multiply so that a value is multiplied; None when there is no linear node within reach."""
    found: list[tuple[Node, int]] = []
    for _ in range(_FARTHEST):
        node = value.producer()
        if node is None or node.domain != "" or single_consumer(value) is not reader:
            return None
        if node.op_type in _LINEAR:
            own = _linear_constants(node)
            return None if own is None else found + own
        if node.op_type in ("Add", "Sub"):
            side = next((side for side in (1, 0) if _is_own(node.inputs[side], node)), None)
            if side is None:
                return None
            found.append((node, side))
            following = node.inputs[1 - side]
        elif node.op_type in _MOVES:
            following = node.inputs[0]
        else:
            return None
        if following is None:
            return None
        value, reader = following, node
    return None


def _linear_constants(node: Node) -> list[tuple[Node, int]] | None:
    if not _is_own(node.inputs[1], node):
        return None
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None and (not _is_own(bias, node) or find_attribute(node, "beta", 1.0) == 0):
        return None
    return [(node, 1), *([(node, 2)] if bias is not None else [])]


def _is_own(value: Value | None, node: Node) -> bool:
    """A constant of floating point that nothing else reads."""
    floating = value is not None and value.dtype is not None and value.dtype.is_floating_point()
    return floating and constant_size(value) is not None and value is not None and single_consumer(value) is node


def _scale(node: Node, index: int, factor: float) -> None:
    value = node.inputs[index]
    array = constant_of(value)
    assert array is not None and value is not None
    scaled = (array.astype(np.float64) * factor).astype(array.dtype)
    node.replace_input_with(index, add_constant(graph_of(node), scaled, f"{value.name}.scaled"))
