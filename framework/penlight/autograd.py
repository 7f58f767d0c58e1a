# SPDX-License-Identifier: Apache-2.0
"""Gradient mode, `backward` and `grad`: the pass over the tape."""

from __future__ import annotations

import functools
import heapq
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from penlight.backends.backend import backend_of
from penlight.errors import GradientError
from penlight.ops.dispatch import run_backward, saved_outputs
from penlight.ops.operator import NotDifferentiable
from penlight.tape import Node, mode
from penlight.tensor import Tensor, from_array


class _GradMode:
    """Base of the context managers, which also decorate functions."""

    _enabled = True

    def __enter__(self) -> None:
        self._before = mode.enabled
        mode.enabled = self._enabled

    def __exit__(self, *_: Any) -> None:
        mode.enabled = self._before

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with type(self)() if type(self) is not set_grad_enabled else set_grad_enabled(self._enabled):
                return function(*args, **kwargs)

        return wrapped


class no_grad(_GradMode):
    """Within it (or a function decorated with it) no tape is written."""

    _enabled = False

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        self = super().__new__(cls)
        return self if function is None else self(function)


class enable_grad(_GradMode):
    """Within it the tape is written again, inside a `no_grad`."""


class set_grad_enabled(_GradMode):
    """Within it the tape is written or not, as `mode` says."""

    def __init__(self, mode: bool) -> None:
        self._enabled = bool(mode)


def is_grad_enabled() -> bool:
    """Whether calls are written to the tape in this thread."""
    return mode.enabled


def backward(
    outputs: Sequence[Tensor], grad_outputs: Sequence[Tensor | None], retain_graph: bool | None = None, create_graph: bool = False
) -> None:
    """Accumulates the gradients of the outputs into `.grad` of the leaves."""
    _Pass(create_graph, retain_graph, None).run(outputs, grad_outputs)


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """Returns the gradients of the sum of `outputs` with respect to `inputs`; `.grad` is left alone.

    Raises:
        GradientError: an input does not require a gradient, or is not part of the graph and `allow_unused` is False.
    """
    outputs = _sequence_of(outputs)
    inputs = _sequence_of(inputs)
    seeds = [None] * len(outputs) if grad_outputs is None else _sequence_of(grad_outputs)
    for position, t in enumerate(inputs):
        if not t.requires_grad:
            raise GradientError(
                f"grad: input {position} {tuple(t.shape)} does not require a gradient; call .requires_grad_() first"
            )
    pass_ = _Pass(create_graph, retain_graph, inputs)
    pass_.run(outputs, seeds)
    return tuple(_found(pass_, position, t, allow_unused) for position, t in enumerate(inputs))


def _sequence_of(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _found(pass_: _Pass, position: int, t: Tensor, allow_unused: bool) -> Tensor | None:
    result = pass_.captured.get(_key(t))
    if result is None and not allow_unused:
        raise GradientError(
            f"grad: input {position} {tuple(t.shape)} was not used in the graph of the outputs; pass allow_unused=True"
        )
    return result


def _key(t: Tensor) -> Any:
    return id(t) if t._node is None else (t._node, t._index)


class _Pass:
    """One run over the tape."""

    def __init__(self, create_graph: bool, retain_graph: bool | None, inputs: Sequence[Tensor] | None) -> None:
        self.create_graph = create_graph
        self.retain = create_graph if retain_graph is None else retain_graph
        self.wanted = None if inputs is None else {_key(t) for t in inputs}
        self.captured: dict[Any, Tensor] = {}
        self.waiting: dict[Node, list[Any]] = {}
        self.heap: list[tuple[int, Node]] = []

    def run(self, outputs: Sequence[Tensor], seeds: Sequence[Tensor | None]) -> None:
        before = mode.enabled
        mode.enabled = self.create_graph
        try:
            for t, seed in zip(outputs, seeds, strict=True):
                if t._base is not None:
                    t._sync_view()
                self.deliver(t if t._node is None else (t._node, t._index), seed_for(t, seed), False)
            while self.heap:
                self.step(heapq.heappop(self.heap)[1])
        finally:
            mode.enabled = before

    def deliver(self, edge: Any, gradient: Any, owned: bool) -> None:
        """Adds a gradient to what waits at an edge. `owned`: nobody else holds its array, so it may be written to."""
        if type(edge) is not tuple:
            self.accumulate(edge, gradient, owned)
            return
        node, index = edge
        slots = self.waiting.get(node)
        if slots is None:
            slots = self.waiting[node] = [None] * (2 * len(node.specs))  # (gradient, owned) per output
            heapq.heappush(self.heap, (-node.sequence, node))
        held = slots[2 * index]
        if held is None:
            slots[2 * index], slots[2 * index + 1] = gradient, owned
        else:
            slots[2 * index], slots[2 * index + 1] = self.sum(held, gradient, slots[2 * index + 1]), True

    def sum(self, held: Any, gradient: Any, owned: bool) -> Any:
        if owned and not self.create_graph and held._data.dtype == gradient._data.dtype:
            held._data += gradient._data
            return held
        return held + gradient

    def accumulate(self, leaf: Any, gradient: Any, owned: bool) -> None:
        for hook in leaf._hooks or ():
            changed = hook(gradient)
            gradient, owned = (gradient, owned) if changed is None else (changed, False)
        if self.wanted is not None:
            if id(leaf) in self.wanted:
                self.capture(id(leaf), gradient)
            return
        if leaf.grad is not None:
            leaf.grad = self.sum(leaf.grad, gradient, leaf._owns_grad is leaf.grad)
        else:
            leaf.grad = gradient if owned or self.create_graph else gradient.clone()
        leaf._owns_grad = leaf.grad  # remembers which object may be added to in place
        for hook in leaf._accumulate_hooks or ():
            hook(leaf)

    def capture(self, key: Any, gradient: Any) -> None:
        held = self.captured.get(key)
        self.captured[key] = gradient if held is None else held + gradient

    def step(self, node: Node) -> None:
        """Runs one node: gradients of its outputs in, gradients of its inputs delivered along its edges."""
        slots = self.waiting.pop(node)
        grads = slots[::2]
        if node.hooks is not None:
            grads = [_hooked(node.hooks.get(i), g) for i, g in enumerate(grads)]
        if self.wanted is not None:
            for i, g in enumerate(grads):
                if g is not None and (node, i) in self.wanted:
                    self.capture((node, i), g)
        if node.inputs is None:
            raise GradientError(f"{node.name}: its tape was already freed; pass retain_graph=True to the first backward()")
        node.check_versions()
        results = self.call(node, grads)
        for edge, result in zip(node.edges, results, strict=True):
            if edge is not None and result is not None:
                self.deliver(edge, result, is_fresh(result, results, grads, node.inputs))
        if not self.retain:
            node.release()

    def call(self, node: Node, grads: list[Any]) -> Sequence[Any]:
        operator = node.operator
        if isinstance(operator.gradient, NotDifferentiable):
            raise GradientError(f"{operator.name}: has no gradient: {operator.gradient.reason}")
        if not self.create_graph and operator.backward is not None:
            return run_backward(node, grads)
        output = saved_outputs(node)
        if operator.outputs == 1:
            return operator.vjp(grads[0], None if output is None else output[0], *node.inputs)
        return operator.vjp(tuple(grads), output, *node.inputs)


def is_fresh(result: Any, results: Sequence[Any], grads: Sequence[Any], inputs: Sequence[Any]) -> bool:
    """Whether the array of a vjp's result belongs to nobody else, so that a leaf may keep it without a copy."""
    if result._data.base is not None:
        return False
    return not (
        any(result is g for g in grads) or any(result is t for t in inputs) or sum(result is other for other in results) > 1
    )


def _hooked(hooks: list[Callable[..., Any]] | None, gradient: Any) -> Any:
    for hook in hooks or ():
        if gradient is not None:
            changed = hook(gradient)
            gradient = gradient if changed is None else changed
    return gradient


def seed_for(t: Tensor, seed: Tensor | None) -> Tensor:
    """The gradient that a backward starts with: the given one, or 1 for a single element.

    Raises:
        GradientError: `t` is not on the tape, has several elements and no seed, or the seed has another shape.
    """
    if not t.requires_grad:
        raise GradientError("backward: the tensor does not require a gradient; was it computed under no_grad(), or detached?")
    if seed is None:
        if t._data.size != 1:
            raise GradientError(
                f"backward: a tensor of shape {tuple(t._data.shape)} needs a gradient argument; only a single element "
                "starts with 1; did you mean loss.mean().backward()?"
            )
        return from_array(backend_of(t._data).xp.ones_like(t._data))
    if seed._data.shape != t._data.shape:
        raise GradientError(f"backward: the gradient has shape {tuple(seed._data.shape)}, expected {tuple(t._data.shape)}")
    return seed


def keep_gradient(t: Tensor) -> None:
    """Makes backward store the gradient of a non-leaf tensor in its `.grad`."""
    reference = weakref.ref(t)

    def store(gradient: Tensor) -> None:
        target = reference()
        if target is not None:
            target.grad = gradient if target.grad is None else target.grad + gradient

    t._node.add_hook(t._index, store)
