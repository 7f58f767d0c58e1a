# SPDX-License-Identifier: Apache-2.0
"""Writes the modules of a model as ONNX functions: the graph calls them as the modules call each other, equal ones are there once.

Weights are operands of a function, so that the layers of a stack share one body; small integers and lone numbers stand inside.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from penlight_export.graph import (
    MODULE_PATH,
    Graph,
    Model,
    Node,
    Value,
    add_constant,
    all_graphs,
    all_nodes,
    bodies_of,
    constant_of,
    make_node,
    separate_names,
)
from penlight_export.onnx.local_functions import LocalFunctions

DOMAIN = "penlight.modules"
_SMALL = 64  # integers


def box_modules(model: Model, classes: Mapping[str, str]) -> int:
    """Puts the nodes of each module into a function, innermost modules first. Returns the number of calls.

    A module is what stands together in the graph; one that is called twice, or that a pass has torn apart, is called for each part.

    Args:
        model: with module paths on its nodes; changed in place.
        classes: names of the functions by module path; modules that are not in it, such as lists of modules, get none.
    """
    functions = LocalFunctions(model, DOMAIN)
    calls = 0
    for depth in range(max((len(_parts(node)) for node in model.graph), default=0), 0, -1):
        for path, nodes in _groups(model.graph, depth):
            if ".".join(path) in classes:
                calls += _box(model, functions, nodes, path, classes[".".join(path)])
    separate_names(model)
    return calls


def _groups(graph: Graph, depth: int) -> list[tuple[tuple[str, ...], list[Node]]]:
    """Nodes that stand together and are in one module of this depth."""
    groups = itertools.groupby(graph, lambda node: _parts(node)[:depth])
    return [(path, list(nodes)) for path, nodes in groups if len(path) == depth]


def _parts(node: Node) -> tuple[str, ...]:
    path = node.metadata_props.get(MODULE_PATH, "")
    return tuple(path.split(".")) if path else ()


def _box(model: Model, functions: LocalFunctions, nodes: list[Node], path: tuple[str, ...], name: str) -> bool:
    """Moves nodes into a function and calls it in their place. False where a branch hands on a value from around it."""
    members = {inner for node in nodes for inner in _with_bodies(node)}
    given = _operands(nodes, members)
    if given is None:
        return False
    results = [value for node in nodes for value in node.outputs if _is_read_outside(value, members)]
    body = Graph([], [], nodes=(), opset_imports=dict(model.graph.opset_imports), name=name)
    prefix = f"{'.'.join(path)}."
    operands = _bind(body, given, members, prefix)
    call = make_node(name, operands, domain=DOMAIN, output_names=[value.name or "" for value in results])
    call.name = ".".join(path)
    if path[:-1]:
        call.metadata_props[MODULE_PATH] = ".".join(path[:-1])
    model.graph.insert_before(nodes[0], call)
    for value, result in zip(results, call.outputs, strict=True):
        _hand_over(model, value, result, members)
    model.graph.remove(nodes)
    body.extend(nodes)
    body.outputs.extend(results)
    _forget_names(body)
    call.op_type = functions.add(name, Model(body, ir_version=model.ir_version))
    _name_inputs(body, operands, prefix)  # of a body that is there already, in vain
    return True


def _with_bodies(node: Node) -> list[Node]:
    return [node, *(inner for body in bodies_of(node) for inner in all_nodes(body))]


def _operands(nodes: Sequence[Node], members: set[Node]) -> list[Value] | None:
    """What the nodes read from outside, in order; None where a body's output is such a value."""
    graphs = [graph for node in nodes for body in bodies_of(node) for graph in all_graphs(body)]
    own = {value for graph in graphs for value in graph.inputs}
    found: dict[Value, None] = {}
    for node in nodes:
        for inner in _with_bodies(node):
            for value in inner.inputs:
                if value is not None and value not in own and value.producer() not in members:
                    found[value] = None
    if any(value not in own and value.producer() not in members for graph in graphs for value in graph.outputs):
        return None
    return list(found)


def _is_read_outside(value: Value, members: set[Node]) -> bool:
    return value.is_graph_output() or any(use.node not in members for use in value.uses())


def _bind(body: Graph, given: Sequence[Value], members: set[Node], prefix: str) -> list[Value]:
    """Replaces what the nodes read by inputs and constants of the body. Returns the operands of the call."""
    operands: list[Value] = []
    for value in given:
        if _is_constant(value, prefix):
            array = constant_of(value)
            assert array is not None
            inner = add_constant(body, array, f"c{len(body.initializers)}")
        else:
            inner = Value(name=f"i{len(operands)}", type=value.type)
            body.inputs.append(inner)
            operands.append(value)
        for node, index in list(value.uses()):
            if node in members:
                node.replace_input_with(index, inner)
    return operands


def _name_inputs(body: Graph, operands: Sequence[Value], prefix: str) -> None:
    """A weight is called as the module calls it; one that belongs to another module as well, by its last part."""
    taken = {value.name for node in all_nodes(body) for value in node.outputs}
    for inner, value in zip(body.inputs, operands, strict=True):
        name = value.name or ""
        short = "x" if not value.is_initializer() else name.removeprefix(prefix) if name.startswith(prefix) else name.split(".")[-1]
        inner.name = next(found for found in (short, *(f"{short}_{k}" for k in range(2, len(taken) + 3))) if found not in taken)
        taken.add(inner.name)


def _is_constant(value: Value, prefix: str) -> bool:
    """What belongs to the code rather than to the weights."""
    array = value.const_value
    if array is None or not value.is_initializer() or value.is_graph_input() or (value.name or "").startswith(prefix):
        return False
    return array.size == 1 or (array.dtype.is_integer() and array.size <= _SMALL)


def _hand_over(model: Model, value: Value, result: Value, members: set[Node]) -> None:
    """Lets everything outside read the call's result, which has the name that the value had."""
    result.type, result.shape = value.type, value.shape
    for node, index in list(value.uses()):
        if node not in members:
            node.replace_input_with(index, result)
    if value.is_graph_output():
        for graph in all_graphs(model.graph):
            for index, output in enumerate(graph.outputs):
                if output is value:
                    graph.outputs[index] = result


def _forget_names(body: Graph) -> None:
    """Names, shapes and places of calls differ from layer to layer: bodies that compute the same get the same text."""
    for number, node in enumerate(all_nodes(body)):
        node.name = ""
        node.metadata_props.clear()
        for place, value in enumerate(node.outputs):
            if value.name:
                value.name = f"v{number}.{place}"
            value.shape = None
