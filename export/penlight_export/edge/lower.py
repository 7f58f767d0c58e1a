# SPDX-License-Identifier: Apache-2.0
"""Turns a graph into the tables of a .pen file."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from penlight_export.edge import panels
from penlight_export.edge.flatbuffer import FastBuilder
from penlight_export.edge.generated import pen_generated as pen
from penlight_export.edge.segments import SegmentBuilder
from penlight_export.errors import UnsupportedFeatureError
from penlight_export.graph import (
    BODY_OPERATORS,
    MODULE_PATH,
    SOURCE,
    Attr,
    AttributeType,
    DataType,
    Graph,
    Model,
    Node,
    State,
    TensorType,
    Value,
    all_nodes,
    bodies_of,
    constant_size,
    describe,
    outer_values,
    states_of,
)
from penlight_export.onnx.opsets import since_version
from penlight_export.pieces import blocks_of

WEIGHTS = 0  # index of the segment that holds the constants
CONTROL_FLOW = ("If", "Loop", "Scan")
MOST_OPERANDS = 64  # of a node; runtime/kernels/kernel.h

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


def lower_program(models: Mapping[str, Model], weights: SegmentBuilder, metadata: dict[str, str]) -> pen.ProgramT:
    """Lowers each main graph to a method of its name, its nodes' subgraphs to bodies; constants go into `weights`.

    Raises:
        UnsupportedFeatureError: element types without a code, or outputs of unknown rank.
    """
    for model in models.values():
        refuse_features(model)
    tables = _Tables(next(iter(models.values())), weights, len(models) > 1)
    methods = []
    for name, model in models.items():
        tables.model = model
        methods.append(_Lowering(tables, model.graph).method(name))
    return pen.ProgramT(
        operators=[pen.OperatorT(domain=d, name=n, version=v) for d, n, v in tables.operators],
        symbols=[pen.SymbolT(name=name) for name in tables.symbols],
        methods=methods,
        metadata=[pen.KeyValueT(key=key, value=metadata[key]) for key in sorted(metadata)],
        bodies=tables.bodies or None,
        states=tables.state_tables or None,
    )


class _PackedOnce:
    """What many tables have in common: it is one table of the file, to which all of them refer."""

    _packed: tuple[FastBuilder, int] | None = None

    def Pack(self, builder: FastBuilder) -> int:  # the name that generated code calls
        if self._packed is None or self._packed[0] is not builder:
            self._packed = builder, int(super().Pack(builder))  # type: ignore[misc]  # the other base class has it
        return self._packed[1]


class _Dim(_PackedOnce, pen.DimT):
    """A size."""


class _Attribute(_PackedOnce, pen.AttributeT):
    """An attribute that is no tensor and no body."""


class _Value(pen.ValueT):
    """A value; a large model has so many of them that what generated code does field by field took half of its time."""

    def Pack(self, builder: FastBuilder) -> int:  # the name that generated code calls
        name = builder.CreateString(self.name or "")
        shape = 0 if self.shape is None else builder.places([dim.Pack(builder) for dim in self.shape])
        constant = 0 if self.constant is None else self.constant.Pack(builder)
        return builder.table(_VALUE_FIELDS, (name, self.dtype, shape, constant))


class _Node(pen.NodeT):
    """A node, likewise."""

    def Pack(self, builder: FastBuilder) -> int:  # the name that generated code calls
        inputs, outputs = builder.integers(self.inputs or ()), builder.integers(self.outputs or ())
        attributes = 0 if self.attributes is None else builder.places([each.Pack(builder) for each in self.attributes])
        texts = [0 if text is None else builder.CreateString(text) for text in (self.name, self.modulePath, self.source)]
        return builder.table(_NODE_FIELDS, (self.operator, inputs, outputs, attributes, *texts))


_VALUE_FIELDS = ((0, "O"), (1, "B"), (2, "O"), (3, "O"))  # slots of the schema, and of what kind they are
_NODE_FIELDS = ((0, "I"), *((slot, "O") for slot in range(1, 7)))


class _Tables:
    """What all methods and bodies of a program share; `model` is the one that is being lowered.

    With `merge`, equal constants are written once: each method has its own objects for the weights that they share.
    """

    def __init__(self, model: Model, weights: SegmentBuilder, merge: bool = False) -> None:
        self.model = model
        self.weights = weights
        self._contents: dict[tuple[str, bytes], pen.SpanT] | None = {} if merge else None
        self.operators: dict[tuple[str, str, int], int] = {}
        self.symbols: dict[str, int] = {}
        self.bodies: list[pen.MethodT] = []
        self.states: dict[str, int] = {}
        self.state_tables: list[pen.StateT] = []
        self._dims: dict[tuple[int | str | None, int], _Dim] = {}
        self._attributes: dict[tuple[str, str, str], _Attribute] = {}
        self.shared: dict[int, _Attribute] = {}  # by the attribute's id: many nodes of a model have the same one
        self._spans: dict[int, tuple[np.ndarray, pen.SpanT]] = {}

    def dim(self, size: int | str | None) -> pen.DimT:
        """A size: a number, an expression of symbols, or None when it is not known before the run."""
        key = size, len(self.symbols)  # an expression may hold a symbol that comes later
        found = self._dims.get(key)
        if found is None:
            found = self._dims[key] = _Dim(constant=size) if isinstance(size, int) else self._expression(size or "")
        return found

    def _expression(self, text: str) -> _Dim:
        affine = parse_affine(text, self.symbols)
        if affine is None:
            return _Dim(unknown=True)
        constant, terms = affine
        return _Dim(
            constant=constant,
            terms=[pen.DimTermT(symbol=self.symbols[name], coefficient=terms[name]) for name in sorted(terms)],
        )

    def operator(self, node: Node, version: int | None = None) -> int:
        """The number of a node's operator, in the version that the model selects unless one is given."""
        key = (node.domain, node.op_type, since_version(self.model, node) if version is None else version)
        return self.operators.setdefault(key, len(self.operators))

    def attribute(self, name: str, kind: str, value: Any) -> _Attribute:
        """An attribute that is no tensor and no body, made once; by its text, since 0.0 and -0.0 are equal."""
        content = list(value) if kind.endswith("S") else value
        key = name, kind, repr(content)
        found = self._attributes.get(key)
        if found is None:
            code, field = _ATTRIBUTES[kind]
            found = self._attributes[key] = _Attribute(name=name, kind=code)
            setattr(found, field, content)
        return found

    def constant(self, value: Value) -> tuple[np.ndarray, pen.SpanT]:
        """An initializer's array and bytes, written once for all graphs that read it."""
        if id(value) not in self._spans:
            assert value.const_value is not None
            array = value.const_value.numpy()
            turned = panels.panels_of(value)
            parts = (array,) if turned is None else panels.in_panels(array, turned)
            self._spans[id(value)] = (array, self.span(*parts))
        return self._spans[id(value)]

    def state(self, state: State) -> int:
        """The number of a state tensor, which methods share by name; its first content is written unless it is zeros."""
        if state.name not in self.states:
            self.states[state.name] = len(self.states)
            initial = self.span(state.initial) if state.initial.any() else None
            dtype = DTYPES[DataType.from_numpy(state.initial.dtype)]
            self.state_tables.append(pen.StateT(name=state.name, dtype=dtype, shape=list(state.initial.shape), initial=initial))
        return self.states[state.name]

    def span(self, *arrays: np.ndarray) -> pen.SpanT:
        """Appends arrays of one dtype to the weights, one right behind the other."""
        if self._contents is None:
            return self._append(*arrays)
        digest = hashlib.blake2b()
        for block in itertools.chain.from_iterable(map(blocks_of, arrays)):
            digest.update(block)
        key = (arrays[0].dtype.str, digest.digest())
        if key not in self._contents:
            self._contents[key] = self._append(*arrays)
        return self._contents[key]

    def _append(self, *arrays: np.ndarray) -> pen.SpanT:
        offset, size = self.weights.add(*arrays)
        return pen.SpanT(segment=WEIGHTS, offset=offset, sizeBytes=size)


class _Lowering:
    """The numbering of values while one method or body is written."""

    def __init__(self, tables: _Tables, graph: Graph, outer: Sequence[Value] = ()) -> None:
        self.tables = tables
        self.graph = graph
        self.captured = [value for value in outer if constant_size(value) is None]
        self.outer_constants = [value for value in outer if constant_size(value) is not None]
        self.values: list[pen.ValueT] = []
        self.index: dict[Value, int] = {}
        self.shapes: dict[tuple[int, int], list[pen.DimT]] = {}

    def method(self, name: str) -> pen.MethodT:
        """The main graph: inputs and outputs declare dtype and shape."""
        inputs = [value for value in self.graph.inputs if not value.is_initializer()]
        for value in inputs:
            self._add(value, self._input_shape(value))
        nodes = self._nodes(self.graph.initializers.values())
        for value in self.graph.outputs:
            self._need_type(value)
        table = self._table(name, inputs, nodes)
        table.states = [self.tables.state(state) for state in states_of(self.tables.model)] or None
        return table

    def body(self, name: str) -> pen.MethodT:
        """A subgraph: its inputs take tensors as they come; the values of the graph around it are its last inputs."""
        inputs = [*self.graph.inputs, *self.captured]
        for value in inputs:
            self._add(value, None)
        nodes = self._nodes([*self.graph.initializers.values(), *self.outer_constants])
        for value in self.graph.outputs:
            if value.shape is not None:
                dims = [pen.DimT(constant=n) if isinstance(n, int) and n >= 0 else pen.DimT(unknown=True) for n in value.shape]
                self.values[self.index[value]].shape = dims
        return self._table(name, inputs, nodes)

    def _nodes(self, constants: Iterable[Value]) -> list[pen.NodeT]:
        for value in constants:
            self._add_constant(value)
        return [self._node(node) for node in self.graph]

    def _table(self, name: str, inputs: Sequence[Value], nodes: list[pen.NodeT]) -> pen.MethodT:
        return pen.MethodT(
            name=name,
            values=self.values,
            inputs=[self.index[value] for value in inputs],
            outputs=[self.index[value] for value in self.graph.outputs],
            nodes=nodes,
        )

    def _add(self, value: Value, shape: list[pen.DimT] | None, constant: pen.SpanT | None = None) -> None:
        dtype = DTYPES[value.dtype] if value.dtype is not None else pen.DType.none
        self.index[value] = len(self.values)
        self.values.append(_Value(name=value.name or "", dtype=dtype, shape=shape, constant=constant))

    def _add_constant(self, value: Value) -> None:
        array, span = self.tables.constant(value)
        self._add(value, [self.tables.dim(size) for size in array.shape], span)

    def _node(self, node: Node) -> pen.NodeT:
        operands = list(node.inputs)
        attributes = [self._attribute(node, node.attributes[name], operands) for name in sorted(node.attributes)]
        in_panels = panels.reads_panels(node)
        if in_panels:
            attributes.append(self.tables.attribute(panels.ATTRIBUTE, "INT", 1))
        inputs = [-1 if value is None else self.index[value] for value in operands]
        if len(inputs) > MOST_OPERANDS:
            raise UnsupportedFeatureError(
                f"{node.op_type} node {describe(node)} has {len(inputs)} inputs together with the values that its subgraphs read; "
                f"the edge runtime has at most {MOST_OPERANDS}"
            )
        outputs = []
        for value in node.outputs:
            if value.name and (value.uses() or value.is_graph_output()):
                self._add(value, self._inner_shape(value))
                outputs.append(self.index[value])
            else:
                outputs.append(-1)
        outputs += [-1] * (output_count(node) - len(outputs))
        return _Node(
            operator=self.tables.operator(node, panels.VERSION if in_panels else None),
            inputs=inputs,
            outputs=outputs,
            attributes=attributes or None,
            name=node.name or node.outputs[0].name or None,  # what the runtime's messages call it
            modulePath=node.metadata_props.get(MODULE_PATH),
            source=node.metadata_props.get(SOURCE),
        )

    def _body(self, node: Node, attribute: Attr, operands: list[Value | None]) -> pen.AttributeT:
        """Writes a subgraph; the values that it reads from here join the node's operands."""
        graph, number = attribute.value, len(self.tables.bodies)
        self.tables.bodies.append(pen.MethodT())  # the number is taken before those of bodies inside
        lowering = _Lowering(self.tables, graph, outer_values(graph))
        self.tables.bodies[number] = lowering.body(f"{node.outputs[0].name}.{attribute.name}")
        places = []
        for value in lowering.captured:
            if not any(value is operand for operand in operands):
                operands.append(value)
            places.append(next(i for i, operand in enumerate(operands) if operand is value))
        return pen.AttributeT(name=attribute.name, kind=pen.AttributeKind.body, body=number, integers=places or None)

    def _attribute(self, node: Node, attribute: Attr, operands: list[Value | None]) -> pen.AttributeT:
        found = self.tables.shared.get(id(attribute))
        if found is not None:
            return found
        kind, value = attribute.type.name, attribute.value
        if kind == "GRAPH":
            return self._body(node, attribute, operands)
        if kind == "TENSOR":
            result = pen.AttributeT(name=attribute.name, kind=pen.AttributeKind.tensor, tensor=len(self.values))
            array = np.asarray(value.numpy())
            name = f"{node.outputs[0].name}.{attribute.name}"
            dtype = DTYPES[value.dtype]
            self.values.append(
                _Value(name=name, dtype=dtype, shape=[pen.DimT(constant=n) for n in array.shape], constant=self.tables.span(array))
            )
            return result
        made = self.tables.shared[id(attribute)] = self.tables.attribute(attribute.name, kind, value)
        return made

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
            symbol = self.tables.symbols.setdefault(name, len(self.tables.symbols))
            dims.append(pen.DimT(terms=[pen.DimTermT(symbol=symbol)]))
        return dims

    def _inner_shape(self, value: Value) -> list[pen.DimT] | None:
        if value.shape is None or value.dtype is None or self.graph is not self.tables.model.graph:
            return None  # a body's sizes are those that it is run with
        key = id(value.shape), len(self.tables.symbols)  # most values share their shape's object with others
        found = self.shapes.get(key)
        if found is None:
            found = self.shapes[key] = [self.tables.dim(dim if isinstance(dim, int) else dim.value) for dim in value.shape]
        return found

    def _need_type(self, value: Value) -> None:
        if value.dtype is None or value.shape is None:
            raise UnsupportedFeatureError(
                f"the shape rules of ONNX cannot tell dtype and rank of '{value.name}', which is an input or output; "
                "declare them in the model"
            )


def output_count(node: Node) -> int:
    """How many outputs a node has in the file: If, Loop and Scan have all of their bodies', read or not."""
    if node.domain != "" or node.op_type not in BODY_OPERATORS:
        return len(node.outputs)
    bodies = bodies_of(node)
    if not bodies:
        return len(node.outputs)
    return max(len(node.outputs), len(bodies[0].outputs) - (node.op_type == "Loop"))


_ATTRIBUTES = {
    "INT": (pen.AttributeKind.integer, "integer"),
    "FLOAT": (pen.AttributeKind.real, "real"),
    "STRING": (pen.AttributeKind.text, "text"),
    "INTS": (pen.AttributeKind.integers, "integers"),
    "FLOATS": (pen.AttributeKind.reals, "reals"),
    "STRINGS": (pen.AttributeKind.texts, "texts"),
}
_HELD = frozenset(AttributeType.__members__[name] for name in (*_ATTRIBUTES, "TENSOR"))


def refuse_features(model: Model) -> None:
    """Raises one error for everything in the model, beside operators, that a .pen file cannot hold."""
    found: list[str] = []
    nodes = list(all_nodes(model.graph))
    for node in nodes:
        kinds = {attribute.type.name for attribute in node.attributes.values() if attribute.type not in _HELD}
        if not kinds:
            continue
        if "GRAPH" in kinds and node.domain == "" and node.op_type in CONTROL_FLOW:
            kinds.remove("GRAPH")
        if kinds:
            found.append(f"{node.op_type} node {describe(node)} has an attribute of type {', '.join(sorted(kinds)).lower()}")
    values: Iterable[Value] = [
        *model.graph.inputs,
        *model.graph.initializers.values(),
        *(v for n in nodes for v in n.outputs),
    ]
    for value in values:
        if type(value.type) is TensorType and value.type.dtype in DTYPES:
            continue
        if value.dtype is not None and value.dtype not in DTYPES:
            found.append(f"value '{value.name}' has element type {value.dtype.name.lower()}")
        elif value.type is not None and type(value.type) is not TensorType:
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
