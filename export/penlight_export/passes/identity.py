# SPDX-License-Identifier: Apache-2.0
"""Removes nodes that hand their input on unchanged: Identity, Dropout without training, Cast to the same type and the like."""

from __future__ import annotations

import numpy as np

from penlight_export.graph import (
    Model,
    Node,
    Value,
    all_nodes,
    bypass_node,
    constant_of,
    find_attribute,
    make_node,
    rank_of,
    replace_node,
)
from penlight_export.passes.base import Pass, require_opset


class RemoveIdentities(Pass):
    """Reconnects the readers of a node to its input. A node between an input and an output of the graph stays."""

    name = "identities"

    def requires(self, model: Model) -> None:
        """Axes, bounds and the like are inputs, not attributes."""
        require_opset(model, 13, self.name)

    def run(self, model: Model) -> int:
        """Returns the number of removed nodes."""
        removed = 0
        for node in tuple(all_nodes(model.graph)):
            if node.domain == "" and _is_identity(node) and (source := node.inputs[0]) is not None:
                removed += bypass_node(node, source) or _simplify(node, source)
        return removed


def _simplify(node: Node, source: Value) -> bool:
    """Between an input and an output of the graph something must stay; a rule may have changed the node's operands already."""
    if node.op_type == "Identity":
        return False
    copy = make_node("Identity", [source], output_names=[f"{node.outputs[0].name}.copy"], like=node)
    replace_node(node, [copy], [copy.outputs[0], *[None] * (len(node.outputs) - 1)])
    return True


def _is_identity(node: Node) -> bool:
    rule = _RULES.get(node.op_type)
    return rule is not None and rule(node)


def _always(node: Node) -> bool:
    return True


def _without_training(node: Node) -> bool:
    if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
        return False
    training = node.inputs[2] if len(node.inputs) > 2 else None
    array = constant_of(training)
    return training is None or (array is not None and not array.any())


def _same_type(node: Node) -> bool:
    x = node.inputs[0]
    return x is not None and x.dtype is not None and int(x.dtype) == find_attribute(node, "to")


def _same_order(node: Node) -> bool:
    order = find_attribute(node, "perm")
    rank = rank_of(node.inputs[0])
    return (order is not None and list(order) == list(range(len(order)))) or (order is None and rank is not None and rank < 2)


def _same_shape(node: Node) -> bool:
    before, after = node.inputs[0].shape if node.inputs[0] is not None else None, node.outputs[0].shape
    if before is None or after is None or len(before) != len(after):
        return False
    return all(a == b and (isinstance(a, int) or a.value is not None) for a, b in zip(before, after, strict=True))


def _undoes(operator: str):
    def rule(node: Node) -> bool:
        """The node takes back what the one in front of it did, on the same axes."""
        before = node.inputs[0].producer() if node.inputs[0] is not None else None
        if before is None or before.op_type != operator or before.domain != "" or len(before.inputs) < 2 or len(node.inputs) < 2:
            return False
        axes, inner = constant_of(node.inputs[1]), constant_of(before.inputs[1])
        if axes is None or inner is None or (axes < 0).any() or (inner < 0).any() or sorted(axes.flat) != sorted(inner.flat):
            return False
        node.replace_input_with(0, before.inputs[0])
        return True

    return rule


def _single_input(node: Node) -> bool:
    return len(node.inputs) == 1


def _pads_nothing(node: Node) -> bool:
    pads = constant_of(node.inputs[1])
    return pads is not None and not pads.any()


def _neutral(number: float, sides: tuple[int, ...]):
    def rule(node: Node) -> bool:
        """One operand is a neutral constant that does not widen the other one by broadcasting."""
        for side in sides:
            if _is_filled_with(node.inputs[side], number) and _keeps_shape(node.inputs[1 - side], node.inputs[side], node):
                if side == 0:
                    node.replace_input_with(0, node.inputs[1])
                return True
        return False

    return rule


def _is_filled_with(value: Value | None, number: float) -> bool:
    if value is None or value.const_value is None or value.const_value.size != 1:
        return False
    array = constant_of(value)
    return array is not None and bool(np.all(array == number))


def _keeps_shape(kept: Value | None, constant: Value | None, node: Node) -> bool:
    rank, other = rank_of(kept), rank_of(constant)
    return rank is not None and other is not None and other <= rank


_RULES = {
    "Identity": _always,
    "Dropout": _without_training,
    "Cast": _same_type,
    "Transpose": _same_order,
    "Reshape": _same_shape,
    "Expand": _same_shape,
    "Flatten": _same_shape,
    "Squeeze": _undoes("Unsqueeze"),
    "Concat": _single_input,
    "Max": _single_input,
    "Min": _single_input,
    "Sum": _single_input,
    "Pad": _pads_nothing,
    # x + 0 turns -0.0 into 0.0, so addition stays; x - 0, x * 1 and x / 1 are exact.
    "Sub": _neutral(0, sides=(1,)),
    "Mul": _neutral(1, sides=(1, 0)),
    "Div": _neutral(1, sides=(1,)),
}
