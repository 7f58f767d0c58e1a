# SPDX-License-Identifier: Apache-2.0
"""Computes a trace again, operator by operator, to look at the values in the middle of a module."""

from __future__ import annotations

from collections.abc import Mapping
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
        wanted, found = set(names), {}
        for node in self.trace.nodes:
            result = run_forward(node.operator, [None if t is None else self._operand(t, known) for t in node.inputs])
            for traced, array in zip(node.outputs, result if isinstance(result, tuple) else (result,), strict=True):
                known[id(traced)] = array
                if self._names.get(id(traced)) in wanted:
                    found[self._names[id(traced)]] = np.asarray(array)
        return found

    def _operand(self, traced: Any, known: Mapping[int, np.ndarray]) -> np.ndarray:
        return known[id(traced)] if traced.constant is None else traced.constant.detach().numpy()
