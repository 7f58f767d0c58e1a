# SPDX-License-Identifier: Apache-2.0
"""Gradient of ai.onnx.preview.training: replaced by the operators that compute it, when a file is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import penlight as pl
from penlight.ops.operator import Gap
from penlight.tape import mode
from penlight.tracing import trace
from penlight_export.errors import InvalidModelError, UnsupportedFeatureError
from penlight_export.graph import (
    Graph,
    Model,
    Node,
    Value,
    add_constant,
    clone,
    constant_of,
    describe,
    find_attribute,
    fresh_name,
    graph_of,
    infer_shapes,
    make_node,
    replace_node,
)
from penlight_export.imported.build import NEWEST, module_of
from penlight_export.onnx.importer import TRAINING_DOMAIN
from penlight_export.onnx.lower import lower_trace
from penlight_export.onnx.opsets import ir_version
from penlight_export.onnx.upgrade import upgrade
from penlight_export.passes import RemoveDeadCode, run_passes

_EXAMPLE = 2  # size of a dimension that the file leaves open


def expand_gradients(model: Model) -> int:
    """Replaces each Gradient node of the main graph, in place, and lifts the model to operator set 21 where there is one.

    The part of the graph between the node's inputs and its `y` is imported as a module, differentiated operator by operator under
    a trace, and written back as ONNX. Returns the number of replaced nodes.

    Raises:
        InvalidModelError: a node names a value that is not in the graph.
        UnsupportedOperatorsError, UnsupportedFeatureError: an operator on the way has no form in the framework or no gradient.
    """
    nodes = [node for node in model.graph if node.domain == TRAINING_DOMAIN and node.op_type == "Gradient"]
    if not nodes:
        return 0
    infer_shapes(model)
    upgrade(model)
    for node in nodes:
        _expand(model, node)
    if not any(node.domain == TRAINING_DOMAIN for node in model.graph):
        del model.graph.opset_imports[TRAINING_DOMAIN]
    model.ir_version = max(model.ir_version, ir_version(model.opset_imports[""]))
    return len(nodes)


def _expand(model: Model, node: Node) -> None:
    names = [*find_attribute(node, "xs", []), *find_attribute(node, "zs", [])]
    count = len(find_attribute(node, "xs", []))
    part, others = _part(model, names, find_attribute(node, "y"), node)
    module = module_of(part, f"the part that {describe(node)} differentiates")

    def gradients(*inputs: Any) -> Any:
        start = len(mode.tracer.graph.nodes)
        y = module(*inputs)
        return _backward(mode.tracer, mode.tracer.graph.nodes[start:], y, inputs[:count], node)

    values = [_value(model.graph, name) for name in others]
    given = [*node.inputs[: len(names)], *values]
    examples, dynamic = _examples(module.input_names, given)
    graph = trace(gradients, examples, dynamic, module.input_names)
    opset = min(model.opset_imports[""], NEWEST)
    _splice(node, lower_trace(graph, opset).graph, given)


def _part(model: Model, names: Sequence[str], target: str, node: Node) -> tuple[Model, list[str]]:
    """The model that computes `target` of the named values, and the other inputs of the model that it reads."""
    part = clone(model)
    graph = part.graph
    inputs = []
    for name in names:
        value = _value(graph, name, node)
        if value in graph.inputs:
            inputs.append(value)
            continue
        fresh = Value(name=fresh_name(graph, f"{name}.given"), shape=value.shape, type=value.type)
        value.replace_all_uses_with(fresh)
        inputs.append(fresh)
    graph.outputs[:] = [_value(graph, target, node)]
    others = [value for value in graph.inputs if not any(value is each for each in inputs)]
    graph.inputs[:] = [*inputs, *others]
    run_passes(part, (RemoveDeadCode(),))
    read = [value for value in others if value.uses()]
    graph.inputs[:] = [*inputs, *read]
    return part, [value.name or "" for value in read]


def _value(graph: Graph, name: str, node: Node | None = None) -> Value:
    for value in (*graph.inputs, *graph.initializers.values(), *(each for inner in graph for each in inner.outputs)):
        if value.name == name:
            return value
    assert node is not None
    raise InvalidModelError(f"Gradient node {describe(node)} names the value '{name}', which the graph does not have")


def _examples(names: Sequence[str], values: Sequence[Value | None]) -> tuple[tuple[Any, ...], dict[str, dict[int, str]]]:
    """Tensors to trace with, and which of their dimensions vary."""
    examples, dynamic = [], {}
    for name, value in zip(names, values, strict=True):
        if value is None or value.shape is None or value.dtype is None:
            raise UnsupportedFeatureError(f"the type of '{name}', which a Gradient node reads, cannot be inferred; declare it")
        open_ = {k: size.value or f"{name}_{k}" for k, size in enumerate(value.shape) if not isinstance(size, int)}
        shape = [size if isinstance(size, int) else _EXAMPLE for size in value.shape]
        numbers = np.random.default_rng(0).uniform(0.5, 1.5, shape)
        examples.append(pl.tensor(numbers.astype(value.dtype.numpy())))
        if open_:
            dynamic[name] = {k: "".join(c if c.isalnum() else "_" for c in text) for k, text in open_.items()}
    return tuple(examples), dynamic


def _backward(tracer: Any, nodes: Sequence[Any], y: Any, xs: Sequence[Any], where: Node) -> tuple[Any, ...]:
    """The gradients of the sum of `y`, by each operator's own rule; what the rules compute is recorded as well."""
    tensors = {id(t._traced): t for t in tracer.kept if t._traced is not None}
    found: dict[int, Any] = {}
    if y._traced is not None:
        found[id(y._traced)] = pl.ones_like(y)
    for node in reversed(list(nodes)):
        grads = [found.get(id(value)) for value in node.outputs]
        if all(grad is None for grad in grads):
            continue
        operator = node.operator
        if node.bodies or isinstance(type(operator).gradient, Gap):
            raise UnsupportedFeatureError(
                f"Gradient node {describe(where)} goes through {operator.name}, which has no gradient here"
            )
        inputs = [None if value is None else _tensor(value, tensors) for value in node.inputs]
        outputs = tuple(tensors[id(value)] for value in node.outputs)
        results = operator.vjp(grads[0], outputs[0], *inputs) if len(grads) == 1 else operator.vjp(tuple(grads), outputs, *inputs)
        for value, grad in zip(node.inputs, results, strict=False):
            if grad is not None and value is not None and value.constant is None:
                before = found.get(id(value))
                found[id(value)] = grad if before is None else before + grad
    return tuple(found[id(x._traced)] if id(x._traced) in found else pl.zeros_like(x) for x in xs)


def _tensor(value: Any, tensors: dict[int, Any]) -> Any:
    """A traced value as a rule takes it: some rules compute nothing for tensors that need no gradient."""
    if value.constant is not None:
        return value.constant
    t = tensors[id(value)]
    if t.dtype.is_floating_point:
        t.requires_grad = True
    return t


def _splice(node: Node, inner: Graph, given: Sequence[Value | None]) -> None:
    """Puts the nodes of a graph in the place of one node."""
    graph = graph_of(node)
    base = node.outputs[0].name or "gradient"
    for value, source in zip(list(inner.inputs), given, strict=True):
        assert source is not None
        value.replace_all_uses_with(source, replace_graph_outputs=True)
    for name, value in list(inner.initializers.items()):
        array = constant_of(value)
        assert array is not None
        own = graph.initializers.get(name)
        if own is None or (mine := constant_of(own)) is None or not np.array_equal(mine, array):
            own = add_constant(graph, array, f"{base}.{name}")
        value.replace_all_uses_with(own, replace_graph_outputs=True)
    nodes, results = list(inner), []
    outputs = list(inner.outputs)
    inner.outputs.clear()
    inner.remove(nodes)
    for each in nodes:
        each.name = f"{base}.{each.name or each.op_type}"
        for value in each.outputs:
            value.name = fresh_name(graph, f"{base}.{value.name}")
    for value in outputs:
        same_node = make_node("Identity", [value], output_names=[""])  # two outputs may be one value, or an input
        same_node.outputs[0].name = None
        nodes.append(same_node)
        results.append(same_node.outputs[0])
    replace_node(node, nodes, [*results, *[None] * (len(node.outputs) - len(results))])
