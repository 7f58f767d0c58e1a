# SPDX-License-Identifier: Apache-2.0
"""Broadcasting and promotion, shared by the operators of several inputs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from penlight import _native
from penlight._native import promote as promote
from penlight.backends.backend import backend_of
from penlight.dtype import combine, default_dtype, promote_types, scalar_type
from penlight.dtype import dtype as DType
from penlight.errors import DTypeError, ShapeError
from penlight.ops.operator import Shape, Spec
from penlight.tape import mode
from penlight.tensor import Tensor, as_tensor, from_array

_constants: dict[Any, Tensor] = {}
_scalars: dict[Any, Tensor] = {}  # (number, its type, dtype of the other operand): those that need no conversion
_NUMBERS = (float, int)


def broadcast_shapes(operator: str, *shapes: Shape) -> Shape:
    """The shape that all broadcast to; sizes are compared from the right, and 1 fits all.

    Raises:
        ShapeError: two sizes differ and neither is 1.
    """
    first = tuple(shapes[0])
    if 1 not in first and shapes.count(first) == len(shapes):
        return first
    rank = max(len(s) for s in shapes)
    padded = [(1,) * (rank - len(s)) + tuple(s) for s in shapes]
    result: list[int] = []
    for sizes in zip(*padded, strict=True):
        others = [size for size in sizes if size != 1]
        if any(size != others[0] for size in others):
            given = " and ".join(str(tuple(map(int, s))) for s in shapes)
            raise ShapeError(
                f"{operator}: shapes {given} do not broadcast: sizes {tuple(map(int, sizes))} differ and none of them is 1"
            )
        named = (size for size in sizes if type(size) is not int)  # a symbol that is 1 here stays a symbol
        result.append(others[0] if others else next(named, 1))
    return tuple(result)


def same_dtype(operator: str, *specs: Spec) -> Any:
    """The dtype that all inputs share; the public functions promote before they call."""
    if any(s.dtype is not specs[0].dtype for s in specs):
        names = ", ".join(s.dtype.name for s in specs)
        raise DTypeError(f"{operator}: expected inputs of one dtype, came {names}; convert with .to(dtype)")
    return specs[0].dtype


def unbroadcast(grad: Tensor, like: Any) -> Tensor:
    """The gradient summed over what broadcasting repeated, in the shape of the input `like`."""
    return grad if grad._data.shape == like.shape else grad.sum_to(like.shape)


def reduced(grad: Any, like: Any) -> Any:
    """`unbroadcast` for arrays."""
    shape = like.shape
    if grad.shape == shape:
        return grad
    lead = grad.ndim - len(shape)
    ones = tuple(lead + i for i, s in enumerate(shape) if s == 1 and grad.shape[lead + i] != 1)
    return grad.sum(axis=(*range(lead), *ones), keepdims=True).reshape(shape)


def _promote(a: Any, b: Any) -> tuple[Tensor, Tensor]:
    """Both operands as tensors of the common dtype: Python numbers and 0-dim tensors do not widen within a kind."""
    if isinstance(a, Tensor):
        is_plain = type(b) in _NUMBERS and b and type(a._data) is np.ndarray
        found = _scalars.get((b, type(b), a._data.dtype)) if is_plain else None
        if found is not None and mode.tracer is None:
            return a, found
        if isinstance(b, Tensor):
            return (a, b) if a._data.dtype is b._data.dtype else _promote_tensors(a, b)
        if isinstance(b, (bool, int, float, complex)):
            result = combine(a.dtype, scalar_type(b))
            other = constant(b, result, a)
            if is_plain and a.dtype is result and len(_scalars) < 4096:
                _scalars[b, type(b), a._data.dtype] = other
            return a if a.dtype is result else a.to(result), other
    elif isinstance(a, (bool, int, float, complex)) and isinstance(b, Tensor):
        result = combine(b.dtype, scalar_type(a))
        return constant(a, result, b), b if b.dtype is result else b.to(result)
    return promote(operand(a), operand(b))


_native.configure(promote=_promote)


def operand(value: Any) -> Tensor:
    """A tensor of what may stand in an expression: a tensor, a number or a NumPy array.

    Raises:
        DTypeError: it is something else.
    """
    if isinstance(value, (Tensor, bool, int, float, complex, np.ndarray, np.generic)):
        return as_tensor(value)
    raise DTypeError(f"expected a tensor or a number, came {type(value).__name__}; use penlight.tensor")


def promoted_type(a: Tensor, b: Tensor) -> DType:
    """The dtype of a result of two tensors."""
    if (a._data.ndim == 0) == (b._data.ndim == 0):
        return promote_types(a.dtype, b.dtype)
    strong, weak = (b, a) if a._data.ndim == 0 else (a, b)
    return combine(strong.dtype, weak.dtype)


def _promote_tensors(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    result = promoted_type(a, b)
    return a if a.dtype is result else a.to(result), b if b.dtype is result else b.to(result)


def constant(value: Any, dtype: DType, like: Tensor) -> Tensor:
    """A 0-dim tensor for a Python number, on the device of `like`; the common ones are made once."""
    if mode.tracer is not None and type(value) not in (bool, int, float):
        traced = mode.tracer.scalar(value, dtype)
        if traced is not None:
            return traced
    key = (value, dtype, math.copysign(1, value)) if value == 0 and type(value) is not complex else (value, dtype)
    found = _constants.get(key) if type(like._data) is np.ndarray else None
    if found is None:
        with np.errstate(all="ignore"):  # a number out of range wraps or becomes infinite, as in PyTorch
            found = from_array(np.asarray(value).astype(dtype.numpy))
        if type(like._data) is not np.ndarray:  # filled there: a copy from the host would wait for the device
            return from_array(backend_of(like._data).full((), found._data.item(), dtype.numpy, like.device))
        if len(_constants) >= 4096:
            _constants.clear()
        _constants[key] = found
    return found


def floating(x: Any) -> Tensor:
    """The operand itself if it is floating point, else converted to the default dtype."""
    t = x if isinstance(x, Tensor) else operand(x)
    return t if t.dtype.kind >= 2 else t.to(default_dtype)
