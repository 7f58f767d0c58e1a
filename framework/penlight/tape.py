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
from penlight.dtype import dtype as DType
from penlight.errors import GradientError, VersionError
from penlight.ops.operator import Operator


class _Mode(threading.local):
    """Per thread: whether calls are taped, the trace that records them, and the precision they run in."""

    enabled = True
    tracer: Any = None
    autocast: Any = None  # an object with cast(operator, tensors) -> tensors, see penlight.amp
    on_node: Callable[[Any], None] | None = None  # called with each new node: packs what it saved, keeps where it was made
    anomaly = False  # a backward then checks every gradient for NaN
    inference = False  # `enable_grad` then does not write to the tape either
    after_backward: tuple[Callable[[], None], ...] = ()  # each is called once, when the backward under way is done


mode = _Mode()
_sequence = itertools.count()


class Saved:
    """Stands in on the tape for an input whose values the gradient does not need: shape, dtype, and nothing else."""

    __slots__ = ("_numpy_dtype", "requires_grad", "shape")

    def __init__(self, t: Any) -> None:
        data = t._data
        self.shape = data.shape
        self._numpy_dtype = data.dtype
        self.requires_grad = t.requires_grad

    @property
    def dtype(self) -> DType:
        return FROM_NUMPY[self._numpy_dtype]

    @property
    def ndim(self) -> int:
        return len(self.shape)


class Node:
    """One operator call on the tape.

    Attributes:
        operator: what was called.
        inputs: the saved inputs: tensors, `Saved` where the gradient needs only the shape, None; None once released.
        edges: per input where its gradient goes: (node, output index), a leaf tensor, or None.
        outputs: the saved output arrays, or None.
        count: how many outputs there are.
        origin: where the call was made, while anomalies are looked for; else None.
        on_release: called when what was saved is freed, or None.
    """

    __slots__ = (
        "__weakref__",
        "count",
        "edges",
        "hooks",
        "inputs",
        "on_release",
        "operator",
        "origin",
        "output_version",
        "outputs",
        "sequence",
        "versions",
    )

    def __init__(self, operator: Operator, inputs: Sequence[Any], outputs: tuple[Any, ...]) -> None:
        self.operator = operator
        self.sequence = next(_sequence)
        self.hooks: dict[int, list[Callable[..., Any]]] | None = None
        self.count = len(outputs)
        edges: list[Any] = []
        self.edges = edges
        versions = None
        for t in inputs:
            if t is None or not t.requires_grad:
                edges.append(None)
            elif t._node is None:
                edges.append(t)
            else:
                edges.append((t._node, t._index))
            if t is not None and t._version is not None:
                versions = versions or {}
                versions[id(t)] = t._version[0]
        self.versions: dict[int, int] | None = versions  # of the inputs that were written to or have views
        saves = operator.saves_inputs
        if saves is True:
            self.inputs: Any = inputs
        else:
            self.inputs = _needed(inputs, edges, saves)
        if operator.saves_output:
            self.outputs: Any = outputs
            self.output_version: Any = [0]  # shared with the output tensors
        else:
            self.outputs = self.output_version = None
        self.origin: Any = None
        self.on_release: Callable[[], None] | None = None
        if mode.on_node is not None:
            mode.on_node(self)

    @property
    def name(self) -> str:
        return self.operator.name

    def __repr__(self) -> str:
        return f"<{type(self.operator).__name__}Node {self.sequence}>"

    def check_versions(self) -> None:
        """Refuses saved tensors that changed in place since the call.

        Raises:
            GradientError: the node was released by an earlier backward.
            VersionError: a saved tensor changed.
        """
        if self.inputs is None:
            raise GradientError(f"{self.name}: its tape was already freed; pass retain_graph=True to the first backward()")
        if self.outputs is not None and self.output_version[0]:
            raise VersionError(
                f"{self.name}: its output was changed in place, and the gradient needs its old value; clone it first"
            )
        for position, t in enumerate(self.inputs):
            if type(t) is Saved or t is None or t._version is None:
                continue
            before = 0 if self.versions is None else self.versions.get(id(t), 0)
            if t._version[0] != before:
                raise VersionError(
                    f"{self.name}: input {position} {tuple(t._data.shape)} was changed in place after it was used "
                    f"(version {before} then, {t._version[0]} now), and the gradient needs its old value; "
                    "use the operation that makes a new tensor, or clone it first"
                )

    def release(self) -> None:
        """Frees what was saved; a second backward through this node then raises."""
        self.inputs = self.outputs = None
        if self.on_release is not None:
            self.on_release()

    def add_hook(self, index: int, hook: Callable[..., Any]) -> None:
        """Calls `hook(gradient)` when the gradient of an output is known."""
        self.hooks = self.hooks or {}
        self.hooks.setdefault(index, []).append(hook)


def _needed(inputs: Sequence[Any], edges: Sequence[Any], saves: Any) -> list[Any]:
    """The inputs whose values the gradient reads, and stand-ins for the others."""
    if not saves:
        return [None if t is None else Saved(t) for t in inputs]
    if saves == "others":  # products: an input is read only where another one needs a gradient
        wanting = len(edges) - edges.count(None)
        return [t if t is None or wanting > (e is not None) else Saved(t) for t, e in zip(inputs, edges, strict=True)]
    last = len(saves) - 1  # the last flag serves all further inputs
    return [t if t is None or saves[min(k, last)] else Saved(t) for k, t in enumerate(inputs)]
