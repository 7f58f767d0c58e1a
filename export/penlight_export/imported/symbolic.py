# SPDX-License-Identifier: Apache-2.0
"""Arithmetic of sizes that vary in a trace: what exporters compute between Shape and Reshape, on numbers that stay symbols."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from onnx.helper import tensor_dtype_to_np_dtype

from penlight.symbolic import SymInt
from penlight_export.imported.values import Sizes, numbers, shape_value, sizes_value


def compute_sizes(name: str, values: list[Any], attributes: dict[str, Any]) -> Any:
    """The result of an operator on arrays and `Sizes`; NotImplemented where it needs tensors."""
    if name not in _TABLE or not all(value is None or isinstance(value, (np.ndarray, Sizes)) for value in values):
        return NotImplemented
    first = next(value for value in values if value is not None)
    dtype = first.dtype
    arrays = [value.array if isinstance(value, Sizes) else value for value in values]
    result = _TABLE[name](dtype, arrays, attributes)
    return (
        result
        if result is NotImplemented or isinstance(result, (tuple, Sizes))
        else sizes_value(result, _dtype(name, dtype, attributes))
    )


def _dtype(name: str, dtype: np.dtype, attributes: dict[str, Any]) -> Any:
    if name == "Cast":
        return tensor_dtype_to_np_dtype(attributes["to"])
    return {"Equal": np.bool_, "Less": np.bool_, "Greater": np.bool_, "Shape": np.int64, "Where": np.int64}.get(name, dtype)


def _objects(array: np.ndarray) -> np.ndarray:
    """Whole numbers as int, so that they meet symbols as such."""
    flat = [_whole(entry) for entry in array.reshape(-1).tolist()]
    result = np.empty(len(flat), object)
    result[:] = flat
    return result.reshape(array.shape)


def _whole(entry: Any) -> Any:
    return int(entry) if isinstance(entry, float) and entry.is_integer() else entry


def _each(function: Callable[..., Any]) -> Any:
    def compute(dtype: np.dtype, arrays: list[np.ndarray], attributes: Any) -> Any:
        return np.frompyfunc(function, len(arrays), 1)(*map(_objects, arrays))

    return compute


def _div(dtype: np.dtype, arrays: list[np.ndarray], attributes: Any) -> Any:
    if dtype.kind in "iu":
        return np.frompyfunc(operator.floordiv, 2, 1)(*map(_objects, arrays))
    return np.frompyfunc(_quotient, 2, 1)(*map(_objects, arrays))


def _quotient(a: Any, b: Any) -> Any:
    """A division of real numbers; it stays a symbol where it comes out even."""
    whole = a // b if isinstance(b, int) and b != 0 else None
    return whole if whole is not None and whole * b == a and isinstance(whole, SymInt) else a / b


def _gather(dtype: np.dtype, arrays: list[np.ndarray], attributes: Any) -> Any:
    return np.asarray(np.take(arrays[0], arrays[1].astype(np.int64), axis=attributes.get("axis", 0)), object)


def _concat(dtype: np.dtype, arrays: list[np.ndarray], attributes: Any) -> Any:
    return np.concatenate([array.astype(object) for array in arrays], attributes["axis"])


def _squeeze(dtype: np.dtype, arrays: list[np.ndarray], attributes: Any) -> Any:
    axes = tuple(numbers(arrays[1])) if len(arrays) > 1 and arrays[1] is not None else None
    return np.asarray(np.squeeze(arrays[0], axes), object)


def _unsqueeze(dtype: np.dtype, arrays: list[np.ndarray], attributes: Any) -> Any:
    return np.expand_dims(arrays[0], tuple(numbers(arrays[1])))


def _slice(dtype: np.dtype, arrays: list[np.ndarray], attributes: Any) -> Any:
    x, starts, ends, *rest = arrays
    axes, steps = [*rest, None, None][:2]
    if x.dtype != object:
        return NotImplemented  # the bounds vary, not the content
    places = numbers(axes) if axes is not None else range(len(starts))
    cuts: list[Any] = [slice(None)] * x.ndim
    for number, axis in enumerate(places):
        cuts[axis] = slice(numbers(starts)[number], numbers(ends)[number], 1 if steps is None else numbers(steps)[number])
    return x[tuple(cuts)]


def _reshape(dtype: np.dtype, arrays: list[np.ndarray], attributes: Any) -> Any:
    return arrays[0].reshape([int(size) for size in numbers(arrays[1])]) if arrays[0].dtype == object else NotImplemented


def _expand(dtype: np.dtype, arrays: list[np.ndarray], attributes: Any) -> Any:
    if arrays[1].dtype == object:
        return NotImplemented
    return np.broadcast_to(arrays[0], np.broadcast_shapes(arrays[0].shape, tuple(numbers(arrays[1]))))


def _product(dtype: np.dtype, arrays: list[np.ndarray], attributes: Any) -> Any:
    if arrays[0].ndim != 1:
        return NotImplemented
    total: Any = 1
    for size in numbers(arrays[0]):
        total = total * size
    return np.asarray([total] if attributes.get("keepdims", 1) else total, object)


def _split(dtype: np.dtype, arrays: list[np.ndarray], attributes: Any) -> Any:
    x, parts = arrays[0], arrays[1] if len(arrays) > 1 else None
    if x.dtype != object or x.ndim != 1:
        return NotImplemented
    sizes = numbers(parts) if parts is not None else [-(-len(x) // attributes["num_outputs"])] * attributes["num_outputs"]
    return tuple(sizes_value(part, dtype) for part in np.split(x, np.cumsum(sizes)[:-1]))


def _same(x: Any, *rest: Any) -> Any:
    return x


def _cast(dtype: np.dtype, arrays: list[np.ndarray], attributes: Any) -> Any:
    to_integer = np.dtype(tensor_dtype_to_np_dtype(attributes["to"])).kind in "iu"
    return np.frompyfunc(lambda x: int(x) if to_integer and isinstance(x, float) else x, 1, 1)(arrays[0])


_TABLE: dict[str, Callable[..., Any]] = {
    "Add": _each(operator.add),
    "Sub": _each(operator.sub),
    "Mul": _each(operator.mul),
    "Div": _div,
    "Mod": _each(operator.mod),
    "Neg": _each(operator.neg),
    "Max": _each(max),
    "Min": _each(min),
    "Equal": _each(operator.eq),
    "Less": _each(operator.lt),
    "Greater": _each(operator.gt),
    "Where": _each(lambda condition, a, b: a if condition else b),
    "Floor": _each(lambda x: x if isinstance(x, SymInt) else float(np.floor(x))),
    "Ceil": _each(lambda x: x if isinstance(x, SymInt) else float(np.ceil(x))),
    "Cast": _cast,
    "Identity": _each(_same),
    "Gather": _gather,
    "Concat": _concat,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Slice": _slice,
    "Split": _split,
    "Reshape": _reshape,
    "Expand": _expand,
    "ReduceProd": _product,
    "Shape": lambda dtype, arrays, attributes: shape_value(arrays[0].shape),
}
