# SPDX-License-Identifier: Apache-2.0
"""What a pass is, and how a list of passes runs over a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Set
from dataclasses import dataclass

from penlight_export.errors import PassError
from penlight_export.graph import (
    BODY_OPERATORS,
    Graph,
    Model,
    Value,
    all_graphs,
    all_nodes,
    all_values,
    bodies_of,
    describe,
    remove_unused_constants,
    separate_names,
)


class Pass(ABC):
    """A rewrite of a model in place that keeps every output's numbers, linear in the number of nodes.

    `requires` and `ensures` say what must hold before and after beyond a well-formed graph, which is always checked. A pass that
    is `edge_only` writes forms of the edge runtime, and runs for .pen files alone; one that is `onnx_only` writes what onnxruntime
    runs faster.

    One that names `operators` has nothing to do in a model that has none of them, and does not walk over it.
    """

    name: str
    edge_only: bool = False
    onnx_only: bool = False
    finds_newer: bool = False  # has more to do in an optimised graph when the operator set is raised
    operators: frozenset[str] | None = None
    kernels: tuple[str, ...] = ()  # of domain ai.penlight, which the runtime must have

    def requires(self, model: Model) -> None:  # noqa: B027  # most passes need nothing
        """Raises PassError when the model is not in a form that this pass can work on."""

    @abstractmethod
    def run(self, model: Model) -> int:
        """Rewrites the model and returns the number of changes."""

    def ensures(self, model: Model) -> None:  # noqa: B027  # as above
        """Raises PassError when the result lacks what the pass promises."""


def require_opset(model: Model, minimum: int, name: str) -> None:
    """The pass reads forms of operators that came with this operator set; `onnx.upgrade` brings older models there."""
    version = model.opset_imports.get("", minimum)
    if version < minimum:
        raise PassError(f"pass {name} needs operator set {minimum} or above, the model has {version}; upgrade it first")


@dataclass(frozen=True)
class PassResult:
    """How much one pass changed."""

    name: str
    changes: int


def portable(passes: Iterable[Pass]) -> tuple[Pass, ...]:
    """The passes whose result is plain ONNX."""
    return tuple(each for each in passes if not each.edge_only)


def run_passes(model: Model, passes: Iterable[Pass]) -> list[PassResult]:
    """Runs passes in order over one model, in place.

    Raises:
        PassError: a condition before or after a pass does not hold; the message names the pass.
    """
    passes, results = tuple(passes), []
    present = _operators(model)
    if all(each.operators is not None and present.isdisjoint(each.operators) for each in passes):
        return [PassResult(each.name, 0) for each in passes]
    interface = _interface(model.graph)
    check_graph(model.graph, "before the first pass")
    share_names(model)
    for each in passes:
        each.requires(model)
        if each.operators is not None and present.isdisjoint(each.operators):
            results.append(PassResult(each.name, 0))
            continue
        changes = each.run(model)
        if changes:
            present = _operators(model)
            for graph in all_graphs(model.graph):
                remove_unused_constants(graph)
            check_graph(model.graph, f"after pass {each.name}")
            if _interface(model.graph) != interface:
                raise PassError(
                    f"pass {each.name} changed the inputs or outputs of the model from {interface} to {_interface(model.graph)}"
                )
        each.ensures(model)
        results.append(PassResult(each.name, changes))
    if any(result.changes for result in results):
        separate_names(model)
    return results


def share_names(model: Model) -> None:
    """Lets all bodies take new names from one pool: a value of a body must not have the name of one around it."""
    main, *bodies = all_graphs(model.graph)
    if bodies:
        taken = main.meta["taken_names"] = {value.name: 1 for graph in (main, *bodies) for value in all_values(graph)}
        for body in bodies:
            body.meta["taken_names"] = taken


def check_graph(graph: Graph, when: str, outer: Set[Value] = frozenset()) -> None:
    """Checks that names are unique, that every value is defined before its use and that outputs exist, in bodies as well."""
    own = set(graph.inputs) | set(graph.initializers.values())
    names = {value.name for value in own}
    if len(names) != len(own):
        raise PassError(f"{when}: two inputs or initializers have the same name")
    defined = own | outer
    for node in graph:
        for body in bodies_of(node) if node.op_type in BODY_OPERATORS else ():
            check_graph(body, when, defined)
        for value in node.inputs:
            if value is not None and value not in defined:
                raise PassError(f"{when}: {node.op_type} {describe(node)} reads '{value.name}' before it is computed")
        for value in node.outputs:
            if value.name and value.name in names:
                raise PassError(f"{when}: two values are called '{value.name}'")
            names.add(value.name)
        defined.update(node.outputs)
    for value in graph.outputs:
        if value not in defined:
            raise PassError(f"{when}: output '{value.name}' is never computed")


def _operators(model: Model) -> set[str]:
    return {node.op_type for node in all_nodes(model.graph)}


def _interface(graph: Graph) -> tuple[tuple[str | None, ...], tuple[str | None, ...]]:
    return tuple(value.name for value in graph.inputs), tuple(value.name for value in graph.outputs)
