# SPDX-License-Identifier: Apache-2.0
"""Computes what is computed twice once, and stores small equal constants once."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from penlight_export.graph import BODY_OPERATORS, Attr, AttributeType, DataType, Graph, Model, Node, Value, all_graphs, elements_of
from penlight_export.passes.base import Pass

_SMALL = 1024  # bytes of a constant that is worth a look
_RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial", "Dropout"}
)


class MergeCommon(Pass):
    """One walk over each graph: nodes with the same operator, attributes and operands become one. Outputs keep their node."""

    name = "common subexpressions"

    def run(self, model: Model) -> int:
        """Returns the number of nodes and constants that went."""
        return sum(_merge_constants(graph) + _merge_nodes(graph) for graph in all_graphs(model.graph))


def _merge_constants(graph: Graph) -> int:
    seen: dict[Hashable, Value] = {}
    merged = 0
    for value in tuple(graph.initializers.values()):
        tensor = value.const_value
        if tensor is None or value.is_graph_input() or tensor.dtype == DataType.STRING:
            continue
        if elements_of(tensor) * tensor.dtype.itemsize > _SMALL:
            continue
        array = tensor.numpy()
        first = seen.setdefault((int(tensor.dtype), array.shape, array.tobytes()), value)
        if first is not value and not value.is_graph_output():
            value.replace_all_uses_with(first)
            del graph.initializers[value.name or ""]
            merged += 1
    return merged


def _merge_nodes(graph: Graph) -> int:
    alike: dict[Hashable, Node] = {}  # the first one of each operator on the same operands; few have a second
    seen: dict[Hashable, Node] = {}
    merged = 0
    for node in tuple(graph):
        if node.domain != "" or node.op_type in _RANDOM or node.op_type in BODY_OPERATORS or not node.inputs:
            continue
        operands = (node.op_type, len(node.outputs), *map(id, node.inputs))
        other = alike.setdefault(operands, node)
        if other is node:
            continue
        seen.setdefault((operands, _attributes(other)), other)
        first = seen.setdefault((operands, _attributes(node)), node)
        if first is not node and not any(output.is_graph_output() for output in node.outputs):
            for kept, output in zip(first.outputs, node.outputs, strict=True):
                output.replace_all_uses_with(kept)
            graph.remove(node, safe=True)
            merged += 1
    return merged


def _attributes(node: Node) -> Hashable:
    return tuple(sorted([(name, _frozen(attribute)) for name, attribute in node.attributes.items()]))


def _frozen(attribute: Attr) -> Hashable:
    value: Any = attribute.value
    if attribute.type == AttributeType.TENSOR:
        small = value.nbytes <= _SMALL and not value.dtype.is_string()
        return (int(value.dtype), tuple(value.shape.numpy()), value.numpy().tobytes()) if small else id(value)
    # repr: 0.0 and -0.0 are equal, and NaN is not.
    return int(attribute.type), repr(tuple(value) if isinstance(value, (list, tuple)) else value)
