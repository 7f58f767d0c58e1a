# SPDX-License-Identifier: Apache-2.0
"""The graph of an .onnx file, with shapes as far as ONNX's rules can tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from penlight_export.graph import MODULE_PATH, SOURCE, Attr, Model, Node, Value, infer_shapes
from penlight_export.structure import Body, GraphNode, GraphValue, Structure, bytes_of, collect_bodies, module_of, shorten
from penlight_export.work import node_macs


def onnx_structure(model: Model) -> Structure:
    """Nodes and values of the main graph, whose shapes are inferred in place."""
    infer_shapes(model)
    values: list[GraphValue] = []
    index: dict[Value, int] = {}

    def place(value: Value | None) -> int:
        if value is None:
            return -1
        if value not in index:
            index[value] = len(values)
            values.append(_value(value))
        return index[value]

    inputs = [place(value) for value in model.graph.inputs if not value.is_initializer()]
    nodes = [_node(node, tuple(map(place, node.inputs)), tuple(map(place, node.outputs))) for node in model.graph]
    outputs = [place(value) for value in model.graph.outputs]
    return Structure("onnx", values, nodes, inputs, outputs, collect_bodies(tuple(model.graph), lambda node: _bodies(node, place)))


def _bodies(node: Node, place: Callable[[Value | None], int]) -> list[tuple[Body, tuple[Node, ...]]]:
    bodies = []
    for name, attribute in node.attributes.items():
        if attribute.type.name == "GRAPH":
            graph = attribute.value
            reads = [(place(a), place(b)) for a, b in zip(graph.inputs, node.inputs, strict=False) if b is not None]
            nodes = [_node(inner, tuple(map(place, inner.inputs)), tuple(map(place, inner.outputs))) for inner in graph]
            bodies.append((Body(name, nodes, [place(value) for value in graph.outputs], reads), tuple(graph)))
    return bodies


def _value(value: Value) -> GraphValue:
    tensor = value.const_value if value.is_initializer() else None
    dtype = "?" if value.dtype is None else str(value.dtype.numpy())
    shape = None if value.shape is None else tuple(dim if isinstance(dim, int) else dim.value or "?" for dim in value.shape)
    if tensor is not None:
        return GraphValue(value.name or "", dtype, shape, tensor.numpy, tensor.nbytes)
    size = None if value.dtype is None else bytes_of(np.dtype(value.dtype.numpy()), shape)
    return GraphValue(value.name or "", dtype, shape, None, size)


def _node(node: Node, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> GraphNode:
    notes, name = node.metadata_props, node.name or node.outputs[0].name or ""
    return GraphNode(
        name,
        f"{node.domain}.{node.op_type}" if node.domain else node.op_type,
        inputs,
        outputs,
        module_of(notes.get(MODULE_PATH, ""), name),
        notes.get(SOURCE, ""),
        {attribute.name: shorten(_attribute(attribute)) for attribute in node.attributes.values()},
        node_macs(node),
    )


def _attribute(attribute: Attr) -> Any:
    kind = attribute.type.name
    if kind == "GRAPH":
        return f"graph of {len(attribute.value)} nodes"
    if kind == "TENSOR":
        tensor = attribute.value
        return tensor.numpy().tolist() if tensor.size <= 8 else f"tensor {tensor.dtype.name.lower()} {list(tensor.shape)}"
    if kind in ("FLOATS", "INTS", "STRINGS"):
        return [round(v, 6) if isinstance(v, float) else v for v in attribute.value]
    return f"{attribute.value:.6g}" if kind == "FLOAT" else attribute.value
