# SPDX-License-Identifier: Apache-2.0
"""Records composites as graphs, for the sizes and dtypes that a traced operator has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from penlight.autograd import no_grad
from penlight.errors import PenlightError
from penlight.symbolic import SymInt, contains_symbol, field_names
from penlight.tape import mode
from penlight.tensor import Tensor, from_array
from penlight.tracing import TraceGraph, Tracer
from penlight.unify import unify
from penlight_export.errors import UnsupportedFeatureError
from penlight_export.onnx.composites.complex_pairs import COMPLEX, pair_spec, paired
from penlight_export.onnx.composites.registry import find_composite

Bodies = dict[int, TraceGraph]


def record_bodies(trace: TraceGraph, is_lowered: Callable[[Any], bool]) -> Bodies:
    """The graph of each node that has a composite, by the node's id; bodies in which composites occur are recorded as well.

    Args:
        is_lowered: whether an operator has an ONNX form of its own, so that its composite is not wanted.
    """
    bodies: Bodies = {}
    for node in trace.all_nodes():
        if not node.bodies and find_body(node) is not None and (touches_complex(node) or not is_lowered(node.operator)):
            graph = _record(node, trace)
            bodies[id(node)] = graph
            bodies |= record_bodies(graph, is_lowered)
    return bodies


def touches_complex(node: Any) -> bool:
    """Whether an input or output is complex, so that the ONNX form of the operator does not do."""
    for value in (*node.inputs, *node.outputs):  # noqa: SIM110  any(...) would make a generator for each node of a trace
        if value is not None and value.spec.dtype.kind == COMPLEX:
            return True
    return False


def has_composite(operator: Any) -> bool:
    """Whether an operator has a composite of its own, or one in the table."""
    return hasattr(operator, "composite") or find_composite(operator.name) is not None


def has_own_composite(node: Any) -> bool:
    """Whether a user's class defines the composite, so that the model gets a function of its name."""
    return hasattr(node.operator, "composite") and not touches_complex(node)


def find_body(node: Any, operator: Any = None) -> Callable[..., Any] | None:
    """A function of tensors with the result of the node: the operator's own `composite`, or one of the tables.

    Args:
        operator: instead of the node's, with other sizes.
    """
    operator = operator or node.operator
    if touches_complex(node):
        return paired(operator, [None if value is None else value.spec for value in node.inputs])
    function = find_composite(operator.name)
    own = getattr(operator, "composite", None)
    if own is not None or function is None:
        return own
    return lambda *tensors: function(operator, *tensors)


def all_nodes(trace: TraceGraph, bodies: Bodies) -> Iterator[Any]:
    """Yields the nodes that are written in the end: those of a composite in place of its operator."""
    for node in trace.all_nodes():
        if id(node) in bodies:
            yield from all_nodes(bodies[id(node)], bodies)
        else:
            yield node


def _record(node: Any, trace: TraceGraph) -> TraceGraph:
    """The graph at the sizes of the trace, and that it is the same one at others."""
    graph = _run(node, find_body(node), trace.symbols, lambda size: size)
    if contains_symbol([node.operator, *(value.spec for value in node.inputs if value is not None)]):
        others = {name: 2 * size + 2 * number + 1 for number, (name, size) in enumerate(trace.symbols.items())}
        try:
            unify(graph, _run(node, find_body(node, _at(node.operator, others)), others, lambda size: _at(size, others)))
        except (PenlightError, ValueError, IndexError) as error:
            raise UnsupportedFeatureError(
                f"{node.source}: {node.operator.name} has an ONNX form for fixed sizes only; "
                f"leave its sizes out of dynamic ({error})"
            ) from error
    return graph


def _at(value: Any, sizes: Mapping[str, int]) -> Any:
    """A size, or what holds sizes at any depth, with other numbers for the names."""
    if isinstance(value, SymInt):
        return SymInt(int(value.evaluate(sizes)), value.expression)
    if isinstance(value, (tuple, list)):
        return type(value)(_at(part, sizes) for part in value)
    if contains_symbol(value):
        return type(value)(**{name: _at(getattr(value, name), sizes) for name in field_names(value)})
    return value


def _run(node: Any, function: Any, symbols: Mapping[str, int], size_of: Callable[[Any], Any]) -> TraceGraph:
    tracer = Tracer(function)
    tracer.graph.symbols = dict(symbols)
    tensors: list[Tensor | None] = []
    for number, value in enumerate(node.inputs):
        if value is None:
            tensors.append(None)
            continue
        spec = pair_spec(value.spec)
        shape = tuple(map(size_of, spec.shape))
        example = _example(tuple(map(int, shape)), spec.dtype)
        tensors.append(example)
        tracer.add_input(f"operand_{number}", example, shape)
    mode.tracer = tracer
    try:
        with no_grad(), np.errstate(all="ignore"):  # the values are none of the user's
            result = function(*tensors)
        graph = tracer.finish(tuple(result) if isinstance(result, (tuple, list)) else result)
    finally:
        mode.tracer = None
        tracer.close()
    for inner in graph.all_nodes():
        inner.source, inner.module_path = node.source, node.module_path
    return graph


def _example(shape: tuple[int, ...], dtype: Any) -> Tensor:
    """Zeros of integers, which are indices everywhere; else numbers in [0.5, 1.5)."""
    if dtype.numpy.kind in "iub":
        return from_array(np.zeros(shape, dtype.numpy))
    return from_array(np.random.default_rng(0).uniform(0.5, 1.5, shape).astype(dtype.numpy))
