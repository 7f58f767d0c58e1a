# SPDX-License-Identifier: Apache-2.0
"""The tape: one node per operator call, and the mode of the thread (gradients on or off, trace active or not).

Nodes carry a growing sequence number, so that `backward` needs a heap and no topological sort: a node is run when no
node with a higher number is waiting, and by then all its consumers have delivered.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

from penlight.dtype import FROM_NUMPY
from penlight.errors import VersionError
from penlight.ops.operator import Operator, Spec


class _Mode(threading.local):
    """Per thread: whether calls are taped, and the trace that records them."""

    enabled = True
    tracer: Any = None


mode = _Mode()
_sequence = itertools.count()


class Node:
    """One operator call on the tape.

    Attributes:
        operator: what was called.
        inputs: the saved inputs (Tensors, or Specs where the vjp needs only shapes, or None).
        edges: per input where its gradient goes: (node, output index), a leaf tensor, or None.
        outputs: the saved output arrays, or None.
        specs: per output (shape, numpy dtype), to fill in gradients that never came.
    """

    __slots__ = (
        "__weakref__",
        "edges",
        "hooks",
        "inputs",
        "operator",
        "output_version",
        "outputs",
        "sequence",
        "specs",
        "versions",
    )

    def __init__(self, operator: Operator, inputs: Sequence[Any], outputs: tuple[Any, ...]) -> None:
        self.operator = operator
        self.sequence = next(_sequence)
        self.hooks: dict[int, list[Callable[..., Any]]] | None = None
        edges: list[Any] = []
        for t in inputs:
            if t is None or not t.requires_grad:
                edges.append(None)
            elif t._node is None:
                edges.append(t)
            else:
                edges.append((t._node, t._index))
        self.edges = edges
        self.inputs, self.versions = _saved(operator, inputs)
        self.outputs = outputs if operator.saves_output else None
        self.output_version = [0]  # shared with the output tensor where `outputs` is saved
        self.specs = [(o.shape, o.dtype) for o in outputs]

    @property
    def name(self) -> str:
        return self.operator.name

    def __repr__(self) -> str:
        return f"<{type(self.operator).__name__}Node {self.sequence}>"

    def check_versions(self) -> None:
        """Refuses saved tensors that changed in place since the call."""
        if self.output_version[0] and self.outputs is not None:
            raise VersionError(
                f"{self.name}: its output was changed in place, and the gradient needs its old value; clone it first"
            )
        if self.versions is None:
            return
        for position, (t, version) in enumerate(zip(self.inputs, self.versions, strict=True)):
            if version is not None and t._version is not None and t._version[0] != version:
                raise VersionError(
                    f"{self.name}: input {position} {tuple(t._data.shape)} was changed in place after it was used "
                    f"(version {version} then, {t._version[0]} now), and the gradient needs its old value; "
                    "use the operation that makes a new tensor, or clone it first"
                )

    def release(self) -> None:
        """Frees what was saved; a second backward through this node then raises."""
        self.inputs = None  # type: ignore[assignment]
        self.outputs = None

    def add_hook(self, index: int, hook: Callable[..., Any]) -> None:
        self.hooks = self.hooks or {}
        self.hooks.setdefault(index, []).append(hook)


def _saved(operator: Operator, inputs: Sequence[Any]) -> tuple[Sequence[Any], list[int | None] | None]:
    """What the vjp will read of the inputs, and the versions of what is kept."""
    if operator.saves_inputs is True:
        return inputs, [None if t is None else 0 if t._version is None else t._version[0] for t in inputs]
    if not operator.saves_inputs:
        return [None if t is None else Spec(t._data.shape, FROM_NUMPY[t._data.dtype]) for t in inputs], None
    saved: list[Any] = []
    versions: list[int | None] = []
    for position, t in enumerate(inputs):  # "others": an input is read only for the gradients of the other inputs
        if t is None or any(o is not None and o.requires_grad for k, o in enumerate(inputs) if k != position):
            saved.append(t)
            versions.append(None if t is None else 0 if t._version is None else t._version[0])
        else:
            saved.append(Spec(t._data.shape, FROM_NUMPY[t._data.dtype], t.requires_grad))
            versions.append(None)
    return saved, versions
