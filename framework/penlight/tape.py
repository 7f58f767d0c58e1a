# SPDX-License-Identifier: Apache-2.0
"""The tape: one node per operator call, and the mode of the thread; both live in framework/native/call_*.cpp.

Nodes carry a growing sequence number, so that `backward` needs a heap and no topological sort: a node is run when no
node with a higher number is waiting, and by then all its consumers have delivered.

`mode` has, for each thread:
    enabled: whether calls are taped.
    tracer: the trace that records them, or None.
    autocast: an object with cast(operator, tensors) -> tensors, see penlight.amp, or None.
    on_node: called with each new node: packs what it saved, keeps where it was made; or None.
    anomaly: a backward then checks every gradient for NaN.
    inference: `enable_grad` then does not write to the tape either.
    after_backward: a tuple of functions; each is called once, when the backward under way is done.
"""

from __future__ import annotations

from typing import Any

from penlight import _native
from penlight._native import Node as Node
from penlight._native import Saved as Saved
from penlight._native import mode as mode
from penlight.errors import GradientError, VersionError


def _refuse_released(node: Node) -> None:
    raise GradientError(f"{node.name}: its tape was already freed; pass retain_graph=True to the first backward()")


def _refuse_version(node: Node, position: int, before: int, now: int) -> None:
    """`position` is that of the input, or -1 for the output."""
    if position < 0:
        raise VersionError(f"{node.name}: its output was changed in place, and the gradient needs its old value; clone it first")
    shape = tuple(node.inputs[position]._data.shape)
    raise VersionError(
        f"{node.name}: input {position} {shape} was changed in place after it was used (version {before} then, {now} now), "
        "and the gradient needs its old value; use the operation that makes a new tensor, or clone it first"
    )


def _refuse_gradient(node: Node) -> None:
    gap: Any = node.operator.gradient
    raise GradientError(f"{node.name}: has no gradient: {gap.reason}")


_native.configure(refuse_released=_refuse_released, refuse_version=_refuse_version, refuse_gradient=_refuse_gradient)
