# SPDX-License-Identifier: Apache-2.0
"""Computes a trace again, operator by operator, to look at the values in the middle of a module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from penlight.ops.dispatch import run_forward
from penlight_export.engines import Arrays
from penlight_export.layers import Layer


class Replay:
    """The eager side of a comparison layer by layer; it runs at the sizes of the trace.

    Args:
        trace: a `penlight.tracing.TraceGraph`.
        names: which traced result stands behind which value of the lowered graph.
    """

    def __init__(self, trace: Any, names: Mapping[str, Any]) -> None:
        self.trace = trace
        self._names = {id(traced): name for name, traced in names.items()}

    def layers(self) -> list[Layer]:
        """Every result that has a name in the lowered graph, in order."""
        return [
            Layer(self._names[id(traced)], node.operator.name, node.module_path, node.source)
            for node in self.trace.nodes
            for traced in node.outputs
            if id(traced) in self._names
        ]

    def values(self, names: list[str], inputs: Mapping[str, np.ndarray]) -> Arrays:
        """Runs all operators and returns the named results."""
        known = {id(traced): inputs[traced.name] for traced in self.trace.inputs}
        known |= {id(state.before): state.initial._data for state in self.trace.states}
        _run_nodes(self.trace, known)
        wanted = set(names)
        results = [traced for node in self.trace.nodes for traced in node.outputs if self._names.get(id(traced)) in wanted]
        return {self._names[id(traced)]: np.asarray(known[id(traced)]) for traced in results}


def _run_nodes(graph: Any, known: dict[int, Any]) -> None:
    """Computes every node; `known` has the values by the id of what they are in the trace."""
    for node in graph.nodes:
        operands = [None if t is None else _operand(t, known) for t in node.inputs]
        if node.bodies:
            result = _CONTROL[node.operator.name](node, operands, known)
        else:
            result = run_forward(node.operator, operands)
        known.update(zip(map(id, node.outputs), result if isinstance(result, (tuple, list)) else (result,), strict=True))


def _operand(traced: Any, known: Mapping[int, Any]) -> Any:
    return known[id(traced)] if traced.constant is None else traced.constant.detach().numpy()


def _run_body(body: Any, arguments: Sequence[Any], known: dict[int, Any]) -> list[Any]:
    known.update(zip(map(id, body.inputs), arguments, strict=True))
    _run_nodes(body, known)
    return [_operand(traced, known) for traced in body.outputs]


def _run_cond(node: Any, operands: list[Any], known: dict[int, Any]) -> list[Any]:
    return _run_body(node.bodies[0 if operands[0] else 1], (), known)


def _run_while(node: Any, values: list[Any], known: dict[int, Any]) -> list[Any]:
    test, step = node.bodies
    while _run_body(test, values, known)[0]:
        values = _run_body(step, values, known)
    return values


def _run_scan(node: Any, operands: list[Any], known: dict[int, Any]) -> list[Any]:
    operator, (step,) = node.operator, node.bodies
    carry, cut, rows = operands[: operator.carried], operands[operator.carried :], []
    order = range(int(operator.length))
    for index in reversed(order) if operator.reverse else order:
        result = _run_body(step, [*carry, *(array[index] for array in cut)], known)
        carry = result[: operator.carried]
        rows.append(result[operator.carried :])
    columns = zip(*(rows[::-1] if operator.reverse else rows), strict=True)
    return [*carry, *(np.stack(column) for column in columns)]


_CONTROL = {"cond": _run_cond, "while_loop": _run_while, "scan": _run_scan}
