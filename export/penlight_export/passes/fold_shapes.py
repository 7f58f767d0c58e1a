# SPDX-License-Identifier: Apache-2.0
"""Follows sizes through Shape, Gather, Concat and the like, and writes down what is known before the model runs.

A chain whose result is known becomes a constant; one whose result another chain has computed reads that; a Reshape to sizes of
which all but one are known gets 0 (copy) and -1 (the rest).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from penlight_export.graph import (
    Graph,
    Model,
    Node,
    Value,
    add_constant,
    all_nodes,
    bypass_node,
    find_attribute,
    graph_of,
)
from penlight_export.passes.base import Pass, require_opset
from penlight_export.passes.dead_code import remove_dead_nodes
from penlight_export.passes.entry_rules import entries_of_node
from penlight_export.passes.fold_constants import replace_by_constants
from penlight_export.passes.known_sizes import Entry, KnownSizes, Size
from penlight_export.passes.shape_rules import shape_of_node

_Key = tuple[Graph, object, int, tuple[Entry, ...]]


class FoldShapes(Pass):
    """One walk over the nodes. Needs inferred shapes; what they leave open it finds itself, in names and sums of names."""

    name = "shape folding"

    def requires(self, model: Model) -> None:
        """Axes, bounds and the like are inputs, not attributes."""
        require_opset(model, 13, self.name)

    def run(self, model: Model) -> int:
        """Returns the number of nodes that went or got a constant shape."""
        known = KnownSizes(model.graph.inputs)
        computed: dict[_Key, Value] = {}
        changes = sum(_visit(node, known, computed) for node in tuple(all_nodes(model.graph)) if node.domain == "")
        if changes:
            remove_dead_nodes(model)  # a chain that only a Shape reads would look as if it had two readers
        return changes


def _visit(node: Node, known: KnownSizes, computed: dict[_Key, Value]) -> int:
    changes = _fix_reshape(node, known) if node.op_type == "Reshape" else 0
    if not node.outputs:
        return changes
    _find_shapes(node, known)
    entries = entries_of_node(node, known)
    if entries is None or not known.set_entries(node.outputs[0], entries):
        return changes
    if all(isinstance(entry, int) for entry in entries):
        return changes + _make_constant(node, entries)
    return changes + _reuse(node, entries, computed)


def _find_shapes(node: Node, known: KnownSizes) -> None:
    """Writes down what is known of the results' shapes; an output of the model keeps the names that its file gives it."""
    if not known.is_settled(node.outputs[0]) and (found := shape_of_node(node, known)) is not None:
        known.set_shape(node.outputs[0], found)
    for value in node.outputs:
        if not known.is_settled(value) and not value.is_graph_output() and known.shape_of(value) is not None:
            value.shape = known.written_shape(value)


def _make_constant(node: Node, entries: Sequence[Entry]) -> int:
    output = node.outputs[0]
    assert output.dtype is not None and output.shape is not None
    array = np.asarray(entries, output.dtype.numpy())
    replace_by_constants(node, [array if len(output.shape) else array.reshape(())])
    return 1


def _reuse(node: Node, entries: Sequence[Entry], computed: dict[_Key, Value]) -> int:
    """Reads an earlier vector of the same sizes. Returns 1 when there was one."""
    output = node.outputs[0]
    if any(entry is None for entry in entries):
        return 0
    earlier = computed.setdefault((graph_of(node), output.dtype, len(output.shape or ()), tuple(entries)), output)
    return int(earlier is not output and bypass_node(node, earlier))


def _fix_reshape(node: Node, known: KnownSizes) -> int:
    """Turns a computed shape into a constant one. Returns 1 when it did."""
    x, shape = node.inputs
    sizes = known.entries_of(shape)
    if x is None or shape is None or sizes is None or shape.is_initializer() or find_attribute(node, "allowzero", 0):
        return 0
    before = known.shape_of(x) or []
    numbers = [_copy_or_number(size, before[i] if i < len(before) else None) for i, size in enumerate(sizes)]
    if 0 in sizes or numbers.count(None) + numbers.count(-1) > 1:
        return 0
    constant = np.asarray([-1 if number is None else number for number in numbers], np.int64)
    node.replace_input_with(1, add_constant(graph_of(node), constant, f"{node.outputs[0].name}.shape"))
    # What the result's sizes are called is known from the chain, which the constant does not tell.
    known.set_shape(node.outputs[0], _named_sizes(sizes))
    return 1


def _named_sizes(sizes: Sequence[Entry]) -> list[Entry]:
    return [None if size == -1 else size for size in sizes]


def _copy_or_number(size: Entry, before: Size | None) -> int | None:
    if isinstance(size, int):
        return size
    return 0 if size is not None and size == before else None
