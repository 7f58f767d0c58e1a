# SPDX-License-Identifier: Apache-2.0
"""Builds .pen files by hand, also broken ones, for tests of the edge runtime."""

from __future__ import annotations

import copy
import functools
import struct

import flatbuffers
import numpy as np

import penlight_runtime
from penlight.checksum import crc32c
from penlight_export.edge.generated import pen_generated as pen
from penlight_export.edge.segments import SegmentBuilder
from penlight_export.edge.writer import _join, _PackedMethods, _segment_tables, _with_header, required_features
from penlight_export.pieces import Pieces

_NAMES = ("none", "float32", "float16", "bfloat16", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64")
DTYPES = {name: number for number, name in enumerate((*_NAMES, "uint64", "bool"))}
KINDS = {"integer": 1, "real": 2, "text": 3, "integers": 4, "reals": 5, "texts": 6, "tensor": 7, "body": 8}


@functools.lru_cache
def newest_version(name: str, domain: str = "") -> int:
    """The newest version that an operator's kernel serves."""
    return max(entry.max_version for entry in penlight_runtime.operators() if (entry.domain, entry.name) == (domain, name))


class PenBuilder:
    """Collects values, nodes and samples of one method; `program` can be changed freely before `build`."""

    def __init__(self, method: str = "forward") -> None:
        self.weights = SegmentBuilder()
        self.samples = SegmentBuilder()
        self.method = pen.MethodT(name=method, values=[], inputs=[], outputs=[], nodes=[])
        self.program = pen.ProgramT(operators=[], symbols=[], methods=[self.method], golden=[], metadata=[])

    def body(self, name: str = "body") -> PenBuilder:
        """A new body in the same file, for an attribute (body, captured operands) of a node of this method."""
        child = copy.copy(self)
        child.method = pen.MethodT(name=name, values=[], inputs=[], outputs=[], nodes=[])
        self.program.bodies = [*(self.program.bodies or []), child.method]
        child.number = len(self.program.bodies) - 1
        return child

    def state(self, name: str, initial) -> int:
        """Adds a state that starts as `initial`, and returns the value it is read as; the method's last outputs are its states."""
        initial = np.asarray(initial, order="C")
        offset, size = self.weights.add(initial)
        span = pen.SpanT(segment=0, offset=offset, sizeBytes=size) if initial.any() else None
        table = pen.StateT(name=name, dtype=DTYPES[initial.dtype.name], shape=list(initial.shape), initial=span)
        self.program.states = [*(self.program.states or []), table]
        self.method.states = [*(self.method.states or []), len(self.program.states) - 1]
        return self.input(f"past.{name}", initial.dtype.name, initial.shape)

    def symbol(self, name: str, minimum: int = 1, maximum: int = 2**63 - 1) -> int:
        names = [symbol.name for symbol in self.program.symbols]
        if name not in names:
            self.program.symbols.append(pen.SymbolT(name=name, minimum=minimum, maximum=maximum))
            return len(names)
        return names.index(name)

    def dim(self, size) -> pen.DimT:
        """An int, a symbol's name, (constant, {symbol: coefficient}), or None for unknown."""
        if size is None:
            return pen.DimT(unknown=True)
        if isinstance(size, str):
            size = (0, {size: 1})
        if isinstance(size, tuple):
            terms = [pen.DimTermT(symbol=self.symbol(name), coefficient=k) for name, k in size[1].items()]
            return pen.DimT(constant=size[0], terms=terms)
        return pen.DimT(constant=size)

    def value(self, name: str, dtype: str = "none", shape=None) -> int:
        dims = None if shape is None else [self.dim(size) for size in shape]
        self.method.values.append(pen.ValueT(name=name, dtype=DTYPES[dtype], shape=dims))
        return len(self.method.values) - 1

    def input(self, name: str, dtype: str = "none", shape=None) -> int:
        self.method.inputs.append(self.value(name, dtype, shape))
        return self.method.inputs[-1]

    def constant(self, name: str, array) -> int:
        array = np.ascontiguousarray(array)
        index = self.value(name, array.dtype.name, array.shape)
        offset, size = self.weights.add(array)
        self.method.values[index].constant = pen.SpanT(segment=0, offset=offset, sizeBytes=size)
        return index

    def operator(self, name: str, domain: str = "", version: int | None = None) -> int:
        version = newest_version(name, domain) if version is None else version
        for index, entry in enumerate(self.program.operators):
            if (entry.domain, entry.name, entry.version) == (domain, name, version):
                return index
        self.program.operators.append(pen.OperatorT(domain=domain, name=name, version=version))
        return len(self.program.operators) - 1

    def node(self, name: str, inputs, outputs=("",), *, domain: str = "", version: int | None = None, **attributes) -> int:
        """Adds a node whose outputs are new values of these names ("" gets one); returns the first output's value."""
        number = len(self.method.nodes)
        results = [self.value(output or f"v{len(self.method.values)}") for output in outputs]
        self.method.nodes.append(
            pen.NodeT(
                operator=self.operator(name, domain, version),
                inputs=list(inputs),
                outputs=results,
                attributes=[self.attribute(key, value) for key, value in attributes.items()] or None,
                name=f"node{number}",
                modulePath=f"layer.{number}",
            )
        )
        return results[0]

    def attribute(self, name: str, value) -> pen.AttributeT:
        if isinstance(value, tuple):
            body, captured = value
            return pen.AttributeT(name=name, kind=KINDS["body"], body=body.number, integers=captured or None)
        if isinstance(value, str):
            return pen.AttributeT(name=name, kind=KINDS["text"], text=value)
        if isinstance(value, float):
            return pen.AttributeT(name=name, kind=KINDS["real"], real=value)
        if isinstance(value, list) and value and isinstance(value[0], float):
            return pen.AttributeT(name=name, kind=KINDS["reals"], reals=value)
        if isinstance(value, list):
            return pen.AttributeT(name=name, kind=KINDS["integers"], integers=value)
        if isinstance(value, np.ndarray):
            return pen.AttributeT(name=name, kind=KINDS["tensor"], tensor=self.constant(name, value))
        return pen.AttributeT(name=name, kind=KINDS["integer"], integer=value)

    def output(self, value: int, dtype: str | None = None, shape=None) -> None:
        """Declares a value as an output; dtype and shape complete it."""
        if dtype is not None:
            self.method.values[value].dtype = DTYPES[dtype]
        if shape is not None:
            self.method.values[value].shape = [self.dim(size) for size in shape]
        self.method.outputs.append(value)

    def golden(self, inputs, outputs, atol: float = 0.0, rtol: float = 0.0) -> None:
        def store(array):
            offset, size = self.samples.add(np.ascontiguousarray(array))
            return pen.GoldenTensorT(shape=list(array.shape), data=pen.SpanT(segment=1, offset=offset, sizeBytes=size))

        golden = pen.GoldenT(inputs=[store(a) for a in inputs], outputs=[store(a) for a in outputs], atol=atol, rtol=rtol)
        self.program.golden.append(golden)

    def build(self) -> bytes:
        segments = [self.weights, self.samples] if self.program.golden else [self.weights]
        self.program.segments = _segment_tables(segments)
        return Pieces(_join(_PackedMethods(self.program).flatten(), segments, required_features(self.program))).join()


def refresh(data: bytearray) -> bytes:
    """Writes the metadata's checksum anew after a change."""
    (size,) = struct.unpack_from("<Q", data, 16)
    struct.pack_into("<I", data, 56, 0)
    struct.pack_into("<I", data, 56, crc32c(bytes(data[:size])))
    return bytes(data)


def relu_program(shape=("batch", 4)) -> PenBuilder:
    """y = relu(x)"""
    builder = PenBuilder()
    x = builder.input("x", "float32", shape)
    builder.output(builder.node("Relu", [x], ["y"]), "float32", shape)
    return builder


def small_program() -> PenBuilder:
    """A constant, shape arithmetic, an omitted size, golden data and metadata: z = reshape(relu(x + w), (-1,))."""
    builder = PenBuilder()
    x = builder.input("x", "float32", ("batch", 4))
    w = builder.constant("w", np.array([0.5, -1.0, 2.0, 0.0], np.float32))
    total = builder.node("Add", [x, w], ["sum"])
    active = builder.node("Relu", [total], ["active"])
    target = builder.constant("target", np.array([-1], np.int64))
    flat = builder.node("Reshape", [active, target], ["z"])
    builder.output(flat, "float32", ((0, {"batch": 4}),))
    sample = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)
    builder.golden([sample], [np.maximum(sample + np.array([0.5, -1.0, 2.0, 0.0], np.float32), 0).reshape(-1)])
    builder.program.metadata = [pen.KeyValueT(key="producer", value="test")]
    return builder


def counting_program() -> PenBuilder:
    """total, count = total + x, count + 1; y = total * x. The total starts as (1, 2, 3)."""
    builder = PenBuilder()
    x = builder.input("x", "float32", (3,))
    total, count = builder.state("total", np.array([1, 2, 3], np.float32)), builder.state("count", np.zeros(1, np.int64))
    one = builder.constant("one", np.array([1], np.int64))
    after = builder.node("Add", [total, x], ["after"])
    builder.output(builder.node("Mul", [after, x], ["y"]), "float32", (3,))
    builder.output(after, "float32", (3,))
    builder.output(builder.node("Add", [count, one], ["next"]), "int64", (1,))
    builder.golden([np.ones(3, np.float32)], [np.array([2, 3, 4], np.float32)])
    return builder


def relu_with_weights() -> PenBuilder:
    """y = relu(x + w); its only segment is that of the weights."""
    builder = PenBuilder()
    x = builder.input("x", "float32", ("batch", 3))
    w = builder.constant("w", np.array([1, 2, 3], np.float32))
    builder.output(builder.node("Relu", [builder.node("Add", [x, w])], ["y"]), "float32", ("batch", 3))
    return builder


def rewrite(builder: PenBuilder, change) -> bytes:
    """Builds, lets `change` alter the finished program's tables (segments too), and writes the metadata again at the same size."""
    data = bytearray(builder.build())
    (base,) = struct.unpack_from("<Q", data, 24)
    change(builder.program)
    body = _PackedMethods(builder.program).flatten()
    grown = bytearray(data[:8] + data[8:72] + body[8:])
    struct.pack_into("<I", grown, 0, struct.unpack_from("<I", body)[0] + 64)
    new_base = len(grown) + -len(grown) % 64
    struct.pack_into("<QQQ", grown, 16, len(grown), new_base, len(data) - base + new_base)
    return refresh(grown + bytes(new_base - len(grown)) + data[base:])


def shared_vector(builder: PenBuilder, count: int) -> bytes:
    """A file whose vector of nodes points to its first node `count` times."""
    builder.method.nodes = builder.method.nodes[:1]
    builder.method.nodes[0].name = "n" * 300  # what makes each visit dear
    program = builder.program
    flat = flatbuffers.Builder(1 << 20)
    node = builder.method.nodes[0].Pack(flat)
    pen.MethodStartNodesVector(flat, count)
    for _ in range(count):
        flat.PrependUOffsetTRelative(node)
    nodes = flat.EndVector()
    values = [value.Pack(flat) for value in builder.method.values]
    pen.MethodStartValuesVector(flat, len(values))
    for value in reversed(values):
        flat.PrependUOffsetTRelative(value)
    value_vector = flat.EndVector()
    name = flat.CreateString("forward")
    empty = [flat.StartVector(4, 0, 4) and flat.EndVector() for _ in range(2)]
    pen.MethodStart(flat)
    pen.MethodAddName(flat, name)
    pen.MethodAddValues(flat, value_vector)
    pen.MethodAddInputs(flat, empty[0])
    pen.MethodAddOutputs(flat, empty[1])
    pen.MethodAddNodes(flat, nodes)
    method = pen.MethodEnd(flat)
    pen.ProgramStartMethodsVector(flat, 1)
    flat.PrependUOffsetTRelative(method)
    methods = flat.EndVector()
    operators = [operator.Pack(flat) for operator in program.operators]
    pen.ProgramStartOperatorsVector(flat, len(operators))
    for operator in reversed(operators):
        flat.PrependUOffsetTRelative(operator)
    operator_vector = flat.EndVector()
    pen.ProgramStart(flat)
    pen.ProgramAddOperators(flat, operator_vector)
    pen.ProgramAddMethods(flat, methods)
    flat.Finish(pen.ProgramEnd(flat), file_identifier=b"PEN1")
    return bytes(_with_header(bytes(flat.Output()), [])) + bytes(_padding(flat))


def _padding(flat) -> int:
    size = len(flat.Output()) + 64
    return -size % 64
