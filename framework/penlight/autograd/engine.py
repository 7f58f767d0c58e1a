# SPDX-License-Identifier: Apache-2.0
"""`backward` and `grad`: the pass over the tape."""

from __future__ import annotations

import heapq
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from penlight.autograd import anomaly
from penlight.autograd.mode import set_grad_enabled
from penlight.backends import half
from penlight.backends.backend import backend_of
from penlight.errors import ArgumentError, GradientError
from penlight.ops.dispatch import run_backward, saved_outputs
from penlight.ops.operator import AVAILABLE
from penlight.tape import Node, mode
from penlight.tensor import Tensor, from_array


def backward(
    tensors: Tensor | Sequence[Tensor],
    grad_tensors: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensor | Sequence[Tensor] | None = None,
) -> None:
    """Adds the gradients of the sum of `tensors` to `.grad` of the leaves, or of `inputs` alone where they are given.

    Raises:
        GradientError: a tensor does not require a gradient, has several elements and no seed, or its tape was freed.
    """
    outputs = _sequence_of(tensors)
    seeds = [None] * len(outputs) if grad_tensors is None else _sequence_of(grad_tensors)
    chosen = None if inputs is None else _inputs_of("backward", inputs)
    pass_ = _run(outputs, seeds, chosen, retain_graph, create_graph)
    for t in chosen or ():
        pass_.add_captured(t)


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """Returns the gradients of the sum of `outputs` with respect to `inputs`; `.grad` is left alone.

    Only the part of the tape that leads to `inputs` is run.

    Args:
        grad_outputs: per output the gradient to start from, of its shape; 1 for a single element.
        allow_unused: gives None for an input that the outputs do not depend on, instead of an error.
        materialize_grads: gives zeros for such an input; implies `allow_unused`.

    Raises:
        GradientError: an input does not require a gradient, or is not part of the graph and `allow_unused` is False.
    """
    if materialize_grads and allow_unused is False:
        raise ArgumentError("grad: materialize_grads=True fills in unused inputs, so allow_unused cannot be False; leave it out")
    outputs = _sequence_of(outputs)
    chosen = _inputs_of("grad", inputs)
    seeds = [None] * len(outputs) if grad_outputs is None else _sequence_of(grad_outputs)
    pass_ = _run(outputs, seeds, chosen, retain_graph, create_graph)
    results = [_found(pass_, position, t, bool(allow_unused) or materialize_grads) for position, t in enumerate(chosen)]
    if materialize_grads:
        results = [_zeros_like(t) if g is None else g for g, t in zip(results, chosen, strict=True)]
    return tuple(results)


def _zeros_like(t: Tensor) -> Tensor:
    return from_array(backend_of(t._data).xp.zeros_like(t._data))


def _sequence_of(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _inputs_of(caller: str, inputs: Any) -> list[Tensor]:
    chosen = _sequence_of(inputs)
    for position, t in enumerate(chosen):
        if not t.requires_grad:
            raise GradientError(
                f"{caller}: input {position} {tuple(t.shape)} does not require a gradient; call .requires_grad_() first"
            )
        if t._base is not None:
            t._sync_view()
    return chosen


def _found(pass_: _Pass, position: int, t: Tensor, allow_unused: bool) -> Tensor | None:
    result = pass_.captured.get(_key(t))
    if result is None and not allow_unused:
        raise GradientError(
            f"grad: input {position} {tuple(t.shape)} was not used in the graph of the outputs; pass allow_unused=True"
        )
    return None if result is None else pass_.to_tensor(result)


def _plan(outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> dict[Node, bool]:
    """The nodes that a gradient of `inputs` passes through; False for those where it ends, since nothing behind is wanted."""
    for t in outputs:
        if t._base is not None:
            t._sync_view()
    leaves = {id(t) for t in inputs if t._node is None}
    ends = {t._node for t in inputs if t._node is not None}
    pending = [t._node for t in outputs if t._node is not None]
    reached = set(pending)
    while pending:
        for edge in pending.pop().edges:
            if type(edge) is tuple and edge[0] not in reached:
                reached.add(edge[0])
                pending.append(edge[0])
    plan: dict[Node, bool] = {}
    for node in sorted(reached, key=_sequence_number):  # the nodes behind a node have smaller numbers
        if any(edge[0] in plan if type(edge) is tuple else id(edge) in leaves for edge in node.edges):
            plan[node] = True
        elif node in ends:
            plan[node] = False
    return plan


def _sequence_number(node: Node) -> int:
    return node.sequence


def _key(t: Tensor) -> Any:
    return id(t) if t._node is None else (t._node, t._index)


class _Pass:
    """One run over the tape, on arrays. Gradients that others may still hold are never written to."""

    def __init__(self, retain_graph: bool, inputs: Sequence[Tensor] | None, plan: dict[Node, bool] | None) -> None:
        self.retain = retain_graph
        self.wanted = None if inputs is None else {_key(t) for t in inputs}
        self.plan = plan  # None: run everything
        self.captured: dict[Any, Any] = {}
        self.waiting: dict[Node, list[Any]] = {}
        self.heap: list[tuple[int, Node]] = []

    def run(self, outputs: Sequence[Tensor], seeds: Sequence[Tensor | None]) -> None:
        """Delivers the seeds, then runs the nodes from the latest to the first."""
        starts = [(t, seed_for(t, seed)) for t, seed in zip(outputs, seeds, strict=True)]
        for t, seed in starts:
            self.deliver(t if t._node is None else (t._node, t._index), self.from_tensor(seed), False)
        while self.heap:
            node = heapq.heappop(self.heap)[1]
            self.step(node, self.waiting.pop(node))

    def deliver(self, edge: Any, gradient: Any, is_fresh: bool) -> None:
        """Adds a gradient to what waits at an edge. `is_fresh`: its array belongs to nobody else."""
        if type(edge) is not tuple:
            if self.wanted is None or id(edge) in self.wanted:
                self.accumulate(edge, gradient, is_fresh)
            return
        node, index = edge
        if self.plan is not None and node not in self.plan:
            return
        slots = self.waiting.get(node)
        if slots is None:
            self.waiting[node] = slots = [None] * (2 * node.count)  # gradients, then which of them may be written to
            heapq.heappush(self.heap, (-node.sequence, node))
        if slots[index] is None:
            slots[index] = gradient
        else:
            slots[index] = self.sum(slots[index], gradient, slots[node.count + index])
            slots[node.count + index] = True

    def accumulate(self, leaf: Tensor, gradient: Any, is_fresh: bool) -> None:
        if leaf._hooks:
            gradient, is_fresh = self.from_tensor(_hooked(leaf._hooks, self.to_tensor(gradient))), False
        if self.wanted is not None:
            self.capture(id(leaf), gradient)
            return
        self.add_to_grad(leaf, gradient, is_fresh)

    def add_captured(self, t: Tensor) -> None:
        """Adds what was captured for a tensor to its `.grad`."""
        gradient = self.captured.get(_key(t))
        if gradient is not None:
            self.add_to_grad(t, gradient, False)

    def add_to_grad(self, leaf: Tensor, gradient: Any, is_fresh: bool) -> None:
        if leaf.grad is None:
            leaf.grad = self.to_tensor(gradient if is_fresh else self.copy(gradient))
        else:
            total = self.sum(self.from_tensor(leaf.grad), gradient, leaf._owns_grad is leaf.grad)
            if total is not self.from_tensor(leaf.grad):
                leaf.grad = self.to_tensor(total)
        leaf._owns_grad = leaf.grad  # this object may be added to in place
        for hook in leaf._accumulate_hooks or ():
            hook(leaf)

    def capture(self, key: Any, gradient: Any) -> None:
        held = self.captured.get(key)
        self.captured[key] = gradient if held is None else self.sum(held, gradient, False)

    def step(self, node: Node, slots: list[Any]) -> None:
        """Runs one node: gradients of its outputs in, gradients of its inputs delivered along its edges."""
        grads = slots[: node.count]
        if node.hooks is not None:
            for index, hooks in node.hooks.items():
                if grads[index] is not None:
                    grads[index] = self.from_tensor(_hooked(hooks, self.to_tensor(grads[index])))
        if self.wanted is not None:
            for i, g in enumerate(grads):
                if g is not None and (node, i) in self.wanted:
                    self.capture((node, i), g)
            if not self.plan[node]:  # type: ignore[index]
                return
        node.check_versions()
        if node.operator.gradient != AVAILABLE:
            raise GradientError(f"{node.name}: has no gradient: {node.operator.gradient.reason}")  # type: ignore[union-attr]
        results = self.call(node, grads)
        for edge, result in zip(node.edges, results, strict=True):
            if edge is not None and result is not None:
                self.deliver(edge, result, type(edge) is not tuple and self.is_fresh(result, results, grads, node))
        if not self.retain:
            node.release()

    def call(self, node: Node, grads: list[Any]) -> Sequence[Any]:
        """The gradients of the inputs of a node."""
        return run_backward(node, grads)

    def is_fresh(self, result: Any, results: Sequence[Any], grads: Sequence[Any], node: Node) -> bool:
        """Whether the array was made in this step and goes to one place only, so that a leaf may keep it without a copy."""
        if result.base is not None or sum(result is r for r in results) > 1 or any(result is g for g in grads):
            return False
        kept = [t._data for t in node.inputs if isinstance(t, Tensor)] + list(node.outputs or ())
        return not any(result is array for array in kept)

    def sum(self, held: Any, gradient: Any, is_owned: bool) -> Any:
        if half.among((held,)):
            return half.add(held, gradient)
        if is_owned:
            held += gradient
            return held
        total = held + gradient
        return total if total.ndim else backend_of(held).xp.asarray(total)

    def copy(self, gradient: Any) -> Any:
        return gradient.copy()

    def to_tensor(self, gradient: Any) -> Tensor:
        return from_array(gradient)

    def from_tensor(self, t: Tensor) -> Any:
        return t._data


class _GraphPass(_Pass):
    """A run that is taped itself (`create_graph=True`): on tensors, by `vjp`."""

    def call(self, node: Node, grads: list[Any]) -> Sequence[Any]:
        output = saved_outputs(node)
        if node.operator.outputs == 1:
            return node.operator.vjp(grads[0], None if output is None else output[0], *node.inputs)
        return node.operator.vjp(tuple(grads), output, *node.inputs)

    def is_fresh(self, result: Any, results: Sequence[Any], grads: Sequence[Any], node: Node) -> bool:
        return False

    def sum(self, held: Any, gradient: Any, is_owned: bool) -> Any:
        return held + gradient

    def copy(self, gradient: Any) -> Any:
        return gradient  # tensors on the tape are not written to

    def to_tensor(self, gradient: Any) -> Tensor:
        return gradient

    def from_tensor(self, t: Tensor) -> Any:
        return t


class _Watched(_Pass):
    """A run under `detect_anomaly`."""

    def step(self, node: Node, slots: list[Any]) -> None:
        try:
            super().step(node, slots)
        except Exception as error:
            anomaly.explain(node, error)
            raise

    def call(self, node: Node, grads: list[Any]) -> Sequence[Any]:
        results = super().call(node, grads)
        anomaly.check(node, grads, results)
        return results


class _WatchedGraph(_Watched, _GraphPass):
    """A taped run under `detect_anomaly`."""


_PASSES = {(False, False): _Pass, (True, False): _GraphPass, (False, True): _Watched, (True, True): _WatchedGraph}


def _run(
    outputs: Sequence[Tensor],
    seeds: Sequence[Tensor | None],
    inputs: Sequence[Tensor] | None,
    retain_graph: bool | None,
    create_graph: bool,
) -> _Pass:
    retain = create_graph if retain_graph is None else retain_graph
    plan = None if inputs is None else _plan(outputs, inputs)
    pass_ = _PASSES[bool(create_graph), bool(mode.anomaly)](retain, inputs, plan)
    with set_grad_enabled(create_graph):
        autocast, mode.autocast = mode.autocast, None  # gradients run in the types of the forward calls
        try:
            pass_.run(outputs, seeds)
        finally:
            mode.autocast = autocast
            callbacks, mode.after_backward = mode.after_backward, ()
        for callback in callbacks:
            callback()
    return pass_


def queue_callback(callback: Callable[[], None]) -> None:
    """Calls `callback()` when the backward under way is done; from a hook, such as that of data-parallel training."""
    mode.after_backward = (*mode.after_backward, callback)


def _hooked(hooks: Sequence[Callable[..., Any]], gradient: Tensor) -> Tensor:
    for hook in list(hooks):
        changed = hook(gradient)
        gradient = gradient if changed is None else changed
    return gradient


def seed_for(t: Tensor, seed: Tensor | None) -> Tensor:
    """The gradient that a backward starts with: the given one, or 1 for a single element.

    Raises:
        GradientError: `t` is not on the tape, has several elements and no seed, or the seed has another shape.
    """
    if t._base is not None:
        t._sync_view()
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

    if not t.requires_grad:
        raise GradientError("retain_grad: the tensor does not require a gradient; call .requires_grad_() on what it is made of")
    if t._node is None:
        return  # a leaf has its gradient anyway
    t._node.add_hook(t._index, store)
