# SPDX-License-Identifier: Apache-2.0
"""A method of a .pen file as an ONNX model, for other engines to run what the file says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from penlight_export.edge import panels
from penlight_export.edge.generated import pen_generated as pen
from penlight_export.edge.lower import DTYPES
from penlight_export.edge.reader import PenFile, indices, text
from penlight_export.errors import UnsupportedFeatureError, UnsupportedOperatorsError
from penlight_export.graph import (
    FUSED_DOMAIN,
    MODULE_PATH,
    SOURCE,
    STATES,
    Attr,
    AttributeType,
    Graph,
    Model,
    Node,
    Shape,
    State,
    Tensor,
    TensorType,
    Value,
)
from penlight_export.onnx.importer import list_operators
from penlight_export.onnx.opsets import MAXIMUM_IMPORT, find_schema, ir_version
from penlight_export.passes.fuse_activation import RESIDUAL
from penlight_export.passes.fuse_norm import norm_overload
from penlight_export.passes.fused_bodies import LEAST_OPSET, LEAST_OPSETS, WITH_BODIES, add_functions
from penlight_export.passes.nbits_products import nbits_overload
from penlight_export.structure_pen import read_constant, read_span, weights_in_panels

_TYPES = {code: dtype for dtype, code in DTYPES.items()}
_KINDS = {
    pen.AttributeKind.integer: ("INT", "integer"),
    pen.AttributeKind.real: ("FLOAT", "real"),
    pen.AttributeKind.text: ("STRING", "text"),
    pen.AttributeKind.integers: ("INTS", "integers"),
    pen.AttributeKind.reals: ("FLOATS", "reals"),
    pen.AttributeKind.texts: ("STRINGS", "texts"),
}


def original_model(file: PenFile, method: str, where: str = "the program") -> Model:
    """The graph of a method: its fused operators are calls of functions that the model defines by ONNX's own.

    Raises:
        UnsupportedOperatorsError: operators of the edge runtime alone, such as those of trees and strings; all are listed.
        UnsupportedFeatureError: strings, which the file holds as bytes.
    """
    tables: Any = file.tables  # the runtime has verified them: what the generated classes call optional is there
    entries = {text(entry.key) for entry in tables.metadata or []}
    if f"strings.{method}" in entries:
        raise UnsupportedFeatureError(f"{where}: method '{method}' takes or gives strings, which only the edge runtime reads")
    number = [each.name for each in file.methods].index(method)
    _refuse(file, where)
    operators = tables.operators or []
    bodies = [LEAST_OPSETS.get(text(o.name), LEAST_OPSET) for o in operators if text(o.domain) == FUSED_DOMAIN]
    opset = _opset([(text(o.name), o.version) for o in operators if not o.domain], max(bodies, default=1))
    builder = _Builder(file, number, opset)
    graph = builder.graph(tables.methods[number])
    model = Model(graph, ir_version=ir_version(opset))
    if any(node.domain == FUSED_DOMAIN for node in graph.all_nodes()):
        graph.opset_imports[FUSED_DOMAIN] = 1
        add_functions(model)
    if file.methods[number].states:
        graph.meta[STATES] = builder.states()
    return model


def _refuse(file: PenFile, where: str) -> None:
    found: dict[str, list[str]] = {}
    for method in file.methods:
        for node in method.nodes:
            domain, _, name = node.operator.rpartition(".")
            if domain and not (domain == FUSED_DOMAIN and name in WITH_BODIES):
                found.setdefault(node.operator, []).append(node.name)
    if found:
        raise UnsupportedOperatorsError(
            f"{where}: ONNX has no form of {list_operators(found)}; run the file on the edge runtime, or the model it came from"
        )


def _opset(operators: Sequence[tuple[str, int]], bodies: int) -> int:
    """An operator set that selects the version of each operator and has those of the bodies, or else the newest of the versions."""
    least = max((version for _, version in operators), default=1)
    least = max(least, bodies)
    for opset in range(least, MAXIMUM_IMPORT + 1):
        schemas = [(find_schema("", name, opset), version) for name, version in operators]
        if all(schema is not None and schema.since_version == version for schema, version in schemas):
            return opset
    return least


class _Builder:
    """Values and nodes of one method and its bodies; names of values are unique among all of them."""

    def __init__(self, file: PenFile, number: int, opset: int) -> None:
        self.file, self.number, self.opset = file, number, opset
        self.tables: Any = file.tables
        self.taken: set[str] = set()

    def graph(self, table: Any) -> Graph:
        """The main graph."""
        values = self.values(table)
        for index in (*indices(table.inputs), *indices(table.outputs)):
            sizes = self.file.methods[self.number].values[index].shape
            values[index].shape = None if sizes is None else Shape([None if size == "?" else size for size in sizes])
        nodes = [self.node(each, values) for each in table.nodes or []]
        outputs = [values[index] for index in indices(table.outputs)]
        return self.assembled(table, [values[index] for index in indices(table.inputs)], outputs, nodes, values)

    def body(self, attribute: Any, operands: list[Value | None]) -> Graph:
        """The subgraph behind an attribute, whose last inputs are values of the graph around it."""
        table, places = self.tables.bodies[attribute.body], indices(attribute.integers)
        own = self.values(table)
        values, inputs = list(own), indices(table.inputs)
        kept = len(inputs) - len(places)
        for index, place in zip(inputs[kept:], places, strict=True):
            outer = operands[place]
            assert outer is not None
            values[index] = outer
        nodes = [self.node(each, values) for each in table.nodes or []]
        outputs = []
        for index in indices(table.outputs):
            source = values[index]
            if source is not own[index]:  # a body hands on a value from around it
                nodes.append(Node("", "Identity", [source]))
                source = nodes[-1].outputs[0]
                source.name = self.name(f"{values[index].name}.same")
            outputs.append(source)
        return self.assembled(table, [values[index] for index in inputs[:kept]], outputs, nodes, own)

    def assembled(
        self, table: Any, inputs: Sequence[Value], outputs: Sequence[Value], nodes: Sequence[Node], values: Sequence[Value]
    ) -> Graph:
        """A graph with the constants among these values."""
        constants = [value for value in values if value.const_value is not None]
        name = text(table.name) or "body"
        return Graph(inputs, outputs, nodes=nodes, initializers=constants, name=name, opset_imports={"": self.opset})

    def values(self, table: Any) -> list[Value]:
        """The values of a method or body, with what its constants hold."""
        made: list[Value] = []
        turned = weights_in_panels(table)
        for entry in table.values or []:
            value = Value(name=self.name(text(entry.name)))
            if entry.dtype in _TYPES:
                value.type = TensorType(_TYPES[entry.dtype])
            if entry.constant is not None:
                sizes = [dim.constant for dim in entry.shape or []]
                dtype = _TYPES[entry.dtype].numpy()
                array = read_constant(self.file, sizes, dtype, entry.constant, turned.get(len(made)))
                value.const_value = Tensor(array, dtype=_TYPES[entry.dtype], name=value.name)
                value.shape = Shape(sizes)
            made.append(value)
        return made

    def name(self, name: str) -> str:
        """The name, with a number behind it where it is taken."""
        unique, number = name or "value", 1
        while unique in self.taken:
            number += 1
            unique = f"{name}_{number}"
        self.taken.add(unique)
        return unique

    def node(self, table: Any, values: list[Value]) -> Node:
        """One node, which makes the values at its outputs."""
        operator = self.tables.operators[table.operator]
        domain, name = text(operator.domain), text(operator.name)
        operands = [None if index < 0 else values[index] for index in indices(table.inputs)]
        written = [each for each in table.attributes or [] if domain != FUSED_DOMAIN or text(each.name) != panels.ATTRIBUTE]
        attributes = [self.attribute(each, values, operands) for each in written]
        bodies = [each for each in table.attributes or [] if each.kind == pen.AttributeKind.body]
        for attribute in attributes if name == "Loop" else ():
            for value in attribute.value.inputs[:2]:
                value.shape = Shape([])  # the step and the condition; onnxruntime asks for it
        if bodies:
            operands = operands[: self.own_inputs(name, bodies[0])]
        outputs = [Value(name="") if index < 0 else values[index] for index in indices(table.outputs)]
        node = Node(domain, name, operands, attributes, outputs=outputs, name=text(table.name) or None)
        if domain == FUSED_DOMAIN:
            node.overload = _overload(name, node)
        for key, note in ((MODULE_PATH, table.modulePath), (SOURCE, table.source)):
            if note:
                node.metadata_props[key] = text(note)
        return node

    def own_inputs(self, name: str, attribute: Any) -> int:
        """How many inputs a node has without the values that its bodies read from around them."""
        if name == "If":
            return 1
        return len(self.tables.bodies[attribute.body].inputs) - len(indices(attribute.integers))

    def attribute(self, table: Any, values: list[Value], operands: list[Value | None]) -> Attr:
        """One attribute; a body reads the values around it by name."""
        name = text(table.name)
        if table.kind == pen.AttributeKind.body:
            return Attr(name, AttributeType.GRAPH, self.body(table, operands))
        if table.kind == pen.AttributeKind.tensor:
            tensor = values[table.tensor].const_value
            values[table.tensor].const_value = None  # it stands in the attribute alone
            return Attr(name, AttributeType.TENSOR, tensor)
        kind, field = _KINDS[table.kind]
        value = getattr(table, field)
        if kind.endswith("S"):
            entries = [] if value is None else list(value)
            return Attr(name, AttributeType.__members__[kind], [_scalar(entry, kind) for entry in entries])
        return Attr(name, AttributeType.__members__[kind], _scalar(value, kind))

    def states(self) -> list[State]:
        """What the method's last inputs are before the first run."""
        tables = self.tables
        found = []
        for index, info in zip(indices(tables.methods[self.number].states), self.file.methods[self.number].states, strict=True):
            table = tables.states[index]
            sizes = [int(size) for size in info.shape]
            initial = np.zeros(sizes, info.dtype)
            if table.initial is not None:
                initial = read_span(self.file, sizes, info.dtype, table.initial).copy()
            found.append(State(info.name, initial))
        return found


def _overload(name: str, node: Node) -> str:
    """Which of the bodies a fused node has: its activation, whether there is a residual and, for FusedMatMul, a bias."""
    found = node.attributes.get("activation")
    activation = "" if found is None else str(found.value)
    bias, residual = ((place < len(node.inputs) and node.inputs[place] is not None) for place in (2, 3))
    if name.endswith("Normalization"):
        return norm_overload(node)
    if name == "MatMulNBits":
        return nbits_overload(node)
    if name == "QuantizedAdd":
        return ""
    if name == "MatMulIntegerToFloat":
        return "Bias" if len(node.inputs) > 6 else ""
    if name == "MatMulDequantized":
        return ("Blocks" if "block_size" in node.attributes else "") + ("Zeros" if len(node.inputs) > 3 else "")
    if name != "FusedMatMul":
        return RESIDUAL * residual + activation
    return "Bias" * bias + activation + RESIDUAL * residual


def _scalar(value: Any, kind: str) -> Any:
    if kind.startswith("STRING"):
        return text(value)
    return int(value) if kind.startswith("INT") else float(value)
