# SPDX-License-Identifier: Apache-2.0
"""Lets nodes that only move data work on quantized numbers: DequantizeLinear, move, QuantizeLinear becomes the move alone."""

from __future__ import annotations

import numpy as np

from penlight_export.graph import Model, Node, Value, all_nodes, constant_of, make_node, replace_node, single_consumer
from penlight_export.passes.base import Pass

_MOVES = {
    *("DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "SpaceToDepth"),
    *("Squeeze", "Tile", "Transpose", "Unsqueeze"),
}


class MoveQuantized(Pass):
    """Exact: with one scale and one zero point for the whole tensor, quantizing a dequantized number gives it back."""

    name = "dequantize, move, quantize"
    operators = frozenset({"QuantizeLinear"})

    def run(self, model: Model) -> int:
        """Returns the number of moves that lost their pair, and of pairs with nothing between."""
        nodes = tuple(all_nodes(model.graph))
        return sum(_fold(node) for node in nodes if node.op_type == "QuantizeLinear" and node.domain == "")


def _fold(quantize: Node) -> bool:
    moved = quantize.inputs[0]
    node = moved.producer() if moved is not None else None
    if node is None or node.domain != "":
        return False
    move = None if node.op_type == "DequantizeLinear" else node
    if move is not None and (move.op_type not in _MOVES or moved is None or single_consumer(moved) is not quantize):
        return False
    x = move.inputs[0] if move is not None else moved
    dequantize = x.producer() if x is not None else None
    if dequantize is None or dequantize.op_type != "DequantizeLinear" or not _same_scale(dequantize, quantize):
        return False
    source = dequantize.inputs[0]
    if source is None or source.dtype is None or source.dtype != quantize.outputs[0].dtype or source.dtype.bitwidth > 16:
        return False  # 32 bits do not come back from a float unchanged
    if move is None:
        new = make_node("Identity", [source], like=quantize)
    else:
        new = make_node(move.op_type, [source, *move.inputs[1:]], _copied(move), like=move)
    replace_node(quantize, [new], new.outputs)
    return True


def _copied(node: Node) -> dict[str, object]:
    return {name: attribute.value for name, attribute in node.attributes.items()}


def _same_scale(a: Node, b: Node) -> bool:
    """One scale and one zero point for all elements, the same in both nodes."""
    return all(_same_number(_input(a, index), _input(b, index)) for index in (1, 2))


def _input(node: Node, index: int) -> Value | None:
    return node.inputs[index] if len(node.inputs) > index else None


def _same_number(a: Value | None, b: Value | None) -> bool:
    if a is None or b is None:
        return a is b
    x, y = constant_of(a), constant_of(b)
    if x is None or y is None or x.size != 1 or y.size != 1 or x.dtype != y.dtype or x.dtype == np.float16:
        return False
    return bool(x.reshape(-1)[0] == y.reshape(-1)[0])
