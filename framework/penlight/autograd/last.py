# SPDX-License-Identifier: Apache-2.0
"""Gradients that cannot be differentiated again: the tape ends behind them with an error instead of a silent zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penlight.ops.operator import NotDifferentiable, Operator
from penlight.tape import Node
from penlight.tensor import Tensor, from_array


def end_tape(name: str, reason: str, results: Sequence[Any], sources: Sequence[Any]) -> list[Any]:
    """Returns the gradients on a tape that leads to `sources` and raises GradientError, with the reason, on the way."""
    tensors = [t for t in sources if isinstance(t, Tensor) and t.requires_grad]
    return [_marked(name, reason, result, tensors) for result in results]


def _marked(name: str, reason: str, result: Any, sources: list[Tensor]) -> Any:
    if not isinstance(result, Tensor) or result.dtype.kind < 2:
        return result
    marked = from_array(result._data)
    marked.requires_grad, marked._node = True, Node(Last(name=name, reason=reason), sources, (result._data,))
    return marked


class Last(Operator):
    """The end of the tape behind a gradient that has none itself."""

    saves_inputs = False

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.gradient = name, NotDifferentiable(reason)  # type: ignore[misc]  # of this one instance, not of the class
