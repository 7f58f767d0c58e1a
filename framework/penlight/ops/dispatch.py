# SPDX-License-Identifier: Apache-2.0
"""The one path of every operator call: backend, tape, trace; and of writes in place."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from penlight.backends import half
from penlight.backends.backend import backend_of
from penlight.backends.cpu import CPU
from penlight.dtype import FROM_NUMPY
from penlight.errors import DeviceError, GradientError, InPlaceError, PenlightError
from penlight.ops.operator import Operator, Spec
from penlight.tape import Node, Saved, mode
from penlight.tensor import APPLY, Tensor, from_array

_ndarray = np.ndarray
_new = object.__new__
_kernels = CPU.kernels


class _Quiet(threading.local):
    """A context in which NumPy does not warn of inf and NaN, which are ordinary results here, as in PyTorch.

    Running in a prepared context costs 0.1 us; entering `np.errstate` for each call would cost 1.5 us.
    """

    def __init__(self) -> None:
        context = contextvars.copy_context()
        context.run(np.seterr, all="ignore")
        self.context = context


_quiet = _Quiet()


def apply(operator: Operator, *tensors: Tensor | None) -> Any:
    """Runs an operator on tensors: forward on their backend, a node on the tape, a record in the trace.

    Returns:
        A Tensor, or a tuple of them where the operator has several outputs.

    Raises:
        ShapeError, DTypeError, ArgumentError: what `operator.infer` says of the inputs.
        DeviceError: the inputs live on different devices.
    """
    if mode.autocast is not None:
        tensors = mode.autocast.cast(operator, tensors)
    arrays: list[Any] = []
    needs_grad = False
    on_cpu = True
    for t in tensors:
        if t is None:
            arrays.append(None)
            continue
        if t._base is not None:
            t._sync_view()
        data = t._data
        arrays.append(data)
        if type(data) is not _ndarray:
            on_cpu = False
        if t.requires_grad:
            needs_grad = True
    result = run_forward(operator, arrays, on_cpu)
    if type(result) is tuple:
        output: Any = _wrap_many(operator, tensors, result, needs_grad and mode.enabled)
    else:
        output = _new(Tensor)
        output._data = result
        if needs_grad and mode.enabled and result.dtype.kind in "fVc":  # V: bfloat16
            if result.dtype.kind == "c":
                _check_complex(operator)
            output.requires_grad = True
            node = output._node = Node(operator, tensors, (result,))
            if node.outputs is not None:
                output._version = node.output_version
        if operator.is_view:
            _link_view(operator, tensors[0], output)  # type: ignore[arg-type]
    if mode.tracer is not None:
        mode.tracer.record(operator, tensors, output)
    return output


APPLY.append(apply)


def run_forward(operator: Operator, arrays: Sequence[Any], on_cpu: bool = False) -> Any:
    """The result array (or tuple of arrays) of an operator on arrays, by a kernel or by the reference."""
    xp: Any = np
    kernels = _kernels
    if not on_cpu:
        backend = _common_backend(operator, arrays)
        xp, kernels = backend.xp, backend.kernels
    try:
        kernel = kernels.get(operator.name)
        if kernel is not None:
            result = kernel(operator, *arrays)
            if result is not NotImplemented:
                return result
        if half.among(arrays):
            result = half.forward(operator, arrays, run_forward)
            if result is not NotImplemented:
                return result
        result = _quiet.context.run(operator.forward, xp, *arrays)
    except PenlightError:
        raise
    except (ValueError, TypeError, IndexError) as error:
        explain(operator, arrays)
        raise type(error)(f"{operator.name}: {error}") from error
    if type(result) is _ndarray:
        return result
    if type(result) is tuple:
        return tuple(r if type(r) is _ndarray else xp.asarray(r) for r in result)
    return xp.asarray(result)  # NumPy returns scalars for 0-dim results


def explain(operator: Operator, arrays: Sequence[Any]) -> None:
    """Raises the precise error of `infer`; the eager path pays for the check only when something went wrong."""
    operator.infer(*(None if a is None else Spec(tuple(a.shape), FROM_NUMPY[a.dtype]) for a in arrays))


def _common_backend(operator: Operator, arrays: Sequence[Any]) -> Any:
    backends = {id(b): b for b in (backend_of(a) for a in arrays if a is not None)} or {0: CPU}
    if len(backends) > 1:
        names = " and ".join(sorted(b.name for b in backends.values()))
        raise DeviceError(f"{operator.name}: all inputs must be on one device, came {names}; move them with .to(device)")
    return next(iter(backends.values()))


def _wrap_many(operator: Operator, tensors: Sequence[Any], arrays: tuple[Any, ...], needs_grad: bool) -> tuple[Tensor, ...]:
    outputs = tuple(from_array(a) for a in arrays)
    if needs_grad:
        node = Node(operator, tensors, arrays)
        for output in outputs if node.outputs is not None else ():
            output._version = node.output_version
        for index, output in enumerate(outputs):
            if output._data.dtype.kind in "fV":
                output.requires_grad, output._node, output._index = True, node, index
    return outputs


def _check_complex(operator: Operator) -> None:
    """Refuses a gradient through complex numbers where the vjp is written for real ones."""
    if not operator.complex_gradient:
        raise GradientError(f"{operator.name}: has no gradient for complex tensors; detach() the input, or take its real part")


def _link_view(operator: Operator, source: Tensor, view: Tensor) -> None:
    """Lets a view share the version counter of its source and remember how it was made."""
    if view._data.base is None or (operator.may_copy and not np.may_share_memory(view._data, source._data)):
        return
    if source._version is None:
        source._version = [0]
    view._version = source._version
    if mode.enabled and source._data.dtype.kind in "fV":
        view._base = source if source._base is None else source._base
        view._views = (*source._views, operator)
        view._stamp = view._base._rebased


def saved_outputs(node: Node) -> tuple[Tensor, ...] | None:
    """The saved outputs of a node as tensors that hang on it; made anew, since saving them would be a cycle."""
    if node.outputs is None:
        return None
    tensors = tuple(from_array(a) for a in node.outputs)
    for index, t in enumerate(tensors):
        t.requires_grad, t._node, t._index = True, node, index
    return tensors


def run_backward(node: Node, grads: Sequence[Any]) -> Sequence[Any]:
    """The gradients of a node's inputs as arrays, of arrays; no graph of the gradient is made."""
    operator = node.operator
    if operator.backward is None:
        return _backward_by_vjp(node, grads)
    arrays = [t if t is None or type(t) is Saved else t._data for t in node.inputs]
    grad: Any = grads
    output: Any = node.outputs
    if operator.outputs == 1:
        grad, output = grads[0], None if output is None else output[0]
    needs = [edge is not None for edge in node.edges]
    xp: Any = np
    kernels = _kernels
    if any(g is not None and type(g) is not _ndarray for g in grads):
        backend = _common_backend(operator, grads)
        xp, kernels = backend.xp, backend.kernels
    kernel = kernels.get(operator.name + ".backward")
    results = NotImplemented if kernel is None else kernel(operator, needs, grad, output, *arrays)
    if results is NotImplemented and half.among(grads):
        results = half.backward(node, grads, run_backward, from_array)
    if results is NotImplemented:
        results = _quiet.context.run(operator.backward, xp, needs, grad, output, *arrays)
    if results is NotImplemented:
        return _backward_by_vjp(node, grads)
    return [r if r is None or type(r) is _ndarray else xp.asarray(r) for r in results]


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
            old = from_array(target._data.copy())
            old.requires_grad, old._node, old._index = target.requires_grad, target._node, target._index
            node.inputs = [*node.inputs[:position], old, *node.inputs[position + 1 :]]


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
    if not target._data.flags.writeable:
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
