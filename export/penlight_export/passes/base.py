# SPDX-License-Identifier: Apache-2.0
"""What a pass is, and how a list of passes runs over a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from typing import NamedTuple

from penlight_export.errors import PassError
from penlight_export.graph import (
    BODY_OPERATORS,
    FUSED_DOMAIN,
    NO_BODIES,
    Graph,
    Model,
    Node,
    Value,
    all_graphs,
    all_nodes,
    all_values,
    bodies_of,
    describe,
    remove_unused_constants,
    separate_names,
)

_MADE_BY = "penlight.made_by"


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


def require_fused(model: Model, operators: Iterable[str], holds: Callable[[Node], bool], promise: str) -> None:
    """For `ensures`: raises PassError unless the promise holds for each node of these operators of domain ai.penlight."""
    names = frozenset(operators)
    _require((node for node in all_nodes(model.graph) if node.op_type in names and node.domain == FUSED_DOMAIN), holds, promise)


def made_by(made: Pass | type[Pass], node: Node) -> Node:
    """Notes in the node's meta which pass wrote it, for `require_made`: others of its operator are the user's, right or wrong."""
    node.meta[_MADE_BY] = made.name
    return node


def require_made(made: Pass, model: Model, holds: Callable[[Node], bool], promise: str) -> None:
    """The same for each node of ONNX's operators that this pass wrote."""
    _require((node for node in all_nodes(model.graph) if node.meta.get(_MADE_BY) == made.name), holds, f"{made.name}: {promise}")


def _require(nodes: Iterable[Node], holds: Callable[[Node], bool], promise: str) -> None:
    for node in nodes:
        if not holds(node):
            raise PassError(f"{promise}; not so {node.op_type} {describe(node)}")


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
    passes = tuple(passes)
    present = {node.op_type for node in all_nodes(model.graph)}
    if all(each.operators is not None and present.isdisjoint(each.operators) for each in passes):
        return [PassResult(each.name, 0) for each in passes]
    try:
        results = _run(model, passes)
    finally:
        model.graph.meta.pop(NO_BODIES, None)
    if any(result.changes for result in results):
        separate_names(model)
    return results


def _run(model: Model, passes: Iterable[Pass]) -> list[PassResult]:
    results = []
    interface = _interface(model.graph)
    present = _checked(model, "before the first pass")
    share_names(model)
    for each in passes:
        each.requires(model)
        if each.operators is not None and present.isdisjoint(each.operators):
            results.append(PassResult(each.name, 0))
            continue
        changes = each.run(model)
        if changes:
            present = _checked(model, f"after pass {each.name}")
            for graph in all_graphs(model.graph):
                remove_unused_constants(graph)
            if _interface(model.graph) != interface:
                raise PassError(
                    f"pass {each.name} changed the inputs or outputs of the model from {interface} to {_interface(model.graph)}"
                )
        each.ensures(model)
        results.append(PassResult(each.name, changes))
    return results


def _checked(model: Model, when: str) -> set[str]:
    """The operators of a well-formed model; notes in its meta that they have no bodies, so that nobody need look for any."""
    model.graph.meta.pop(NO_BODIES, None)
    present = check_graph(model.graph, when)
    if present.operators.isdisjoint(BODY_OPERATORS) and present.domains <= {"", FUSED_DOMAIN}:
        model.graph.meta[NO_BODIES] = True
    return present.operators


def share_names(model: Model) -> None:
    """Lets all bodies take new names from one pool: a value of a body must not have the name of one around it."""
    main, *bodies = all_graphs(model.graph)
    if bodies:
        taken = main.meta["taken_names"] = {value.name: 1 for graph in (main, *bodies) for value in all_values(graph)}
        for body in bodies:
            body.meta["taken_names"] = taken


class Present(NamedTuple):
    """What nodes a graph has, with those of bodies."""

    operators: set[str]
    domains: set[str]


def check_graph(graph: Graph, when: str, outer: Set[Value | None] = frozenset()) -> Present:
    """Checks that names are unique, that every value is defined before its use and that outputs exist, in bodies as well.

    Raises:
        PassError: the graph is not well-formed; the message starts with `when`.
    """
    present = Present(set(), set())
    own = set(graph.inputs) | set(graph.initializers.values())
    names = {value.name for value in own}
    if len(names) != len(own):
        raise PassError(f"{when}: two inputs or initializers have the same name")
    defined: set[Value | None] = {None, *own, *outer}  # an absent input is no value
    operators, domains = present
    for node in graph:
        operator, outputs = node.op_type, node.outputs
        operators.add(operator)
        domains.add(node.domain)
        if operator in BODY_OPERATORS:
            for body in bodies_of(node):
                inner = check_graph(body, when, defined)
                operators |= inner.operators
                domains |= inner.domains
        if not defined.issuperset(node.inputs):
            unknown = next(value for value in node.inputs if value is not None and value not in defined)
            raise PassError(f"{when}: {operator} {describe(node)} reads '{unknown.name}' before it is computed")
        for value in outputs:
            name = value.name
            if name and name in names:
                raise PassError(f"{when}: two values are called '{name}'")
            names.add(name)
        defined.update(outputs)
    for value in graph.outputs:
        if value not in defined:
            raise PassError(f"{when}: output '{value.name}' is never computed")
    return present


def _interface(graph: Graph) -> tuple[tuple[str | None, ...], tuple[str | None, ...]]:
    return tuple(value.name for value in graph.inputs), tuple(value.name for value in graph.outputs)
