# SPDX-License-Identifier: Apache-2.0
"""Records composites as graphs, for the sizes and dtypes that a traced operator has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from penlight.autograd import no_grad
from penlight.tape import mode
from penlight.tensor import Tensor, from_array
from penlight.tracing import TraceGraph, Tracer
from penlight_export.onnx.composites.registry import find_composite

Bodies = dict[int, TraceGraph]


def record_bodies(trace: TraceGraph, is_lowered: Callable[[Any], bool]) -> Bodies:
    """The graph of each node that has a composite, by the node's id; bodies in which composites occur are recorded as well.

    Args:
        is_lowered: whether an operator has an ONNX form of its own, so that its composite is not wanted.
    """
    bodies: Bodies = {}
    for node in trace.all_nodes():
        function = None if node.bodies or is_lowered(node.operator) else find_body(node.operator)
        if function is not None:
            graph = _record(node, function, trace)
            bodies[id(node)] = graph
            bodies |= record_bodies(graph, is_lowered)
    return bodies


def find_body(operator: Any) -> Callable[..., Any] | None:
    """A function of tensors with the result of the operator: its own `composite`, or one of the table."""
    own = getattr(operator, "composite", None)
    if own is not None:
        return lambda *tensors: own(*tensors)
    function = find_composite(operator.name)
    return None if function is None else lambda *tensors: function(operator, *tensors)


def all_nodes(trace: TraceGraph, bodies: Bodies) -> Iterator[Any]:
    """Yields the nodes that are written in the end: those of a composite in place of its operator."""
    for node in trace.all_nodes():
        if id(node) in bodies:
            yield from all_nodes(bodies[id(node)], bodies)
        else:
            yield node


def _record(node: Any, function: Callable[..., Any], trace: TraceGraph) -> TraceGraph:
    tracer = Tracer(function)
    tracer.graph.symbols = dict(trace.symbols)
    tensors: list[Tensor | None] = []
    for number, value in enumerate(node.inputs):
        tensors.append(None if value is None else _example(tuple(map(int, value.spec.shape)), value.spec.dtype))
        if value is not None:
            tracer.add_input(f"operand_{number}", tensors[-1], value.spec.shape)
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
