# SPDX-License-Identifier: Apache-2.0
"""The one path of every operator call: backend, tape, trace; and of writes in place."""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from penlight import _native
from penlight._native import apply as apply
from penlight._native import run_backward as run_backward
from penlight._native import run_forward as run_forward
from penlight.backends import half
from penlight.backends.backend import backend_of, visiting
from penlight.backends.cpu import CPU, SMALL
from penlight.dtype import FROM_NUMPY
from penlight.errors import DeviceError, GradientError, InPlaceError, PenlightError
from penlight.ops.operator import AVAILABLE, Operator, Spec
from penlight.tape import Node, mode
from penlight.tensor import APPLY, Tensor, from_array

APPLY.append(apply)

_Function = TypeVar("_Function", bound=Callable[..., Any])


def shortcut(kind: str, operator: type[Operator]) -> Callable[[_Function], _Function]:
    """Lets C++ make the calls that have plain tensors alone; the decorated function gets all others.

    `kind` says which calls these are, see framework/native/call_shortcut.cpp: there the operator must be all that they need.
    The attribute `shortcut` is (kind, operator), for those who put another function around this one.
    """
    return functools.partial(_native.Shortcut, kind, operator)


def _make_context() -> contextvars.Context:
    """A context in which NumPy does not warn of inf and NaN, which are ordinary results here, as in PyTorch.

    Running in a prepared context costs 0.1 us; entering `np.errstate` for each call would cost 1.5 us.
    """
    context = contextvars.copy_context()
    context.run(np.seterr, all="ignore")
    return context


def _refuse_forward(operator: Operator, arrays: Sequence[Any], error: Exception) -> None:
    """Raises the precise error of `infer`; the eager path pays for the check only when something went wrong."""
    if isinstance(error, PenlightError):
        raise error
    operator.infer(*(None if a is None else Spec(tuple(a.shape), FROM_NUMPY[a.dtype]) for a in arrays))
    # subclasses such as NumPy's UFuncTypeError take other arguments than a text
    kind = next((k for k in (IndexError, TypeError, ValueError) if isinstance(error, k)), RuntimeError)
    raise kind(f"{operator.name}: {error}") from error


def _backend_of_all(operator: Operator | None, arrays: Sequence[Any]) -> Any:
    """The backend of all arrays; where their device is made current for it, a tuple with what ends that."""
    backends = {id(b): b for b in (backend_of(a) for a in arrays if a is not None)} or {0: CPU}
    backend = next(iter(backends.values()))
    if len(backends) == 1:
        try:
            leave = backend.visit(arrays)
        except DeviceError:
            leave = None  # the reason is below, with the operator's name
        else:
            return backend if leave is None else (backend, leave)
    names = " and ".join(sorted({str(backend_of(a).device_of(a)) for a in arrays if a is not None}))
    name = "backward" if operator is None else operator.name
    raise DeviceError(f"{name}: all inputs must be on one device, came {names}; move them with .to(device)")


def _refuse_complex(operator: Operator) -> None:
    """Refuses a gradient through complex numbers where the vjp is written for real ones."""
    raise GradientError(f"{operator.name}: has no gradient for complex tensors; detach() the input, or take its real part")


def _half_forward(operator: Operator, arrays: Sequence[Any]) -> Any:
    return half.forward(operator, arrays, run_forward)


def _half_backward(node: Node, grads: Sequence[Any]) -> Any:
    return half.backward(node, grads, run_backward, from_array)


def saved_outputs(node: Node) -> tuple[Tensor, ...] | None:
    """The saved outputs of a node as tensors that hang on it; made anew, since saving them would be a cycle."""
    if node.outputs is None:
        return None
    tensors = tuple(from_array(a) for a in node.outputs)
    for index, t in enumerate(tensors):
        t.requires_grad, t._node, t._index = True, node, index
    return tensors


def _backward_by_vjp(node: Node, grads: Sequence[Any]) -> Sequence[Any]:
    operator = node.operator
    if half.among(grads):
        results = half.backward(node, grads, run_backward, from_array)
        if results is not NotImplemented:
            return results
    tensors = [None if g is None else from_array(g) for g in grads]
    output = saved_outputs(node)
    if operator.outputs == 1:
        results = operator.vjp(tensors[0], None if output is None else output[0], *node.inputs)
    else:
        results = operator.vjp(tuple(tensors), output, *node.inputs)
    return [None if r is None else r._data for r in results]


_native.configure(
    numpy=np,
    cpu_kernels=CPU.kernels,
    small_kernels=SMALL,
    available=AVAILABLE,
    make_context=_make_context,
    backend_of_all=_backend_of_all,
    refuse_forward=_refuse_forward,
    refuse_complex=_refuse_complex,
    backward_by_vjp=_backward_by_vjp,
    half_forward=_half_forward,
    half_backward=_half_backward,
)


def write(target: Tensor, value: Tensor, operation: str) -> Tensor:
    """Writes `value`, which was computed from `target`, into the memory of `target`, and moves its place on the tape.

    Raises:
        InPlaceError: `target` is a leaf that requires a gradient, or `value` does not fit it.
    """
    _check_write(target, value, operation)
    if mode.tracer is not None:
        mode.tracer.record_write(target, value, operation)
    if value._node is not None:
        _keep_old_value(value._node, target)
    if type(target._data) is np.ndarray:
        target._data[...] = value._data
    else:
        with visiting(target._data, value._data):
            target._data[...] = value._data
    target.bump_version()
    if not mode.enabled or not (value.requires_grad or target.requires_grad):
        return target
    return rebase(target, value)


def rebase(target: Tensor, value: Tensor) -> Tensor:
    """Moves a tensor that was written to (or the base that it is a view of) to the place of `value` on the tape."""
    if target._base is not None:
        _rebase_view(target, value)
    else:
        target._node, target._index, target.requires_grad = value._node, value._index, value.requires_grad
        target._rebased += 1
    return target


def _keep_old_value(node: Node, target: Tensor) -> None:
    """Where the gradient of the operation itself needs what it is about to overwrite, the tape gets a copy."""
    for position, t in enumerate(node.inputs):
        if t is target:
            with visiting(target._data):
                old = from_array(target._data.copy())
            old.requires_grad, old._node, old._index = target.requires_grad, target._node, target._index
            node.inputs = (*node.inputs[:position], old, *node.inputs[position + 1 :])


def _check_write(target: Tensor, value: Tensor, operation: str) -> None:
    if mode.enabled and target._frozen is not None:
        raise InPlaceError(f"{operation}: {target._frozen}")
    if mode.enabled and target.requires_grad and target._node is None:
        raise InPlaceError(f"{operation}: a leaf that requires a gradient was to be changed in place; do it under no_grad()")
    if mode.enabled and target._base is not None and _is_leaf_with_grad(target._base):
        raise InPlaceError(f"{operation}: a view of a leaf that requires a gradient was to be changed; do it under no_grad()")
    if value._data.shape != target._data.shape:
        raise InPlaceError(
            f"{operation}: the result has shape {tuple(value._data.shape)} and cannot be written into {tuple(target._data.shape)}"
        )
    if value.dtype.kind > target.dtype.kind:
        raise InPlaceError(f"{operation}: a result of {value.dtype} cannot be written into {target.dtype}")
    if not getattr(target._data.flags, "writeable", True):  # CuPy has no read-only arrays
        raise InPlaceError(f"{operation}: the memory of the tensor is read-only; clone it first")


def _is_leaf_with_grad(t: Tensor) -> bool:
    return t.requires_grad and t._node is None


def _rebase_view(view: Tensor, value: Tensor) -> None:
    """Gives the base of a written view a new node: old gradient with a hole, plus the gradient of what was written."""
    from penlight.ops.shape import ViewScatter  # late: shape.py builds on this module

    base = view._base
    assert base is not None
    operator = ViewScatter(view._views)
    old = from_array(base._data)
    old.requires_grad, old._node, old._index = base.requires_grad, base._node, base._index
    base._node, base._index, base.requires_grad = Node(operator, (old, value), (base._data,)), 0, True
    base._rebased += 1
    view._sync_view()
