# SPDX-License-Identifier: Apache-2.0
"""The graph of a .pen file, with the values of constants read from their segments only when asked for."""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np

from penlight_export.edge import panels
from penlight_export.edge.generated import pen_generated as pen
from penlight_export.edge.reader import PenFile, PenMethod, PenValue, indices
from penlight_export.structure import Body, GraphNode, GraphValue, Structure, bytes_of, collect_bodies, module_of, shorten

_NUMPY = {"f": "float", "i": "int", "u": "uint"}
_FIELDS = {
    pen.AttributeKind.integer: "integer",
    pen.AttributeKind.real: "real",
    pen.AttributeKind.text: "text",
    pen.AttributeKind.integers: "integers",
    pen.AttributeKind.reals: "reals",
    pen.AttributeKind.texts: "texts",
}


def pen_structure(file: PenFile, number: int = 0) -> Structure:
    """Nodes and values of one of the program's methods."""
    method, tables = file.methods[number], _tables(file).methods[number]
    values = _values(file, method, tables)
    nodes = _nodes(file, method, tables, 0)
    places = [(table, node) for table, node in zip(tables.nodes or [], nodes, strict=True)]
    bodies = collect_bodies(places, lambda place: _bodies(place[0], place[1], file, values))
    return Structure("pen", values, nodes, list(method.inputs), list(method.outputs), bodies)


def _nodes(file: PenFile, method: PenMethod, tables: pen.MethodT, base: int) -> list[GraphNode]:
    """The nodes of a method or body whose values begin at `base`."""
    return [
        GraphNode(
            node.name,
            node.operator,
            _moved(node.inputs, base),
            _moved(node.outputs, base),
            module_of(node.module_path, node.name),
            node.source,
            {_text(a.name): shorten(_attribute(a, file, method)) for a in table.attributes or []},
        )
        for node, table in zip(method.nodes, tables.nodes or [], strict=True)
    ]


def _moved(indices: Sequence[int], base: int) -> tuple[int, ...]:
    return tuple(index if index < 0 else index + base for index in indices)


def _bodies(
    table: pen.NodeT, node: GraphNode, file: PenFile, values: list[GraphValue]
) -> list[tuple[Body, list[tuple[pen.NodeT, GraphNode]]]]:
    """The bodies of a node; their values are added to the others."""
    found = []
    for attribute in table.attributes or []:
        if attribute.kind != pen.AttributeKind.body:
            continue
        body, tables, base = file.body(attribute.body), _tables(file).bodies[attribute.body], len(values)
        values += _values(file, body, tables)
        nodes = _nodes(file, body, tables, base)
        inputs = _moved(body.inputs, base)
        outer = [node.inputs[index] for index in indices(attribute.integers)]  # what its last inputs are
        own = len(inputs) - len(outer)
        reads = [*zip(inputs[:own], node.inputs, strict=False), *zip(inputs[own:], outer, strict=True)]
        place = Body(_text(attribute.name), nodes, list(_moved(body.outputs, base)), [pair for pair in reads if pair[1] >= 0])
        found.append((place, list(zip(tables.nodes or [], nodes, strict=True))))
    return found


def _tables(file: PenFile) -> Any:
    """The runtime has verified them, so that what the generated classes call optional is there."""
    return file.tables


def _values(file: PenFile, method: PenMethod, tables: Any) -> list[GraphValue]:
    turned, entries = weights_in_panels(tables), zip(method.values, tables.values or [], strict=True)
    return [_value(file, value, entry.constant, turned.get(index)) for index, (value, entry) in enumerate(entries)]


def _value(file: PenFile, value: PenValue, span: pen.SpanT | None, turned: bool | None) -> GraphValue:
    dtype = _dtype(value.dtype)
    if dtype is None:
        return GraphValue(value.name, "?", value.shape)
    read = None if span is None else functools.partial(read_constant, file, value.shape, dtype, span, turned)
    return GraphValue(value.name, str(dtype), value.shape, read, bytes_of(dtype, value.shape))


def weights_in_panels(tables: Any) -> dict[int, bool]:
    """The constants of a method or body whose bytes lie in panels, by their number; whether these are of the transpose."""
    found: dict[int, bool] = {}
    for node in tables.nodes or []:
        numbers = {_text(a.name): a.integer for a in node.attributes or [] if a.kind == pen.AttributeKind.integer}
        if numbers.get(panels.ATTRIBUTE):
            found[int(node.inputs[panels.WEIGHT])] = bool(numbers.get("transB"))
    return found


def read_constant(file: PenFile, shape: Any, dtype: np.dtype, span: pen.SpanT, turned: bool | None) -> np.ndarray:
    """A constant in the order of its elements."""
    stored = read_span(file, shape, dtype, span)
    return stored if turned is None else panels.from_panels(stored, turned)


def read_span(file: PenFile, shape: Any, dtype: np.dtype, span: pen.SpanT) -> np.ndarray:
    """The bytes of a constant of the file as they lie, without a copy."""
    base = struct.unpack_from("<Q", file.data, 24)[0] + _tables(file).segments[span.segment].offset
    return np.frombuffer(file.data, dtype, span.sizeBytes // dtype.itemsize, base + span.offset).reshape(shape)


def _dtype(name: str) -> np.dtype | None:
    if name == "none":
        return None
    if name == "bf16":
        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(_NUMPY[name[0]] + name[1:] if name[1:].isdigit() else name)


def _attribute(attribute: pen.AttributeT, file: PenFile, method: PenMethod) -> object:
    if attribute.kind == pen.AttributeKind.body:
        body = _tables(file).bodies[attribute.body]
        return f"graph of {len(body.nodes or [])} nodes"
    if attribute.kind == pen.AttributeKind.tensor:
        return f"tensor '{method.values[attribute.tensor].name}'"
    value = getattr(attribute, _FIELDS[attribute.kind])
    if isinstance(value, (list, np.ndarray)):
        return [_scalar(entry) for entry in value]
    return _scalar(value)


def _scalar(value: Any) -> object:
    """Numbers of the tables may be NumPy's, texts bytes."""
    if value is None or isinstance(value, (bytes, str)):
        return _text(value)
    return float(f"{value:.6g}") if isinstance(value, (float, np.floating)) else int(value)


def _text(value: bytes | str | None) -> str:
    return "" if value is None else value.decode("utf-8", "replace") if isinstance(value, bytes) else value
