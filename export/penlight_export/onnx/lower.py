# SPDX-License-Identifier: Apache-2.0
"""Turns a trace into an ONNX graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from penlight.ops.operator import CUSTOM, NotExported, Operator, parse_onnx
from penlight_export.errors import UnsupportedFeatureError, UnsupportedOperatorsError
from penlight_export.graph import STATES, Model, State, TensorType, Value, fresh_name
from penlight_export.onnx import composites, lowerings
from penlight_export.onnx.builder import Builder, onnx_dtype, symbolic_shape
from penlight_export.onnx.composites.complex_pairs import is_complex, pair_spec
from penlight_export.onnx.composites.record import (
    Bodies,
    all_nodes,
    has_composite,
    has_own_composite,
    record_bodies,
    touches_complex,
)
from penlight_export.onnx.control import CONTROL
from penlight_export.onnx.local_functions import DOMAIN, LocalFunctions
from penlight_export.onnx.lowerings.registry import find_lowering
from penlight_export.onnx.opsets import MAXIMUM_EXPORT, find_schema

TRACED = "penlight.traced"  # where a lowered graph keeps which value is which traced result

_SHOWN = 12


def lower_trace(
    trace: Any, opset: int, name: str = "model", input_names: Sequence[str] = (), output_names: Sequence[str] = ()
) -> Model:
    """Writes every traced operator as ONNX nodes.

    Args:
        trace: a `penlight.tracing.TraceGraph`.
        opset: the version of ai.onnx.
        name: of the graph.
        input_names, output_names: instead of the trace's names, in order.

    Returns:
        A graph with named dynamic dimensions, parameters as initializers under their qualified names, and module path and
        source line in the metadata of every node.

    Raises:
        UnsupportedOperatorsError: operators without an ONNX form; all are listed with the lines that call them.
    """
    assert lowerings and composites  # importing the packages fills the tables
    bodies = record_bodies(trace, lambda operator: has_form(operator, opset))
    _refuse_unsupported(trace, opset, bodies)
    return TraceLowering(trace, opset, name, bodies).run(input_names, output_names)


def find_gap(operator: Operator | type[Operator], opset: int) -> str | None:
    """Why an operator has no ONNX form at this operator set; None when it has one."""
    form = operator.onnx
    if isinstance(form, NotExported):
        return form.reason
    if find_lowering(operator.name) is not None or operator.name in CONTROL or has_composite(operator):
        return None
    if form == CUSTOM:
        return 'it has no ONNX form: give its class composite(self, *inputs), written in other operators, or onnx = "Name"'
    target = parse_onnx(form)[0]
    if find_schema("", target, opset) is not None:
        return None
    later = next((version for version in range(opset, MAXIMUM_EXPORT + 1) if find_schema("", target, version) is not None), None)
    return f"ONNX has no {target}" if later is None else f"ONNX has {target} from operator set {later} on: pass opset={later}"


def has_form(operator: Operator, opset: int) -> bool:
    """Whether an operator is written by a lowering or one to one, so that no composite is needed."""
    form = type(operator).onnx
    if find_lowering(operator.name) is not None:
        return True
    return isinstance(form, str) and form != CUSTOM and find_schema("", parse_onnx(form)[0], opset) is not None


def _refuse_unsupported(trace: Any, opset: int, bodies: Bodies) -> None:
    for value in trace.inputs:
        if is_complex(value.spec):
            raise UnsupportedFeatureError(
                f"the input {value.name!r} is {value.spec.dtype.name}: ONNX engines have no complex numbers; "
                "take the real and the imaginary part as inputs, and join them with penlight.complex"
            )
    found: dict[tuple[str, str], list[str]] = {}
    gaps: dict[type[Operator], str | None] = {}
    for node in all_nodes(trace, bodies):
        kind = type(node.operator)
        if kind not in gaps:
            gaps[kind] = find_gap(kind, opset)
        reason = "ONNX engines have no complex numbers" if touches_complex(node) else gaps[kind]
        if reason is not None:
            found.setdefault((node.operator.name, reason), []).append(_place(node))
    for number, value in enumerate(trace.outputs):
        if is_complex(value.spec):
            raise UnsupportedFeatureError(
                f"output {number} of the model is {value.spec.dtype.name}: ONNX engines have no complex numbers; "
                "return penlight.view_as_real(...) of it"
            )
    if found:
        lines = [f"{name} at {', '.join(dict.fromkeys(places[:_SHOWN]))} ({reason})" for (name, reason), places in found.items()]
        raise UnsupportedOperatorsError("these operators have no ONNX form: " + "; ".join(lines) + "; express them through others")


def _place(node: Any) -> str:
    types = dict.fromkeys(value.spec.dtype.name for value in node.inputs if value is not None)
    place = f"{node.source or '?'}" + (f" in {node.module_path!r}" if node.module_path else "")
    return f"{place} on {' and '.join(types)}" if types else place


class TraceLowering:
    """The values of one trace and what they became."""

    def __init__(self, trace: Any, opset: int, name: str, bodies: Bodies, functions: LocalFunctions | None = None) -> None:
        self.trace, self.bodies = trace, bodies
        self.builder = Builder(name, opset)
        self.functions = functions or LocalFunctions(self.builder.model)
        self.values: dict[int, Value] = {}
        self.read = {id(traced) for traced in trace.outputs} | {id(state.after) for state in trace.states}
        for body in bodies.values():
            self.read |= {id(traced) for traced in body.outputs}
        for graph in (trace, *bodies.values()):
            for node in graph.all_nodes():
                self.read.update(map(id, node.inputs))
                for body in node.bodies:
                    self.read.update(map(id, body.outputs))

    def run(self, input_names: Sequence[str], output_names: Sequence[str]) -> Model:
        self._reserve(output_names)
        for index, traced in enumerate(self.trace.inputs):
            name = input_names[index] if index < len(input_names) else traced.name
            self.values[id(traced)] = self.builder.input(name, traced.spec)
        for state in self.trace.states:
            self.values[id(state.before)] = self.builder.input(f"past.{state.name}", state.before.spec)
        for node in self.trace.nodes:
            self._lower(node)
        for index, traced in enumerate(self.trace.outputs):
            self._output(traced, output_names[index] if index < len(output_names) else traced.name)
        for state in self.trace.states:
            self._output(state.after, f"present.{state.name}")
        self.builder.graph.meta[STATES] = [State(s.name, np.array(s.initial.numpy())) for s in self.trace.states]
        self.builder.graph.meta[TRACED] = self.names()
        return self.builder.model

    def _reserve(self, output_names: Sequence[str]) -> None:
        """Keeps the outputs' names free for them."""
        for index, traced in enumerate(self.trace.outputs):
            fresh_name(self.builder.graph, output_names[index] if index < len(output_names) else traced.name)
        for state in self.trace.states:
            fresh_name(self.builder.graph, f"present.{state.name}")

    def _lower(self, node: Any) -> None:
        b = self.builder
        inputs = [None if traced is None else self.value(traced) for traced in node.inputs]
        wanted = [id(traced) in self.read for traced in node.outputs]
        b.enter(node.operator.name, node.module_path, node.source, [traced.spec for traced in node.outputs], wanted)
        if id(node) in self.bodies and has_own_composite(node):
            results = self._call(node, inputs)
        elif id(node) in self.bodies:
            results = tuple(self.inline(self.bodies[id(node)], [value for value in inputs if value is not None]))
        elif node.bodies:
            results = CONTROL[node.operator.name](self, node)
        else:
            function = find_lowering(node.operator.name)
            results = function(b, node.operator, *inputs) if function is not None else _one_to_one(b, node.operator, inputs)
        for traced, value in zip(node.outputs, results if isinstance(results, tuple) else (results,), strict=True):
            if value is None:
                continue  # nothing reads it
            spec = pair_spec(traced.spec)
            value.type, value.shape = TensorType(onnx_dtype(spec)), symbolic_shape(spec.shape)
            b.define(value, spec)
            self.values[id(traced)] = value

    def _call(self, node: Any, inputs: Sequence[Value | None]) -> Any:
        """A node that calls the body as a function of the model."""
        body = self.bodies[id(node)]
        for inner in body.all_nodes():
            inner.source = inner.module_path = ""  # a body serves all places that call it
        written = TraceLowering(body, self.builder.opset, type(node.operator).__name__, self.bodies, self.functions).run((), ())
        name = self.functions.add(type(node.operator).__name__, written)
        given = [value for value in inputs if value is not None]
        return self.builder.op(name, *given, count=len(body.outputs), domain=DOMAIN)

    def inline(self, body: Any, inputs: Sequence[Value]) -> list[Value]:
        """Writes the nodes of a body where the builder is, with these values as its inputs. Returns its outputs."""
        for traced, value in zip(body.inputs, inputs, strict=True):
            self.values[id(traced)] = value
            self.builder.define(value, traced.spec)
        for node in body.nodes:
            self._lower(node)
        return [self.value(traced) for traced in body.outputs]

    def names(self) -> dict[str, Any]:
        """The traced result behind each value of the graph."""
        results = [traced for node in self.trace.nodes for traced in node.outputs if not is_complex(traced.spec)]
        values = [self.values.get(id(traced)) for traced in results]
        return {value.name or "": traced for value, traced in zip(values, results, strict=True) if value is not None}

    def value(self, traced: Any) -> Value:
        """The value of an operand; constants become initializers when they are first read."""
        value = self.values.get(id(traced))
        if value is None:
            array = np.asarray(traced.constant.numpy())
            if is_complex(traced.spec):
                array = np.stack([array.real, array.imag], -1)
            value = self.builder.weight(array, traced.qualified_name or traced.name)
            self.builder.specs[value] = pair_spec(traced.spec)
            self.values[id(traced)] = value
        return value

    def _output(self, traced: Any, name: str) -> None:
        """Gives an output its name. An input, a constant or a value that is an output already goes through an Identity."""
        value = self.value(traced)
        if value.producer() is None or value.is_graph_output():
            self.builder.enter("output", None, None, [traced.spec], [True])
            value = self.builder.op("Identity", value)
            value.type, value.shape = TensorType(onnx_dtype(traced.spec)), symbolic_shape(traced.spec.shape)
        value.name = name
        self.builder.graph.outputs.append(value)


def _one_to_one(b: Builder, operator: Operator, inputs: Sequence[Value | None]) -> Any:
    """The form `"LeakyRelu(alpha=slope)"`: inputs in order, attributes from fields."""
    assert isinstance(type(operator).onnx, str)
    name, pairs = parse_onnx(str(type(operator).onnx))
    attributes = {attribute: _attribute(getattr(operator, field)) for attribute, field in pairs.items()}
    return b.op(name, *inputs, count=operator.outputs, **attributes)


def _attribute(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_attribute(entry) for entry in value]
    return int(value) if isinstance(value, (bool, int)) else value
