# SPDX-License-Identifier: Apache-2.0
"""Sequences and optionals whose lengths and positions are known become plain tensors: no edge runtime has lists of tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
    rank_of,
    replace_node,
    static_shape,
)

Elements = list[Value]
_MOST_ELEMENTS = 1024


def resolve_sequences(model: Model) -> int:
    """Replaces the nodes that read sequences of known tensors, in place, in a model of operator set 21 or above.

    Sequences that come in, leave, or grow in loops stay; the caller lists their operators as missing. The nodes that made a
    resolved sequence are dead afterwards.

    Returns:
        The number of replaced nodes.
    """
    resolver = _Resolver(model)
    return sum(resolver.visit(node) for node in tuple(all_nodes(model.graph)) if node.domain == "")


class _Resolver:
    def __init__(self, model: Model) -> None:
        self.model = model
        self.known: dict[Value, Elements] = {}
        self.absent: set[Value] = set()  # optionals without a value

    def visit(self, node: Node) -> bool:
        """Remembers a sequence, or replaces a node that reads one. Whether it was replaced."""
        if node.op_type in _MAKERS:
            elements = _MAKERS[node.op_type](self, node)
            if elements is not None and len(elements) <= _MOST_ELEMENTS:
                self.known[node.outputs[0]] = elements
            return False
        return node.op_type in _READERS and _READERS[node.op_type](self, node)

    def elements(self, node: Node) -> Elements | None:
        value = node.inputs[0] if node.inputs else None
        return None if value is None else self.known.get(value)

    def position(self, node: Node, operand: int, length: int, default: int) -> int | None:
        """An index as a number from 0; None when it is known only while running, or out of range."""
        value = node.inputs[operand] if len(node.inputs) > operand else None
        if value is None:
            return default
        array = constant_of(value)
        if array is None or array.size != 1 or not -length <= int(array.reshape(())) <= length:
            return None
        index = int(array.reshape(()))
        return index + length if index < 0 else index

    # what makes sequences

    def construct(self, node: Node) -> Elements | None:
        return [value for value in node.inputs if value is not None]

    def empty(self, node: Node) -> Elements | None:
        return []

    def copy(self, node: Node) -> Elements | None:
        return self.elements(node)

    def insert(self, node: Node) -> Elements | None:
        elements, tensor = self.elements(node), node.inputs[1]
        index = None if elements is None else self.position(node, 2, len(elements), len(elements))
        if elements is None or index is None or tensor is None:
            return None
        return [*elements[:index], tensor, *elements[index:]]

    def erase(self, node: Node) -> Elements | None:
        elements = self.elements(node)
        index = None if not elements else self.position(node, 1, len(elements), len(elements) - 1)
        if elements is None or index is None or index >= len(elements):
            return None
        return elements[:index] + elements[index + 1 :]

    def split(self, node: Node) -> Elements | None:
        x, axis = node.inputs[0], find_attribute(node, "axis", 0)
        parts = node.inputs[1] if len(node.inputs) > 1 else None
        sizes, count = self._parts(x, axis, parts)
        if count is None or not 0 < count <= _MOST_ELEMENTS:
            return None
        name = node.outputs[0].name
        operands = [x, self._constant(sizes, f"{name}.sizes") if sizes is not None else parts]
        split = make_node("Split", operands, {"axis": axis}, output_names=[f"{name}.{i}" for i in range(count)], like=node)
        nodes, elements = [split], list(split.outputs)
        if parts is None and not find_attribute(node, "keepdims", 1):
            axes = self._constant([axis], f"{name}.axis")
            nodes += [make_node("Squeeze", [part, axes], output_names=[f"{part.name}.flat"], like=node) for part in elements]
            elements = [flat.outputs[0] for flat in nodes[1:]]
        graph_of(node).insert_before(node, nodes)
        return elements

    def _parts(self, x: Value | None, axis: int, parts: Value | None) -> tuple[list[int] | None, int | None]:
        """Sizes of a split when they are known, and their number when that is."""
        rank = rank_of(x)
        size = x.shape[axis] if x is not None and x.shape is not None and rank and -rank <= axis < rank else None
        array = constant_of(parts)
        step = 1 if parts is None else int(array) if array is not None and array.ndim == 0 else 0
        if step > 0:
            if not isinstance(size, int) or size > step * _MOST_ELEMENTS:
                return None, None
            sizes = [min(step, size - start) for start in range(0, size, step)]
            return sizes, len(sizes)
        shape = static_shape(parts)
        return None, shape[0] if shape is not None and len(shape) == 1 else None

    # what reads them

    def at(self, node: Node) -> bool:
        elements = self.elements(node)
        index = None if not elements else self.position(node, 1, len(elements), 0)
        if elements is None or index is None or index >= len(elements):
            return False
        return self._alias(node, elements[index])

    def length(self, node: Node) -> bool:
        elements = self.elements(node)
        return elements is not None and self._alias(node, self._constant(len(elements), f"{node.outputs[0].name}.length"))

    def concat(self, node: Node) -> bool:
        elements = self.elements(node)
        if not elements:
            return False
        axis, nodes, name = find_attribute(node, "axis"), [], node.outputs[0].name
        if find_attribute(node, "new_axis", 0):
            axes = self._constant([axis], f"{name}.axis")
            nodes = [make_node("Unsqueeze", [v, axes], output_names=[f"{name}.{i}"], like=node) for i, v in enumerate(elements)]
            elements = [wide.outputs[0] for wide in nodes]
        joined = make_node("Concat", elements, {"axis": axis}, like=node)
        replace_node(node, [*nodes, joined], joined.outputs)
        return True

    # optionals

    def optional(self, node: Node) -> bool:
        """An optional is its tensor, or nothing; one of sequences stays."""
        value = node.inputs[0] if node.inputs else None
        if value is None:
            self.absent.add(node.outputs[0])
            return False
        return self._alias(node, value) if value.dtype is not None and value not in self.known else False

    def element(self, node: Node) -> bool:
        value = node.inputs[0]
        known = value is not None and type(value.type).__name__ == "TensorType" and value not in self.known
        return known and value is not None and self._alias(node, value)

    def has(self, node: Node) -> bool:
        value = node.inputs[0] if node.inputs else None
        is_absent = value is None or value in self.absent
        if not is_absent and (value is None or type(value.type).__name__ != "TensorType"):
            return False
        return self._alias(node, self._constant(not is_absent, f"{node.outputs[0].name}.has"))

    def _alias(self, node: Node, value: Value) -> bool:
        same = make_node("Identity", [value], like=node)
        same.outputs[0].type, same.outputs[0].shape = value.type, value.shape
        replace_node(node, [same], same.outputs)
        return True

    def _constant(self, content: int | bool | Sequence[int], name: str) -> Value:
        dtype = np.bool_ if isinstance(content, bool) else np.int64
        return add_constant(self.model.graph, np.asarray(content, dtype), name)


_MAKERS: dict[str, Callable[[_Resolver, Node], Elements | None]] = {
    "Identity": _Resolver.copy,
    "SequenceConstruct": _Resolver.construct,
    "SequenceEmpty": _Resolver.empty,
    "SequenceErase": _Resolver.erase,
    "SequenceInsert": _Resolver.insert,
    "SplitToSequence": _Resolver.split,
}
_READERS: dict[str, Callable[[_Resolver, Node], bool]] = {
    "ConcatFromSequence": _Resolver.concat,
    "Optional": _Resolver.optional,
    "OptionalGetElement": _Resolver.element,
    "OptionalHasElement": _Resolver.has,
    "SequenceAt": _Resolver.at,
    "SequenceLength": _Resolver.length,
}
