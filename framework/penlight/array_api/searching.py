# SPDX-License-Identifier: Apache-2.0
"""Searching, sorting, sets and indexing with arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from penlight.array_api.array import Array, check_array, is_recorded, module_of, wrap
from penlight.array_api.manipulation import axis_of
from penlight.array_api.promotion import check_kind, in_dtype, result_type
from penlight.errors import ArgumentError, DTypeError, ShapeError
from penlight.ops.arithmetic import where as where_operator
from penlight.ops.gather import index_select, take_along_dim
from penlight.tensor import Tensor


class UniqueAll(NamedTuple):
    """Of `unique_all`."""

    values: Array
    indices: Array
    inverse_indices: Array
    counts: Array


class UniqueCounts(NamedTuple):
    """Of `unique_counts`."""

    values: Array
    counts: Array


class UniqueInverse(NamedTuple):
    """Of `unique_inverse`."""

    values: Array
    inverse_indices: Array


def argmax(x: Any, /, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """Returns the place of the largest element, the first of equals, int64."""
    return _place("argmax", x, axis, keepdims)


def argmin(x: Any, /, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """Returns the place of the smallest element, the first of equals, int64."""
    return _place("argmin", x, axis, keepdims)


def _place(name: str, x: Any, axis: int | None, keepdims: bool) -> Array:
    check_array(name, x)
    check_kind(name, "real", x.dtype)
    place = None if axis is None else axis_of(name, axis, x.ndim)
    return wrap(getattr(module_of(x), name)(x._data, axis=place, keepdims=keepdims))


def nonzero(x: Any, /) -> tuple[Array, ...]:
    """Returns the places of the elements that are not 0, one int64 array per dimension."""
    check_array("nonzero", x)
    if not x.ndim:
        raise ShapeError("nonzero: a 0-dim array has no places")
    return tuple(wrap(places) for places in x._data.nonzero())


def searchsorted(x1: Any, x2: Any, /, *, side: str = "left", sorter: Any = None) -> Array:
    """Returns where the elements of x2 go into the sorted 1-dim x1, before or after equal ones, int64."""
    check_array("searchsorted", x1, x2)
    check_kind("searchsorted", "real", x1.dtype, x2.dtype)
    dtype = result_type(x1, x2).numpy
    order = None if sorter is None else sorter._data
    return wrap(module_of(x1).searchsorted(x1._data.astype(dtype), x2._data.astype(dtype), side=side, sorter=order))


def where(condition: Any, x1: Any, x2: Any, /) -> Array:
    """Returns elements of x1 where the condition is True, else of x2; all three broadcast, one may be a number."""
    check_array("where", condition)
    if condition.dtype.kind:
        raise DTypeError(f"where: expected a bool condition, came {condition.dtype.name}")
    dtype = result_type(x1, x2)
    a, b = in_dtype(x1, dtype, condition), in_dtype(x2, dtype, condition)
    return wrap(where_operator(condition, a, b), a, b)


def argsort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
    """Returns the places of the elements in order, int64; equal ones keep their order."""
    check_array("argsort", x)
    check_kind("argsort", "real", x.dtype)
    place = axis_of("argsort", axis, x.ndim)
    xp = module_of(x)
    if not descending:
        return wrap(xp.argsort(x._data, axis=place, kind="stable"))
    # Sorting the reversed array and reversing again keeps equal elements in order.
    reverse = xp.flip(xp.argsort(xp.flip(x._data, place), axis=place, kind="stable"), place)
    return wrap(x.shape[place] - 1 - reverse)


def sort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
    """Returns the elements in order along a dimension."""
    check_array("sort", x)
    check_kind("sort", "real", x.dtype)
    place = axis_of("sort", axis, x.ndim)
    if is_recorded(x):
        return take_along_axis(x, argsort(x.detach(), axis=place, descending=descending), axis=place)
    xp = module_of(x)
    ordered = xp.sort(x._data, axis=place, kind="stable")
    return wrap(xp.flip(ordered, place) if descending else ordered)


def unique_all(x: Any, /) -> UniqueAll:
    """Returns the distinct values, where each stands first, which one each element is, and how often each is there."""
    check_array("unique_all", x)
    found = np.unique(x._data, return_index=True, return_inverse=True, return_counts=True, equal_nan=False)
    values, indices, inverse, counts = (wrap(a) for a in found)
    return UniqueAll(values, indices, wrap(inverse._data.reshape(x.shape)), counts)


def unique_counts(x: Any, /) -> UniqueCounts:
    """Returns the distinct values and how often each is there."""
    check_array("unique_counts", x)
    return UniqueCounts(*(wrap(a) for a in np.unique(x._data, return_counts=True, equal_nan=False)))


def unique_inverse(x: Any, /) -> UniqueInverse:
    """Returns the distinct values and which one each element is."""
    check_array("unique_inverse", x)
    values, inverse = np.unique(x._data, return_inverse=True, equal_nan=False)
    return UniqueInverse(wrap(values), wrap(inverse.reshape(x.shape)))


def unique_values(x: Any, /) -> Array:
    """Returns the distinct values; each NaN is distinct."""
    check_array("unique_values", x)
    return wrap(np.unique(x._data, equal_nan=False))


def take(x: Any, indices: Any, /, *, axis: int | None = None) -> Array:
    """Returns the elements at places along a dimension, which may be left out of 1-dim arrays."""
    check_array("take", x, indices)
    _check_indices("take", indices)
    if axis is None and x.ndim != 1:
        raise ArgumentError(f"take: axis is needed for {x.ndim} dimensions")
    place = axis_of("take", 0 if axis is None else axis, x.ndim)
    if is_recorded(x):
        return wrap(index_select(x, place, indices), x)
    return wrap(x._data.take(indices._data, axis=place))


def take_along_axis(x: Any, indices: Any, /, *, axis: int = -1) -> Array:
    """Returns, for each place of `indices`, the element there along a dimension; the other dimensions go along."""
    check_array("take_along_axis", x, indices)
    _check_indices("take_along_axis", indices)
    place = axis_of("take_along_axis", axis, x.ndim)
    if is_recorded(x):
        return wrap(take_along_dim(x, indices, place), x)
    return wrap(module_of(x).take_along_axis(x._data, indices._data, axis=place))


def _check_indices(name: str, indices: Tensor) -> None:
    if indices.dtype.kind != 1:
        raise DTypeError(f"{name}: indices must be integers, came {indices.dtype.name}")
