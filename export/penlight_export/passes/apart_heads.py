# SPDX-License-Identifier: Apache-2.0
"""Takes queries, keys and values out of one tensor before its axes are turned, so that attention reads them where they lie."""

from __future__ import annotations

import numpy as np

from penlight_export.graph import (
    Graph,
    Model,
    Node,
    Shape,
    Value,
    add_constant,
    all_nodes,
    constant_of,
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
from penlight_export.passes.formula import scalar_of
from penlight_export.passes.transposes import permutation_of

_TURNED = (2, 0, 3, 1, 4)  # (B, T, parts, H, D) to (parts, B, H, T, D)
_SPLIT = [0, 2, 1, 3]  # (B, T, H, D) to (B, H, T, D)


class ApartHeads(Pass):
    """(B, T, parts * H * D), reshaped, turned and cut into its parts, is cut first; each part is reshaped and turned alone."""

    name = "heads apart"
    operators = frozenset({"Transpose"})

    def requires(self, model: Model) -> None:
        """Split takes its sizes as an input."""
        require_opset(model, 13, self.name)

    def run(self, model: Model) -> int:
        """Returns the number of tensors that were cut first."""
        return sum(_cut_first(node) for node in tuple(all_nodes(model.graph)) if node.op_type == "Transpose" and node.domain == "")


def _cut_first(transpose: Node) -> bool:
    source = transpose.inputs[0]
    reshape = source.producer() if source is not None and single_consumer(source) is transpose else None
    if reshape is None or reshape.op_type != "Reshape" or permutation_of(transpose.outputs[0]) != _TURNED:
        return False
    x, sizes = reshape.inputs[0], _sizes(reshape)
    readers = _parts(transpose.outputs[0], sizes[0]) if sizes is not None else None
    if x is None or sizes is None or not readers:
        return False
    graph = graph_of(transpose)
    count, heads, size = sizes
    name = f"{x.name}.parts"
    widths = add_constant(graph, np.full(count, heads * size, np.int64), f"{name}.sizes")
    names = [fresh_name(graph, f"{name}.{number}") for number in range(count)]
    split = make_node("Split", [x, widths], {"axis": -1}, output_names=names, like=reshape)
    assert x.shape is not None
    for output in split.outputs:
        output.type, output.shape = x.type, Shape([x.shape[0], x.shape[1], heads * size])
    graph.insert_before(reshape, split)
    for number, reader in readers:
        _turn(graph, split.outputs[number], (heads, size), reader)
    return True


def _sizes(reshape: Node) -> tuple[int, int, int] | None:
    """How many parts, heads and elements of a head a Reshape of (B, T, parts * H * D) gives."""
    before, after = reshape.inputs[0], reshape.outputs[0]
    if before is None or before.shape is None or after.shape is None or (len(before.shape), len(after.shape)) != (3, 5):
        return None
    parts, heads, size = after.shape[2:]
    if not (isinstance(parts, int) and isinstance(heads, int) and isinstance(size, int)):
        return None
    keeps = all(same_size(before.shape[axis], after.shape[axis]) for axis in (0, 1))
    return (parts, heads, size) if keeps and before.shape[2] == parts * heads * size else None


def _parts(value: Value, count: int) -> list[tuple[int, Node]]:
    """Number and last node of every part that is taken from the first axis; nothing where it has another reader."""
    found: list[tuple[int, Node]] = []
    for node in (use.node for use in value.uses()):
        taken = _of_split(node, count) if node.op_type == "Split" else _of_gather(node, count)
        if node.domain != "" or not taken or node.graph is not graph_of(_producer(value)):
            return []
        found += taken
    return [] if value.is_graph_output() else found


def _producer(value: Value) -> Node:
    node = value.producer()
    assert node is not None
    return node


def _of_split(split: Node, count: int) -> list[tuple[int, Node]]:
    if find_attribute(split, "axis", 0) != 0 or len(split.outputs) != count:
        return []
    sizes = constant_of(split.inputs[1]) if len(split.inputs) > 1 else np.ones(count, np.int64)
    readers = [single_consumer(output) for output in split.outputs]
    if sizes is None or (sizes != 1).any():
        return []
    found = [(number, reader) for number, reader in enumerate(readers) if reader is not None and _drops_first(reader)]
    return found if len(found) == count else []


def _drops_first(node: Node) -> bool:
    return node.op_type == "Squeeze" and node.domain == "" and len(node.inputs) == 2 and scalar_of(node.inputs[1]) == 0


def _of_gather(node: Node, count: int) -> list[tuple[int, Node]]:
    index = scalar_of(node.inputs[1]) if node.op_type == "Gather" else None
    if index is None or find_attribute(node, "axis", 0) != 0 or rank_of(node.inputs[1]) != 0 or not -count <= index < count:
        return []
    return [(int(index) % count, node)]


def _turn(graph: Graph, part: Value, sizes: tuple[int, int], reader: Node) -> None:
    """(B, T, H * D) as (B, H, T, D), in the place of what made it so before."""
    shape = add_constant(graph, np.asarray([0, 0, *sizes], np.int64), f"{part.name}.shape")
    apart = make_node("Reshape", [part, shape], output_names=[fresh_name(graph, f"{part.name}.heads")], like=reader)
    assert part.shape is not None
    apart.outputs[0].type, apart.outputs[0].shape = part.type, Shape([part.shape[0], part.shape[1], *sizes])
    turned = make_node("Transpose", [apart.outputs[0]], {"perm": _SPLIT}, like=reader)
    replace_node(reader, [apart, turned], turned.outputs)
