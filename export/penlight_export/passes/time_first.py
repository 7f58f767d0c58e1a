# SPDX-License-Identifier: Apache-2.0
"""Undoes the detours of attention that was written for (T, B, E), such as PyTorch's nn.MultiheadAttention.

It puts batch and heads on one axis and takes them apart again, and flattens rows for its last product. Without that, the Transposes
from (B, T, E) and back meet, and attention has its heads where the fusion looks for them.
"""

from __future__ import annotations

import numpy as np

from penlight_export.graph import (
    Model,
    Node,
    Shape,
    Value,
    add_constant,
    all_nodes,
    constant_of,
    constant_size,
    find_attribute,
    fresh_name,
    graph_of,
    make_node,
    rank_of,
    replace_node,
    single_consumer,
)
from penlight_export.passes.attention import same_size
from penlight_export.passes.base import Pass, require_opset
from penlight_export.passes.transposes import permutation_of

_SWAP, _TIME_FIRST = (1, 0, 2), (2, 0, 1, 3)


class MoveTimeBack(Pass):
    """In front of the pass that sinks Transposes; a Reshape is at the heart of each pattern."""

    name = "time first"
    operators = frozenset({"Transpose"})
    finds_newer = True

    def requires(self, model: Model) -> None:
        """Axes and the like are inputs, not attributes."""
        require_opset(model, 13, self.name)

    def run(self, model: Model) -> int:
        """Returns the number of patterns that went."""
        nodes = [node for node in all_nodes(model.graph) if node.op_type == "Reshape" and node.domain == ""]
        changes = sum(_part_heads(node) or _keep_rows(node) for node in nodes)
        left = [node for node in all_nodes(model.graph) if node.op_type == "Reshape" and node.domain == ""] if changes else nodes
        return changes + sum(_turn_behind(node) for node in left)


def _producer(value: Value | None, operator: str) -> Node | None:
    """The node of an operator that computes a value for one reader."""
    node = value.producer() if value is not None else None
    if node is None or value is None or node.op_type != operator or node.domain != "" or single_consumer(value) is None:
        return None
    return node


def _part_heads(last: Node) -> bool:
    """(T, B, H * D) as (T, B * H, D), turned, as (B, H, T, D)."""
    turn = _producer(last.inputs[0], "Transpose")
    if turn is None or permutation_of(turn.outputs[0]) != _SWAP:
        return False
    first = _producer(turn.inputs[0], "Reshape")
    source = first.inputs[0] if first is not None else None
    if first is None or source is None or rank_of(source) != 3 or rank_of(last.outputs[0]) != 4:
        return False
    before, between, after = source.shape, first.outputs[0].shape, last.outputs[0].shape
    assert before is not None and after is not None
    heads, size = after[1], after[3]
    if between is None or not isinstance(heads, int) or not isinstance(size, int) or before[2] != heads * size:
        return False
    if between[2] != size or not same_size(before[0], between[0]) or not same_size(before[0], after[2]):
        return False
    split = _reshaped(last, source, [0, 0, heads, size], [before[0], before[1], heads, size])
    turned = make_node("Transpose", [split], {"perm": [1, 2, 0, 3]}, like=turn)
    replace_node(last, [turned], turned.outputs)
    _remove(turn, first)
    return True


def _keep_rows(last: Node) -> bool:
    """Gemm on rows that a Reshape has put together, and another one takes apart, as MatMul and Add."""
    product = _producer(last.inputs[0], "Gemm")
    flat = _producer(product.inputs[0], "Reshape") if product is not None else None
    source = flat.inputs[0] if flat is not None else None
    if product is None or source is None or source.shape is None or last.outputs[0].shape is None or not _is_plain(product):
        return False
    weight, before, after = constant_of(product.inputs[1]), list(source.shape), list(last.outputs[0].shape)
    features = [size for size in before[2:] if isinstance(size, int)]
    if weight is None or len(before) < 3 or len(after) != 3 or len(features) != len(before) - 2:
        return False
    turned = find_attribute(product, "transB", 0)
    width, columns = weight.shape[::-1] if turned else weight.shape
    rows_stay = same_size(before[0], after[0]) and same_size(before[1], after[1])
    if not rows_stay or after[2] != columns or int(np.prod(features)) != width:
        return False
    graph, x, matrix = graph_of(last), source, product.inputs[1]
    if len(before) > 3:
        x = _reshaped(last, source, [0, 0, width], [before[0], before[1], width])
    if turned:
        matrix = add_constant(graph, weight.T, f"{product.inputs[1].name}.turned")  # type: ignore[union-attr]  # has a value
    nodes = [make_node("MatMul", [x, matrix], like=product)]
    if len(product.inputs) > 2 and product.inputs[2] is not None:
        value = nodes[0].outputs[0]
        value.name, value.type, value.shape = fresh_name(graph, f"{last.outputs[0].name}.product"), x.type, Shape(after)
        nodes.append(make_node("Add", [value, product.inputs[2]], like=product))
    replace_node(last, nodes, nodes[-1].outputs)
    _remove(product, flat)
    return True


def _is_plain(product: Node) -> bool:
    """x W + b with a row of constants."""
    factors = (find_attribute(product, name, default) for name, default in (("alpha", 1.0), ("beta", 1.0), ("transA", 0)))
    bias = product.inputs[2] if len(product.inputs) > 2 else None
    return tuple(factors) == (1.0, 1.0, 0) and (bias is None or (constant_size(bias) is not None and rank_of(bias) == 1))


def _turn_behind(merge: Node) -> bool:
    """(B, H, T, D) turned to (T, B, H, D) and joined to (T, B, H * D): joined to (B, T, H * D) and turned then, where the way ends
    in a Transpose back.
    """
    turn, after = _producer(merge.inputs[0], "Transpose"), merge.outputs[0].shape
    if (
        turn is None
        or permutation_of(turn.outputs[0]) != _TIME_FIRST
        or after is None
        or len(after) != 3
        or not _turned_back(merge)
    ):
        return False
    source, between = turn.inputs[0], turn.outputs[0].shape
    if source is None or between is None or after[2] != _product(between[2], between[3]):
        return False
    if not same_size(between[0], after[0]) or not same_size(between[1], after[1]):
        return False
    graph = graph_of(merge)
    split = make_node("Transpose", [source], {"perm": [0, 2, 1, 3]}, like=turn)
    value = split.outputs[0]
    value.name, value.type = fresh_name(graph, f"{turn.outputs[0].name}.heads"), turn.outputs[0].type
    value.shape = Shape([between[1], between[0], between[2], between[3]])
    graph.insert_before(merge, split)
    joined = _reshaped(merge, value, [0, 0, int(after[2])], [after[1], after[0], after[2]])  # type: ignore[arg-type]  # an int
    back = make_node("Transpose", [joined], {"perm": list(_SWAP)}, like=turn)
    replace_node(merge, [back], back.outputs)
    _remove(turn)
    return True


def _turned_back(node: Node) -> bool:
    """A linear layer and a Transpose that swaps the first two axes follow."""
    for _ in range(4):
        reader = single_consumer(node.outputs[0])
        if reader is None or reader.domain != "":
            return False
        if reader.op_type == "Transpose":
            return permutation_of(reader.outputs[0]) == _SWAP
        others = [value for value in reader.inputs if value is not node.outputs[0]]
        if reader.op_type not in ("MatMul", "Add") or any(constant_size(value) is None for value in others):
            return False
        node = reader
    return False


def _remove(*nodes: Node | None) -> None:
    """Nodes that only the one before has read: left there, they would look like readers."""
    for node in nodes:
        if node is not None:
            graph_of(node).remove(node, safe=True)


def _product(a: object, b: object) -> int | None:
    return a * b if isinstance(a, int) and isinstance(b, int) else None


def _reshaped(before: Node, value: Value, entries: list[int], sizes: list[object]) -> Value:
    """A new Reshape of a value in front of a node."""
    graph = graph_of(before)
    name = fresh_name(graph, f"{value.name}.parts")
    shape = add_constant(graph, np.asarray(entries, np.int64), f"{name}.shape")
    node = make_node("Reshape", [value, shape], output_names=[name], like=before)
    node.outputs[0].type, node.outputs[0].shape = value.type, Shape(sizes)  # type: ignore[arg-type]  # ints and SymbolicDims
    graph.insert_before(before, node)
    return node.outputs[0]
