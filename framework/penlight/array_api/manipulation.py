# SPDX-License-Identifier: Apache-2.0
"""Shapes: views where possible, through the framework's operators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from penlight.array_api.array import Array, arrays_of, check_array, module_of, wrap
from penlight.array_api.promotion import in_dtype, result_type
from penlight.errors import ArgumentError, DTypeError, ShapeError
from penlight.ops import shape as operators
from penlight.ops.broadcast import broadcast_shapes
from penlight.tensor import Tensor

Axes = int | tuple[int, ...]


def axis_of(name: str, axis: int, ndim: int) -> int:
    """A dimension counted from the front.

    Raises:
        IndexError: there is no such dimension.
    """
    if not -ndim <= axis < ndim:
        raise IndexError(f"{name}: axis {axis} is outside the {ndim} dimensions")
    return axis % ndim


def axes_of(name: str, axis: Axes | None, ndim: int) -> tuple[int, ...]:
    """Dimensions counted from the front; all of them for None.

    Raises:
        ArgumentError: one is there twice.
    """
    given = tuple(range(ndim)) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
    axes = tuple(axis_of(name, one, ndim) for one in given)
    if len(set(axes)) != len(axes):
        raise ArgumentError(f"{name}: an axis is there twice in {given}")
    return axes


def reshape(x: Any, /, shape: Sequence[int], *, copy: bool | None = None) -> Array:
    """Returns the elements in another shape, row by row; one size may be -1.

    `copy` True always copies; False raises ValueError where the elements cannot stay where they are.
    """
    check_array("reshape", x)
    result = operators.reshape(x, tuple(shape))
    if copy is False and x.size and not np.may_share_memory(result._data, x._data):
        raise ArgumentError("reshape: the elements must move for this shape; pass copy=None")
    return wrap(result.clone() if copy else result, x)


def permute_dims(x: Any, /, axes: Sequence[int]) -> Array:
    """Returns a view with the dimensions in another order."""
    check_array("permute_dims", x)
    order = axes_of("permute_dims", tuple(axes), x.ndim)
    if len(order) != x.ndim:
        raise ShapeError(f"permute_dims: expected {x.ndim} axes, came {tuple(axes)}")
    return wrap(operators.permute(x, order), x)


def matrix_transpose(x: Any, /) -> Array:
    """Returns a view with the last two dimensions exchanged."""
    check_array("matrix_transpose", x)
    if x.ndim < 2:
        raise ShapeError(f"matrix_transpose: expected 2 or more dimensions, came {x.ndim}")
    return wrap(operators.transpose(x, -1, -2), x)


def moveaxis(x: Any, source: Axes, destination: Axes, /) -> Array:
    """Returns a view with the dimensions `source` at the places `destination`."""
    check_array("moveaxis", x)
    sources, places = axes_of("moveaxis", source, x.ndim), axes_of("moveaxis", destination, x.ndim)
    if len(sources) != len(places):
        raise ArgumentError(f"moveaxis: {len(sources)} sources and {len(places)} destinations")
    order = [axis for axis in range(x.ndim) if axis not in sources]
    for place, axis in sorted(zip(places, sources, strict=True)):
        order.insert(place, axis)
    return permute_dims(x, order)


def expand_dims(x: Any, /, axis: int = 0) -> Array:
    """Returns a view with a dimension of size 1 at `axis`."""
    check_array("expand_dims", x)
    return wrap(operators.unsqueeze(x, axis_of("expand_dims", axis, x.ndim + 1)), x)


def squeeze(x: Any, /, axis: Axes) -> Array:
    """Returns a view without the dimensions `axis`, all of size 1."""
    check_array("squeeze", x)
    axes = axes_of("squeeze", axis, x.ndim)
    if any(x.shape[one] != 1 for one in axes):
        raise ShapeError(f"squeeze: axes {axes} of shape {tuple(x.shape)} are not all of size 1")
    return wrap(operators.reshape(x, tuple(n for i, n in enumerate(x.shape) if i not in axes)), x)


def broadcast_to(x: Any, /, shape: Sequence[int]) -> Array:
    """Returns a view that repeats the elements into `shape`."""
    check_array("broadcast_to", x)
    target = tuple(shape)
    if broadcast_shapes("broadcast_to", tuple(x.shape), target) != target:
        raise ShapeError(f"broadcast_to: shape {tuple(x.shape)} does not broadcast to {target}")
    return wrap(operators.expand(x, target), x)


def broadcast_arrays(*arrays: Any) -> list[Array]:
    """Returns the arrays in their common shape."""
    check_array("broadcast_arrays", *arrays)
    shape = broadcast_shapes("broadcast_arrays", *(tuple(x.shape) for x in arrays))
    return [broadcast_to(x, shape) for x in arrays]


def flip(x: Any, /, *, axis: Axes | None = None) -> Array:
    """Returns the elements in reverse order along the given dimensions, all by default."""
    check_array("flip", x)
    axes = axes_of("flip", axis, x.ndim)
    return wrap(operators.flip(x, axes) if axes else x.clone(), x)


def roll(x: Any, /, shift: Axes, *, axis: Axes | None = None) -> Array:
    """Returns the elements moved by `shift` places; those that leave come in at the other end."""
    check_array("roll", x)
    if axis is None:
        if not isinstance(shift, int):
            raise ArgumentError("roll: several shifts need as many axes")
        return reshape(roll(reshape(x, (-1,)), shift, axis=0), x.shape) if x.size else wrap(x.clone())
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    shifts = (shift,) * len(axes) if isinstance(shift, int) else tuple(shift)
    if len(shifts) != len(axes):
        raise ArgumentError(f"roll: {len(shifts)} shifts and {len(axes)} axes")
    result = x
    for amount, one in zip(shifts, axes, strict=True):
        place = axis_of("roll", one, x.ndim)
        if x.shape[place]:
            result = operators.roll(result, amount % x.shape[place], place)
    return wrap(result.clone() if result is x else result, x)


def concat(arrays: Sequence[Any], /, *, axis: int | None = 0) -> Array:
    """Returns the arrays one after the other along a dimension; flattened first where `axis` is None."""
    parts = _promoted("concat", arrays)
    if axis is None:
        parts, axis = [operators.reshape(x, (-1,)) for x in parts], 0
    place = axis_of("concat", axis, parts[0].ndim)
    for x in parts:
        same = x.ndim == parts[0].ndim and all(
            a == b for i, (a, b) in enumerate(zip(x.shape, parts[0].shape, strict=True)) if i != place
        )
        if not same:
            raise ShapeError(f"concat: shapes {tuple(parts[0].shape)} and {tuple(x.shape)} differ beside axis {place}")
    return wrap(operators.cat(parts, place), *parts)


def stack(arrays: Sequence[Any], /, *, axis: int = 0) -> Array:
    """Returns the arrays, of one shape, along a new dimension."""
    parts = _promoted("stack", arrays)
    if any(x.shape != parts[0].shape for x in parts):
        raise ShapeError(f"stack: expected arrays of one shape, came {[tuple(x.shape) for x in parts]}")
    return wrap(operators.stack(parts, axis_of("stack", axis, parts[0].ndim + 1)), *parts)


def _promoted(name: str, arrays: Sequence[Any]) -> list[Tensor]:
    check_array(name, *arrays)
    if not arrays:
        raise ArgumentError(f"{name}: expected at least one array")
    dtype = result_type(*arrays)
    return [in_dtype(x, dtype) for x in arrays]


def unstack(x: Any, /, *, axis: int = 0) -> tuple[Array, ...]:
    """Returns views without a dimension, one for each place in it."""
    check_array("unstack", x)
    return tuple(wrap(part) for part in operators.unbind(x, axis_of("unstack", axis, x.ndim)))


def tile(x: Any, repetitions: Sequence[int], /) -> Array:
    """Returns the array repeated along each dimension."""
    check_array("tile", x)
    times = (1,) * (x.ndim - len(repetitions)) + tuple(repetitions)
    if any(n < 0 for n in times):
        raise ArgumentError(f"tile: repetitions must be 0 or more, came {tuple(repetitions)}")
    if math.prod(times) == 0 or not x.size:
        padded = (1,) * (len(times) - x.ndim) + tuple(x.shape)
        return wrap(module_of(x).empty(tuple(n * m for n, m in zip(padded, times, strict=True)), x._data.dtype))
    return wrap(operators.repeat(x, times), x)


def repeat(x: Any, repeats: Any, /, *, axis: int | None = None) -> Array:
    """Returns each element repeated; `repeats` is a number, or an integer array with one for each place along `axis`."""
    check_array("repeat", x)
    if isinstance(repeats, Tensor):
        if repeats.dtype.kind != 1:
            raise DTypeError(f"repeat: repeats must be integers, came {repeats.dtype.name}")
        repeats = repeats._data.astype(np.int64)
    return wrap(arrays_of("repeat", x)[0].repeat(repeats, axis=axis))
