# SPDX-License-Identifier: Apache-2.0
"""Moves Transpose nodes towards the outputs, until two of them meet and become one or none.

Models from engines with channels last are full of them around every convolution; here all kernels have channels first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from penlight_export.graph import (
    Attr,
    AttributeType,
    Model,
    Node,
    Shape,
    Value,
    add_constant,
    all_nodes,
    bypass_node,
    constant_of,
    constant_size,
    find_attribute,
    fresh_name,
    graph_of,
    make_node,
    rank_of,
    replace_node,
)
from penlight_export.passes.base import Pass, require_opset
from penlight_export.passes.formula import reduced_axes

Permutation = tuple[int, ...]

_UNARY = (
    *(
        "Abs",
        "Acos",
        "Asin",
        "Atan",
        "Cast",
        "Ceil",
        "Clip",
        "Cos",
        "Elu",
        "Erf",
        "Exp",
        "Floor",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
    ),
    *("IsNaN", "LeakyRelu", "Log", "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin"),
    *("Softplus", "Softsign", "Sqrt", "Swish", "Tanh", "ThresholdedRelu"),
)
_BROADCAST = (
    *("Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Mul", "Or", "Pow", "Sub"),
    *("Sum", "Where", "Xor"),
)
_REDUCTIONS = {f"Reduce{name}" for name in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")}
_MOVED = {*_UNARY, *_BROADCAST, *_REDUCTIONS, "Concat"}


class SinkTransposes(Pass):
    """One walk in order. A Transpose that only one elementwise node, reduction or Concat reads changes places with it."""

    name = "transposes"
    operators = frozenset({"Transpose"})

    def requires(self, model: Model) -> None:
        """Axes, bounds and the like are inputs, not attributes."""
        require_opset(model, 13, self.name)

    def run(self, model: Model) -> int:
        """Returns the number of moved and cancelled nodes."""
        changes = 0
        for node in tuple(all_nodes(model.graph)):
            if node.domain == "":
                changes += _meet(node) if node.op_type == "Transpose" else _sink(node)
        return changes


def permutation_of(value: Value | None) -> Permutation | None:
    """The order of axes of the Transpose that computes a value; None for other values."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type != "Transpose" or node.domain != "":
        return None
    given, rank = find_attribute(node, "perm"), rank_of(node.inputs[0])
    if given is None:
        return None if rank is None else tuple(reversed(range(rank)))
    order = tuple(int(axis) for axis in given)
    return order if sorted(order) == list(range(len(order))) and rank in (None, len(order)) else None


def _meet(node: Node) -> bool:
    """Joins a Transpose with the one in front of it."""
    outer, inner = permutation_of(node.outputs[0]), permutation_of(node.inputs[0])
    if outer is None or inner is None or node.inputs[0] is None:
        return False
    producer = node.inputs[0].producer()
    source = producer.inputs[0] if producer is not None else None
    if source is None or len(inner) != len(outer):
        return False
    joined = tuple(inner[axis] for axis in outer)
    if joined == tuple(range(len(joined))) and bypass_node(node, source):
        return True
    node.replace_input_with(0, source)
    node.attributes.add(Attr("perm", AttributeType.INTS, list(joined)))
    return True


def _sink(node: Node) -> bool:
    if node.op_type in ("Slice", "Squeeze") and len(node.inputs) > 1:
        return _sink_selection(node)
    if node.op_type not in _MOVED or len(node.outputs) != 1:
        return False
    operands = list(dict.fromkeys(value for value in node.inputs if permutation_of(value) is not None))
    orders = {permutation_of(value) for value in operands}
    if len(orders) != 1 or not all(_only_reader(value, node) for value in operands if value is not None):
        return False
    order = orders.pop()
    assert order is not None
    moved = _moved_inputs(node, order)
    if moved is None or rank_of(node.outputs[0]) != len(order):
        return False
    inputs, changed = moved
    _insert_before_transpose(node, inputs, changed, order)
    return True


def _insert_before_transpose(node: Node, inputs: Sequence[Value | None], changed: dict[str, int], order: Permutation) -> None:
    """Puts the node, with other operands, and a Transpose behind it in its place."""
    attributes = {name: attribute.value for name, attribute in node.attributes.items()} | changed
    name = fresh_name(graph_of(node), f"{node.outputs[0].name}.moved")
    new = make_node(node.op_type, inputs, attributes, output_names=[name], like=node)
    new.outputs[0].type, new.outputs[0].shape = node.outputs[0].type, _unpermuted(node.outputs[0], order)
    transpose = make_node("Transpose", [new.outputs[0]], {"perm": list(order)}, like=node)
    transpose.name = f"{node.name}.transpose" if node.name else None
    replace_node(node, [new, transpose], transpose.outputs)


def _sink_selection(node: Node) -> bool:
    """Slices and drops axes in front of a Transpose, even when several nodes read it, where all of them take parts: the whole is
    never put in order then, as for queries, keys and values that lie in one tensor.
    """
    x = node.inputs[0]
    order = permutation_of(x)
    place = 3 if node.op_type == "Slice" else 1
    axes = constant_of(node.inputs[place]) if len(node.inputs) > place else None
    if order is None or x is None or axes is None or node.outputs[0].dtype is None or not _only_parts(x):
        return False
    taken = [int(axis) % len(order) for axis in axes.reshape(-1)]
    moved = add_constant(graph_of(node), np.asarray([order[axis] for axis in taken], np.int64), f"{node.outputs[0].name}.axes")
    inputs = [_source(x), *node.inputs[1:place], moved, *node.inputs[place + 1 :]]
    kept = order if node.op_type == "Slice" else _without(order, [order[axis] for axis in taken])
    _insert_before_transpose(node, inputs, {}, kept)
    return True


def _only_parts(value: Value) -> bool:
    return not value.is_graph_output() and all(use.node.op_type in ("Slice", "Squeeze", "Gather") for use in value.uses())


def _without(order: Permutation, dropped: Sequence[int]) -> Permutation:
    kept = [axis for axis in order if axis not in dropped]
    return tuple(sorted(kept).index(axis) for axis in kept)


def _unpermuted(value: Value, order: Permutation) -> Shape | None:
    return None if value.shape is None else Shape([value.shape[order.index(axis)] for axis in range(len(order))])


def _moved_inputs(node: Node, order: Permutation) -> tuple[list[Value | None], dict[str, int]] | None:
    """The operands in front of the Transpose, and attributes that count axes; None when the node cannot stand there."""
    sources = [_source(value) if permutation_of(value) is not None else value for value in node.inputs]
    if node.op_type == "Concat":
        whole = all(permutation_of(value) is not None for value in node.inputs)
        return (sources, {"axis": order[find_attribute(node, "axis", 0) % len(order)]}) if whole else None
    if node.op_type in _REDUCTIONS:
        return _moved_axes(node, sources, order)
    inputs: list[Value | None] = []
    for value, source in zip(node.inputs, sources, strict=True):
        turned = source if source is not value else _turned_constant(node, value, order)
        if turned is None and value is not None:
            return None
        inputs.append(turned)
    return inputs, {}


def _only_reader(value: Value, node: Node) -> bool:
    return not value.is_graph_output() and all(use.node is node for use in value.uses())


def _source(value: Value | None) -> Value | None:
    producer = value.producer() if value is not None else None
    return producer.inputs[0] if producer is not None else None


def _moved_axes(
    node: Node, sources: Sequence[Value | None], order: Permutation
) -> tuple[list[Value | None], dict[str, int]] | None:
    axes = reduced_axes(node)
    if axes is None or "axes" in node.attributes:
        return None
    moved = np.asarray([order[axis] for axis in axes], np.int64)
    return [sources[0], add_constant(graph_of(node), moved, f"{node.outputs[0].name}.axes")], {}


def _turned_constant(node: Node, value: Value | None, order: Permutation) -> Value | None:
    """A constant operand as it must stand in front of the Transpose; None for other values."""
    size, rank = constant_size(value), rank_of(value)
    if value is None or size is None or rank is None or rank > len(order):
        return None
    if size == 1:
        return value
    array = constant_of(value)
    assert array is not None
    full = array.reshape((1,) * (len(order) - rank) + array.shape)
    inverse = [order.index(axis) for axis in range(len(order))]
    return add_constant(graph_of(node), full.transpose(inverse), f"{value.name}.turned")
