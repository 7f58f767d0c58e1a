# SPDX-License-Identifier: Apache-2.0
"""`backward` and `grad`: the pass over the tape."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

from penlight import _native
from penlight.autograd import anomaly
from penlight.autograd.last import end_tape
from penlight.backends import half
from penlight.backends.backend import backend_of
from penlight.errors import ArgumentError, GradientError
from penlight.ops.dispatch import saved_outputs
from penlight.ops.operator import Gap
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
    found = _run(outputs, seeds, chosen, retain_graph, create_graph)
    for t in chosen or ():
        if _key(t) in found:
            _native.add_to_grad(t, found[_key(t)], create_graph)


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """Returns the gradients of the sum of `outputs` with respect to `inputs`; `.grad` is left alone.

    Only the part of the tape that leads to `inputs` is run.

    Args:
        grad_outputs: per output the gradient to start from, of its shape; 1 for a single element.
        only_inputs: accepted; other leaves are always left alone.
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
    captured = _run(outputs, seeds, chosen, retain_graph, create_graph)
    results = [_found(captured, position, t, bool(allow_unused) or materialize_grads) for position, t in enumerate(chosen)]
    if materialize_grads:
        results = [_zeros_like(t) if g is None else g for g, t in zip(results, chosen, strict=True)]
    return tuple(results)


def _zeros_like(t: Tensor) -> Tensor:
    return from_array(backend_of(t._data).filled_like(t._data, 0))


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


def _found(captured: dict[Any, Tensor], position: int, t: Tensor, allow_unused: bool) -> Tensor | None:
    result = captured.get(_key(t))
    if result is None and not allow_unused:
        raise GradientError(
            f"grad: input {position} {tuple(t.shape)} was not used in the graph of the outputs; pass allow_unused=True"
        )
    return result


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


def _run(
    outputs: Sequence[Tensor],
    seeds: Sequence[Tensor | None],
    inputs: Sequence[Tensor] | None,
    retain_graph: bool | None,
    create_graph: bool,
) -> dict[Any, Tensor]:
    """One pass over the tape, see framework/native/call_pass.cpp; the gradients of `inputs` by key."""
    if mode.tracer is not None:
        mode.tracer.refuse_gradient("backward or autograd.grad")
    retain = create_graph if retain_graph is None else retain_graph
    wanted = None if inputs is None else {_key(t) for t in inputs}
    plan = None if inputs is None else _plan(outputs, inputs)
    starts = [seed_for(t, seed) for t, seed in zip(outputs, seeds, strict=True)]
    enabled, mode.enabled = mode.enabled, create_graph and not mode.inference
    try:
        autocast, mode.autocast = mode.autocast, None  # gradients run in the types of the forward calls
        try:
            captured = _native.run_pass(outputs, starts, wanted, plan, retain, create_graph)
        finally:
            mode.autocast = autocast
            callbacks, mode.after_backward = mode.after_backward, ()
        for callback in callbacks:
            callback()
    finally:
        mode.enabled = enabled
    return captured


def _gradients_of_node(node: Node, grads: list[Tensor | None]) -> Sequence[Any]:
    """The gradients of a node's inputs as tensors on the tape (`create_graph=True`)."""
    operator, output = node.operator, saved_outputs(node)
    if operator.outputs == 1:
        results = operator.vjp(grads[0], None if output is None else output[0], *node.inputs)
    else:
        results = operator.vjp(tuple(grads), output, *node.inputs)
    if isinstance(operator.second_derivative, Gap):
        return end_tape(
            f"{node.name}.backward", operator.second_derivative.reason, results, (*grads, *node.inputs, *(output or ()))
        )
    return results


def queue_callback(callback: Callable[[], None]) -> None:
    """Calls `callback()` when the backward under way is done; from a hook, such as that of data-parallel training."""
    mode.after_backward = (*mode.after_backward, callback)


def _hooked(hooks: Sequence[Callable[..., Any]], gradient: Tensor) -> Tensor:
    for hook in list(hooks):
        changed = hook(gradient)
        gradient = gradient if changed is None else changed
    return gradient


_native.configure(
    gradients_of_node=_gradients_of_node,
    run_hooks=_hooked,
    half_add=half.add,
    check_anomaly=anomaly.check,
    explain_anomaly=anomaly.explain,
)


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
        return from_array(backend_of(t._data).filled_like(t._data, 1))
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
