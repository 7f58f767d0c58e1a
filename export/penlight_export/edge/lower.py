# SPDX-License-Identifier: Apache-2.0
"""Turns a graph into the tables of a .pen file."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from penlight_export.edge.generated import pen_generated as pen
from penlight_export.edge.segments import SegmentBuilder
from penlight_export.errors import UnsupportedFeatureError
from penlight_export.graph import MODULE_PATH, SOURCE, Attr, DataType, Model, Node, Value, describe
from penlight_export.onnx.opsets import since_version

WEIGHTS = 0  # index of the segment that holds the constants

DTYPES = {
    DataType.FLOAT: pen.DType.f32,
    DataType.FLOAT16: pen.DType.f16,
    DataType.BFLOAT16: pen.DType.bf16,
    DataType.DOUBLE: pen.DType.f64,
    DataType.INT8: pen.DType.i8,
    DataType.UINT8: pen.DType.u8,
    DataType.INT16: pen.DType.i16,
    DataType.UINT16: pen.DType.u16,
    DataType.INT32: pen.DType.i32,
    DataType.UINT32: pen.DType.u32,
    DataType.INT64: pen.DType.i64,
    DataType.UINT64: pen.DType.u64,
    DataType.BOOL: pen.DType.boolean,
}


def lower_program(model: Model, weights: SegmentBuilder, metadata: dict[str, str]) -> pen.ProgramT:
    """Lowers the main graph to the method "forward"; constants go into `weights`.

    Raises:
        UnsupportedFeatureError: subgraphs, element types without a code, or outputs of unknown rank.
    """
    return _Lowering(model, weights).program(metadata)


class _Lowering:
    """The numbering of values, operators and symbols while one method is written."""

    def __init__(self, model: Model, weights: SegmentBuilder) -> None:
        self.model = model
        self.weights = weights
        self.values: list[pen.ValueT] = []
        self.index: dict[Value, int] = {}
        self.operators: dict[tuple[str, str, int], int] = {}
        self.symbols: dict[str, int] = {}

    def program(self, metadata: dict[str, str]) -> pen.ProgramT:
        """Every table but segments, resources and golden samples."""
        refuse_features(self.model)
        method = self._method()
        return pen.ProgramT(
            operators=[pen.OperatorT(domain=d, name=n, version=v) for d, n, v in self.operators],
            symbols=[pen.SymbolT(name=name) for name in self.symbols],
            methods=[method],
            metadata=[pen.KeyValueT(key=key, value=metadata[key]) for key in sorted(metadata)],
        )

    def _method(self) -> pen.MethodT:
        graph = self.model.graph
        inputs = [value for value in graph.inputs if not value.is_initializer()]
        for value in inputs:
            self._add(value, self._input_shape(value))
        for value in graph.initializers.values():
            self._add_constant(value)
        nodes = [self._node(node) for node in graph]
        for value in graph.outputs:
            self._need_type(value)
        return pen.MethodT(
            name="forward",
            values=self.values,
            inputs=[self.index[value] for value in inputs],
            outputs=[self.index[value] for value in graph.outputs],
            nodes=nodes,
        )

    def _add(self, value: Value, shape: list[pen.DimT] | None, constant: pen.SpanT | None = None) -> None:
        dtype = DTYPES[value.dtype] if value.dtype is not None else pen.DType.none
        self.index[value] = len(self.values)
        self.values.append(pen.ValueT(name=value.name or "", dtype=dtype, shape=shape, constant=constant))

    def _add_constant(self, value: Value) -> None:
        assert value.const_value is not None
        array = value.const_value.numpy()
        self._add(value, [pen.DimT(constant=size) for size in array.shape], self._span(array))

    def _span(self, array: np.ndarray) -> pen.SpanT:
        offset, size = self.weights.add(array)
        return pen.SpanT(segment=WEIGHTS, offset=offset, sizeBytes=size)

    def _node(self, node: Node) -> pen.NodeT:
        attributes = [self._attribute(node, node.attributes[name]) for name in sorted(node.attributes)]
        inputs = [-1 if value is None else self.index[value] for value in node.inputs]
        outputs = []
        for value in node.outputs:
            if value.name and (value.uses() or value.is_graph_output()):
                self._add(value, self._inner_shape(value))
                outputs.append(self.index[value])
            else:
                outputs.append(-1)
        return pen.NodeT(
            operator=self._operator(node),
            inputs=inputs,
            outputs=outputs,
            attributes=attributes or None,
            name=node.name or node.outputs[0].name or None,  # what the runtime's messages call it
            modulePath=node.metadata_props.get(MODULE_PATH),
            source=node.metadata_props.get(SOURCE),
        )

    def _operator(self, node: Node) -> int:
        key = (node.domain, node.op_type, since_version(self.model, node))
        return self.operators.setdefault(key, len(self.operators))

    def _attribute(self, node: Node, attribute: Attr) -> pen.AttributeT:
        kind, value = attribute.type.name, attribute.value
        result = pen.AttributeT(name=attribute.name)
        if kind == "TENSOR":
            result.kind, result.tensor = pen.AttributeKind.tensor, len(self.values)
            array = np.asarray(value.numpy())
            name = f"{node.outputs[0].name}.{attribute.name}"
            dtype = DTYPES[value.dtype]
            self.values.append(
                pen.ValueT(name=name, dtype=dtype, shape=[pen.DimT(constant=n) for n in array.shape], constant=self._span(array))
            )
            return result
        code, field = _ATTRIBUTES[kind]
        result.kind = code
        setattr(result, field, list(value) if kind.endswith("S") else value)
        return result

    def _input_shape(self, value: Value) -> list[pen.DimT]:
        """An input's sizes: each one that is no number is a symbol, which gets a name when it has none."""
        self._need_type(value)
        assert value.shape is not None
        dims = []
        for axis, dim in enumerate(value.shape):
            if isinstance(dim, int):
                dims.append(pen.DimT(constant=dim))
                continue
            name = dim.value or f"{value.name}_{axis}"
            symbol = self.symbols.setdefault(name, len(self.symbols))
            dims.append(pen.DimT(terms=[pen.DimTermT(symbol=symbol)]))
        return dims

    def _inner_shape(self, value: Value) -> list[pen.DimT] | None:
        if value.shape is None or value.dtype is None:
            return None
        return [pen.DimT(constant=dim) if isinstance(dim, int) else self._derived(dim.value) for dim in value.shape]

    def _derived(self, text: str | None) -> pen.DimT:
        affine = parse_affine(text or "", self.symbols)
        if affine is None:
            return pen.DimT(unknown=True)
        constant, terms = affine
        return pen.DimT(
            constant=constant, terms=[pen.DimTermT(symbol=self.symbols[name], coefficient=terms[name]) for name in sorted(terms)]
        )

    def _need_type(self, value: Value) -> None:
        if value.dtype is None or value.shape is None:
            raise UnsupportedFeatureError(
                f"the shape rules of ONNX cannot tell dtype and rank of '{value.name}', which is an input or output; "
                "declare them in the model"
            )


_ATTRIBUTES = {
    "INT": (pen.AttributeKind.integer, "integer"),
    "FLOAT": (pen.AttributeKind.real, "real"),
    "STRING": (pen.AttributeKind.text, "text"),
    "INTS": (pen.AttributeKind.integers, "integers"),
    "FLOATS": (pen.AttributeKind.reals, "reals"),
    "STRINGS": (pen.AttributeKind.texts, "texts"),
}


def refuse_features(model: Model) -> None:
    """Raises one error for everything in the model, beside operators, that a .pen file cannot hold."""
    found: list[str] = []
    for node in model.graph:
        kinds = {attribute.type.name for attribute in node.attributes.values()} - {*_ATTRIBUTES, "TENSOR"}
        if kinds:
            found.append(f"{node.op_type} node {describe(node)} has an attribute of type {', '.join(sorted(kinds)).lower()}")
    values: Iterable[Value] = [
        *model.graph.inputs,
        *model.graph.initializers.values(),
        *(v for n in model.graph for v in n.outputs),
    ]
    for value in values:
        if value.dtype is not None and value.dtype not in DTYPES:
            found.append(f"value '{value.name}' has element type {value.dtype.name.lower()}")
        elif value.type is not None and type(value.type).__name__ != "TensorType":
            found.append(f"value '{value.name}' is a {type(value.type).__name__}")
    if found:
        more = f", and {len(found) - 8} more" if len(found) > 8 else ""
        raise UnsupportedFeatureError("the edge runtime cannot hold: " + "; ".join(found[:8]) + more)


_TERM = re.compile(r"([+-]?)\s*(?:(\d+)\s*\*?\s*)?([^\W\d][\w.:/]*)?(?:\s*\*\s*(\d+))?\s*")


def parse_affine(text: str, symbols: Iterable[str]) -> tuple[int, dict[str, int]] | None:
    """Reads '2*batch + 1' as (1, {'batch': 2}). None when the text is no sum of multiples of known symbols."""
    known = set(symbols)
    if text in known:
        return 0, {text: 1}
    constant, position = 0, 0
    terms: dict[str, int] = {}
    while position < len(text):
        match = _TERM.match(text, position)
        if match is None or match.end() == position or (position and not match[1]) or (match[2] is None and match[3] is None):
            return None
        number = int(match[2] or 1) * int(match[4] or 1) * (-1 if match[1] == "-" else 1)
        if match[3] is None:
            constant += number
        elif match[3] in known:
            terms[match[3]] = terms.get(match[3], 0) + number
        else:
            return None
        position = match.end()
    return (constant, terms) if terms else None
