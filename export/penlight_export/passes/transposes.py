# SPDX-License-Identifier: Apache-2.0
"""Moves Transpose nodes towards the outputs, until two of them meet and become one or none.

Models from engines with channels last (TensorFlow, LiteRT) are full of them around every convolution. Layout decision: everything
runs with channels first, and there is no second set of kernels. The packed products of pointwise convolutions would gain 9 % from
channels last (13.1 ms for 14.4 ms, the eight of ResNet-50, one thread, AVX2), about 4 % of the whole network; those of 3 x 3 taps
and each channel by itself bring channels to lanes as they read. What counts is that the Transposes go: ResNet-50 with channels last
has 58 nodes for 229 and takes 125 ms for 140, MobileNetV2 56 for 207 and 14.0 ms for 25.6.
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
    SymbolicDim,
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
from penlight_export.passes.dead_code import is_dead

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
    *(
        "Add",
        "And",
        "Div",
        "Equal",
        "Greater",
        "GreaterOrEqual",
        "Less",
        "LessOrEqual",
        "Max",
        "Min",
        "Mul",
        "Or",
        "PRelu",
        "Pow",
        "Sub",
    ),
    *("Sum", "Where", "Xor"),
)
_REDUCTIONS = {f"Reduce{name}" for name in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")}
_PASSED = frozenset({*_UNARY, *_REDUCTIONS, "Pad", "Transpose"})
_JOINING = frozenset({*_BROADCAST, "Concat"})
_READERS = 4  # of one Transpose that are looked at
_SELECTIONS = frozenset({"Gather", "Slice", "Squeeze"})
_MOVED = {*_UNARY, *_BROADCAST, *_REDUCTIONS, "Concat"}


class SinkTransposes(Pass):
    """One walk in order. A Transpose that one elementwise node, reduction, Concat or linear layer alone reads changes places.

    None moves into a body, where it may run again and again.
    """

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
        if changes:
            _remove_unread(model)
        return changes


def _remove_unread(model: Model) -> None:
    """What is left of those that have moved would look like a second reader to the passes behind this one."""
    for node in reversed(tuple(all_nodes(model.graph))):
        if node.op_type == "Transpose" and is_dead(node):
            graph_of(node).remove(node, safe=True)


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
    if any(_is_turned_outside(value, node) for value in node.inputs):
        return False
    if node.op_type in _SELECTIONS and len(node.inputs) > 1:
        return _sink_selection(node)
    if node.op_type in _MOVERS:
        return _MOVERS[node.op_type](node)
    if node.op_type not in _MOVED or len(node.outputs) != 1:
        return False
    operands = list(dict.fromkeys(value for value in node.inputs if permutation_of(value) is not None))
    orders = {permutation_of(value) for value in operands}
    if len(orders) != 1 or not all(_gives_way(value, node) for value in operands if value is not None):
        return False
    order = orders.pop()
    assert order is not None
    moved = _moved_inputs(node, order)
    kept = _without(order, [order[axis] for axis in _dropped(node)])
    if moved is None or rank_of(node.outputs[0]) != len(kept):
        return False
    inputs, changed = moved
    _insert_before_transpose(node, inputs, changed, kept)
    return True


def _is_turned_outside(value: Value | None, node: Node) -> bool:
    """The node is in a body, and a Transpose around it computes the value."""
    producer = value.producer() if value is not None else None
    return producer is not None and producer.op_type == "Transpose" and producer.graph is not node.graph


def _insert_before_transpose(node: Node, inputs: Sequence[Value | None], changed: dict[str, int], order: Permutation) -> None:
    """Puts the node, with other operands, and a Transpose behind it in its place; no Transpose that keeps every axis."""
    attributes = {name: attribute.value for name, attribute in node.attributes.items()} | changed
    if order == tuple(range(len(order))):
        same = make_node(node.op_type, inputs, attributes, like=node)
        replace_node(node, [same], same.outputs)
        return
    name = fresh_name(graph_of(node), f"{node.outputs[0].name}.moved")
    new = make_node(node.op_type, inputs, attributes, output_names=[name], like=node)
    new.outputs[0].type, new.outputs[0].shape = node.outputs[0].type, _unpermuted(node.outputs[0], order)
    transpose = make_node("Transpose", [new.outputs[0]], {"perm": list(order)}, like=node)
    transpose.name = f"{node.name}.transpose" if node.name else None
    replace_node(node, [new, transpose], transpose.outputs)


def _sink_linear(node: Node) -> bool:
    """A product by a constant matrix, or a Reshape that takes the last axis apart, in front of a Transpose that keeps that axis."""
    x = node.inputs[0]
    order = permutation_of(x)
    if order is None or x is None or order[-1] != len(order) - 1 or not _only_reader(x, node) or x.shape is None:
        return False
    if node.op_type == "MatMul":
        if constant_size(node.inputs[1]) is None or rank_of(node.inputs[1]) != 2:
            return False
        _insert_before_transpose(node, [_source(x), node.inputs[1]], {}, order)
        return True
    sizes, kept = node.outputs[0].shape, len(order) - 1
    if sizes is None or len(sizes) <= len(order) or not all(map(_is_same, list(x.shape)[:kept], list(sizes)[:kept])):
        return False
    parts = [size for size in list(sizes)[kept:] if isinstance(size, int)]
    if len(parts) != len(sizes) - kept or find_attribute(node, "allowzero", 0):
        return False
    shape = add_constant(graph_of(node), np.asarray([0] * kept + parts, np.int64), f"{node.outputs[0].name}.shape")
    _insert_before_transpose(node, [_source(x), shape], {}, (*order[:-1], *range(kept, len(sizes))))
    return True


def _sink_pad(node: Node) -> bool:
    """Constant amounts, in the order of the source's axes."""
    x, given = node.inputs[0], constant_of(node.inputs[1]) if len(node.inputs) > 1 else None
    order = permutation_of(x)
    if order is None or x is None or given is None or given.size != 2 * len(order) or not _gives_way(x, node):
        return False
    if len(node.inputs) > 3 and node.inputs[3] is not None:  # of some axes only
        return False
    moved = np.empty_like(given)
    for axis, place in enumerate(order):
        moved[place], moved[place + len(order)] = given[axis], given[axis + len(order)]
    amounts = add_constant(graph_of(node), moved, f"{node.outputs[0].name}.amounts")
    _insert_before_transpose(node, [_source(x), amounts, *node.inputs[2:]], {}, order)
    return True


def _sink_unsqueeze(node: Node) -> bool:
    """New axes get the places in front of the Transpose that they have behind it."""
    x = node.inputs[0]
    order, axes = permutation_of(x), constant_of(node.inputs[1]) if len(node.inputs) > 1 else None
    if order is None or axes is None or x is None or not _only_reader(x, node):
        return False
    for axis in sorted(int(axis) % (len(order) + axes.size) for axis in axes.reshape(-1)):
        moved = [place + (place >= axis) for place in order]
        order = (*moved[:axis], axis, *moved[axis:])
    _insert_before_transpose(node, [_source(x), node.inputs[1]], {}, order)
    return True


def _is_same(a: object, b: object) -> bool:
    """Two sizes are one number, or have one name."""
    named = isinstance(a, SymbolicDim) and isinstance(b, SymbolicDim) and a.value is not None
    return a == b if named or isinstance(a, int) else False


def _sink_selection(node: Node) -> bool:
    """Slices and drops axes in front of a Transpose, even when several nodes read it, where all of them take parts: the whole is
    never put in order then, as for queries, keys and values that lie in one tensor.
    """
    x = node.inputs[0]
    order = permutation_of(x)
    if order is None or x is None or node.outputs[0].dtype is None or not _only_parts(x):
        return False
    if node.op_type == "Gather":
        return _sink_gather(node, order)
    place = 3 if node.op_type == "Slice" else 1
    axes = constant_of(node.inputs[place]) if len(node.inputs) > place else None
    if axes is None:
        return False
    taken = [int(axis) % len(order) for axis in axes.reshape(-1)]
    moved = add_constant(graph_of(node), np.asarray([order[axis] for axis in taken], np.int64), f"{node.outputs[0].name}.axes")
    inputs = [_source(x), *node.inputs[1:place], moved, *node.inputs[place + 1 :]]
    kept = order if node.op_type == "Slice" else _without(order, [order[axis] for axis in taken])
    _insert_before_transpose(node, inputs, {}, kept)
    return True


def _sink_gather(node: Node, order: Permutation) -> bool:
    """A Gather of one place, which drops the axis."""
    if rank_of(node.inputs[1]) != 0:
        return False
    axis = order[find_attribute(node, "axis", 0) % len(order)]
    _insert_before_transpose(node, [_source(node.inputs[0]), node.inputs[1]], {"axis": axis}, _without(order, [axis]))
    return True


def _only_parts(value: Value) -> bool:
    producer = value.producer()
    inside = producer is not None and all(use.node.graph is producer.graph for use in value.uses())
    return inside and not value.is_graph_output() and all(use.node.op_type in _SELECTIONS for use in value.uses())


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


def _gives_way(value: Value, node: Node) -> bool:
    """All readers of a Transpose can change places with it, as far as one can tell without trying."""
    uses = value.uses()
    if value.is_graph_output() or len(uses) > _READERS:
        return False
    return all(use.node is node or (use.node.graph is node.graph and _may_move(use.node, value)) for use in uses)


def _may_move(reader: Node, value: Value) -> bool:
    if reader.domain != "" or reader.op_type not in _JOINING:
        return reader.domain == "" and reader.op_type in _PASSED
    return all(each is value or each is None or constant_size(each) is not None or _is_movable(each) for each in reader.inputs)


def _is_movable(value: Value) -> bool:
    """It comes from a Transpose, or from a node that may soon be in front of one."""
    producer = value.producer()
    return producer is not None and producer.domain == "" and (producer.op_type == "Transpose" or producer.op_type in _PASSED)


def _only_reader(value: Value, node: Node) -> bool:
    return not value.is_graph_output() and all(use.node is node for use in value.uses())


def _source(value: Value | None) -> Value | None:
    producer = value.producer() if value is not None else None
    return producer.inputs[0] if producer is not None else None


def _moved_axes(
    node: Node, sources: Sequence[Value | None], order: Permutation
) -> tuple[list[Value | None], dict[str, int]] | None:
    axes = _reduced(node)
    if axes is None:
        return None
    moved = np.asarray([order[axis] for axis in axes], np.int64)
    return [sources[0], add_constant(graph_of(node), moved, f"{node.outputs[0].name}.axes")], {}


def _reduced(node: Node) -> tuple[int, ...] | None:
    """The axes of a reduction that names them in a constant input."""
    rank, given = rank_of(node.inputs[0]), constant_of(node.inputs[1]) if len(node.inputs) > 1 else None
    return tuple(sorted(int(axis) % rank for axis in given.reshape(-1))) if rank and given is not None and given.size else None


def _dropped(node: Node) -> tuple[int, ...]:
    """Axes that a reduction does not keep."""
    if node.op_type not in _REDUCTIONS or find_attribute(node, "keepdims", 1):
        return ()
    return _reduced(node) or ()


def _turned_constant(node: Node, value: Value | None, order: Permutation) -> Value | None:
    """A constant operand as it must stand in front of the Transpose; None for other values."""
    size, rank = constant_size(value), rank_of(value)
    if value is None or size is None or rank is None or rank > len(order):
        return None
    if size == 1 or order[len(order) - rank :] == tuple(range(len(order) - rank, len(order))):
        return value  # along axes that stay where they are
    array = constant_of(value)
    assert array is not None
    full = array.reshape((1,) * (len(order) - rank) + array.shape)
    inverse = [order.index(axis) for axis in range(len(order))]
    return add_constant(graph_of(node), full.transpose(inverse), f"{value.name}.turned")


_MOVERS = {"MatMul": _sink_linear, "Pad": _sink_pad, "Reshape": _sink_linear, "Unsqueeze": _sink_unsqueeze}
