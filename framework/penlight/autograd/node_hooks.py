# SPDX-License-Identifier: Apache-2.0
"""What PyTorch's `grad_fn` offers besides its place on the tape: hooks on a node, and the nodes behind it.

As with packing, the operator of a node that has hooks is replaced by one that calls them around the original.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from penlight import _native
from penlight.autograd.packing import Around, Unpacked
from penlight.hook import HookHandle
from penlight.ops.dispatch import run_backward
from penlight.tape import Node, mode
from penlight.tensor import Tensor, from_array

Gradients = tuple[Tensor | None, ...]


@dataclass(frozen=True)
class AccumulateGrad:
    """The end of the tape at a leaf, `variable`."""

    variable: Tensor


def register_hook(node: Node, hook: Callable[[Gradients, Gradients], Any]) -> HookHandle:
    """Calls `hook(grad_inputs, grad_outputs)` after the node in each backward; a returned tuple replaces grad_inputs."""
    hooks = _hooked(node).after
    hooks.append(hook)
    return HookHandle(hooks, hook)


def register_prehook(node: Node, hook: Callable[[Gradients], Any]) -> HookHandle:
    """Calls `hook(grad_outputs)` before the node in each backward; a returned tuple replaces them."""
    hooks = _hooked(node).before
    hooks.append(hook)
    return HookHandle(hooks, hook)


def _next_functions(node: Node) -> tuple[tuple[Any, int], ...]:
    """Per input of the call (the node that made it, which of its outputs); AccumulateGrad for a leaf, None for a constant."""
    return tuple(edge if type(edge) is tuple else (None if edge is None else AccumulateGrad(edge), 0) for edge in node.edges)


class Hooked(Around):
    """An operator with hooks around its gradient."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.before: list[Callable[..., Any]] = []
        self.after: list[Callable[..., Any]] = []

    def vjp(self, grad: Any, output: Any, *inputs: Any) -> Sequence[Any]:
        grads: Gradients = (grad,) if self.outputs == 1 else tuple(grad)
        for hook in list(self.before):
            grads = _changed(hook(grads), grads)
        results = tuple(self._original(grads, output, inputs))
        for hook in list(self.after):
            results = _changed(hook(results, grads), results)
        return results

    def _original(self, grads: Gradients, output: Any, inputs: tuple[Any, ...]) -> Sequence[Any]:
        if mode.enabled:
            return self.original.vjp(grads[0] if self.outputs == 1 else grads, output, *inputs)
        node = self.node()
        assert node is not None
        plain = Unpacked(self.original, list(inputs), node.outputs, node.edges)
        arrays = run_backward(plain, [None if g is None else g._data for g in grads])
        return [None if a is None else from_array(a) for a in arrays]


def _changed(answer: Any, before: Gradients) -> Gradients:
    if answer is None:
        return before
    return tuple(answer) if isinstance(answer, (tuple, list)) else (answer,)


def _hooked(node: Node) -> Hooked:
    if not isinstance(node.operator, Hooked):
        node.operator = Hooked(node=node)
    return node.operator


# The node is a type of the native module, which cannot hold Python methods by itself.
_native.configure(
    node_methods={
        "register_hook": register_hook,
        "register_prehook": register_prehook,
        "next_functions": property(_next_functions),
    }
)
