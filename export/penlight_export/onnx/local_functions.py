# SPDX-License-Identifier: Apache-2.0
"""Functions of the model: one node where they are called, their body once beside the graph."""

from __future__ import annotations

from penlight_export.graph import Function, Graph, Model, Value, make_node, to_proto

DOMAIN = "custom"


class LocalFunctions:
    """The functions of a model; equal bodies are stored once."""

    def __init__(self, model: Model, domain: str = DOMAIN) -> None:
        self.model, self.domain = model, domain
        self._names: dict[bytes, str] = {}

    def add(self, name: str, body: Model) -> str:
        """Stores a body, unless an equal one is there. Returns the function's name, with a number where the name is taken."""
        content = to_proto(body).graph.SerializeToString(deterministic=True)
        if content not in self._names:
            taken = set(self._names.values())
            self._names[content] = next(
                found for found in (name, *(f"{name}_{k}" for k in range(2, len(taken) + 3))) if found not in taken
            )
            self._define(self._names[content], body.graph)
        return self._names[content]

    def _define(self, name: str, graph: Graph) -> None:
        _constants_as_nodes(graph)
        self.model.graph.opset_imports.setdefault(self.domain, 1)
        function = Function(self.domain, name, graph=graph, attributes=[])
        self.model.functions[function.identifier()] = function


def _constants_as_nodes(graph: Graph) -> None:
    """A function has no initializers: its constants are nodes."""
    first = next(iter(graph), None)
    for name, value in list(graph.initializers.items()):
        node = make_node("Constant", [], {"value": value.const_value}, output_names=[name])
        made: Value = node.outputs[0]
        made.type, made.shape = value.type, value.shape
        for user, index in list(value.uses()):
            user.replace_input_with(index, made)
        del graph.initializers[name]
        if first is None:
            graph.append(node)
        else:
            graph.insert_before(first, node)
