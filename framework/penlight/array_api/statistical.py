# SPDX-License-Identifier: Apache-2.0
"""Reductions, cumulative sums and products, and what is true of all or any elements.

Where a gradient or a trace is wanted the framework's operator computes; else NumPy does, for all dtypes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from penlight.array_api.array import Array, arrays_of, check_array, is_recorded, module_of, wrap
from penlight.array_api.manipulation import Axes, axes_of, axis_of, concat
from penlight.array_api.promotion import check_kind
from penlight.dtype import as_dtype, int64, uint64
from penlight.dtype import dtype as DType
from penlight.errors import ArgumentError, ShapeError
from penlight.ops import reduction as operators
from penlight.ops.convert import to


def _wide(x: Any, dtype: Any) -> DType:
    """The dtype of sums and products: integers are counted in 64 bits."""
    if dtype is not None:
        return as_dtype(dtype)
    if x.dtype.kind < 2:
        return uint64 if x._data.dtype.kind == "u" else int64
    return x.dtype


def sum(x: Any, /, *, axis: Axes | None = None, dtype: Any = None, keepdims: bool = False) -> Array:
    """Returns the sum over dimensions, all by default; 0 of no elements."""
    check_array("sum", x)
    check_kind("sum", "any", x.dtype)
    axes = axes_of("sum", axis, x.ndim)
    if is_recorded(x):
        return wrap(operators.sum(x, axes, keepdims, dtype=_wide(x, dtype)) if axes else x, x)
    return wrap(arrays_of("sum", x)[0].sum(axis=axes, dtype=_wide(x, dtype).numpy, keepdims=keepdims))


def prod(x: Any, /, *, axis: Axes | None = None, dtype: Any = None, keepdims: bool = False) -> Array:
    """Returns the product over dimensions, all by default; 1 of no elements."""
    check_array("prod", x)
    axes = axes_of("prod", axis, x.ndim)
    if is_recorded(x):
        return wrap(operators.prod(to(x, dtype=_wide(x, dtype)), axes, keepdims) if axes else x, x)
    with np.errstate(all="ignore"):
        return wrap(arrays_of("prod", x)[0].prod(axis=axes, dtype=_wide(x, dtype).numpy, keepdims=keepdims))


def mean(x: Any, /, *, axis: Axes | None = None, keepdims: bool = False) -> Array:
    """Returns the mean over dimensions, all by default; NaN of no elements."""
    check_array("mean", x)
    check_kind("mean", "floating-point", x.dtype)
    axes = axes_of("mean", axis, x.ndim)
    if is_recorded(x):
        return wrap(operators.mean(x, axes, keepdims) if axes else x, x)
    count = math.prod(x.shape[i] for i in axes)
    array = arrays_of("mean", x)[0]
    with np.errstate(all="ignore"):
        return wrap(array.sum(axis=axes, keepdims=keepdims) / array.dtype.type(count))


def var(x: Any, /, *, axis: Axes | None = None, correction: float = 0.0, keepdims: bool = False) -> Array:
    """Returns the variance over dimensions: squared distances from the mean, summed and divided by N - correction."""
    check_array("var", x)
    check_kind("var", "real floating-point", x.dtype)
    axes = axes_of("var", axis, x.ndim)
    if is_recorded(x):
        return wrap(operators.var(x, axes, correction=correction, keepdim=keepdims), x)
    count = math.prod(x.shape[i] for i in axes)
    array = arrays_of("var", x)[0]
    with np.errstate(all="ignore"):
        distance = array - array.sum(axis=axes, keepdims=True) / array.dtype.type(count)
        total = (distance * distance).sum(axis=axes, keepdims=keepdims)
        return wrap(total / array.dtype.type(max_number(count - correction, 0.0)))


def std(x: Any, /, *, axis: Axes | None = None, correction: float = 0.0, keepdims: bool = False) -> Array:
    """Returns the square root of `var`."""
    result = var(x, axis=axis, correction=correction, keepdims=keepdims)
    with np.errstate(all="ignore"):
        return wrap(result.sqrt() if is_recorded(result) else module_of(result).sqrt(result._data))


def max_number(a: float, b: float) -> float:
    """The larger of two Python numbers; `max` of this module is of arrays."""
    return a if a > b else b


def max(x: Any, /, *, axis: Axes | None = None, keepdims: bool = False) -> Array:
    """Returns the largest element over dimensions, all by default."""
    return _extreme("max", x, axis, keepdims)


def min(x: Any, /, *, axis: Axes | None = None, keepdims: bool = False) -> Array:
    """Returns the smallest element over dimensions, all by default."""
    return _extreme("min", x, axis, keepdims)


def _extreme(name: str, x: Any, axis: Axes | None, keepdims: bool) -> Array:
    check_array(name, x)
    check_kind(name, "real", x.dtype)
    axes = axes_of(name, axis, x.ndim)
    if is_recorded(x):
        return wrap((operators.amax if name == "max" else operators.amin)(x, axes, keepdims) if axes else x, x)
    return wrap(getattr(arrays_of(name, x)[0], name)(axis=axes, keepdims=keepdims))


def all(x: Any, /, *, axis: Axes | None = None, keepdims: bool = False) -> Array:
    """Returns whether all elements are true (not 0); True of no elements."""
    check_array("all", x)
    return wrap(x._data.astype(bool).all(axis=axes_of("all", axis, x.ndim), keepdims=keepdims))


def any(x: Any, /, *, axis: Axes | None = None, keepdims: bool = False) -> Array:
    """Returns whether some element is true (not 0); False of no elements."""
    check_array("any", x)
    return wrap(x._data.astype(bool).any(axis=axes_of("any", axis, x.ndim), keepdims=keepdims))


def count_nonzero(x: Any, /, *, axis: Axes | None = None, keepdims: bool = False) -> Array:
    """Returns how many elements are not 0, int64."""
    check_array("count_nonzero", x)
    return wrap((x._data != 0).sum(axis=axes_of("count_nonzero", axis, x.ndim), dtype=np.int64, keepdims=keepdims))


def cumulative_sum(x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Array:
    """Returns the sums of the first elements along a dimension; with `include_initial` a 0 comes first."""
    return _cumulative("cumulative_sum", "cumsum", x, axis, dtype, include_initial, 0)


def cumulative_prod(x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Array:
    """Returns the products of the first elements along a dimension; with `include_initial` a 1 comes first."""
    return _cumulative("cumulative_prod", "cumprod", x, axis, dtype, include_initial, 1)


def _cumulative(name: str, function: str, x: Any, axis: int | None, dtype: Any, include_initial: bool, initial: int) -> Array:
    check_array(name, x)
    check_kind(name, "numeric", x.dtype)
    if axis is None and x.ndim != 1:
        raise ArgumentError(f"{name}: axis is needed for {x.ndim} dimensions")
    place = axis_of(name, 0 if axis is None else axis, x.ndim)
    kind = _wide(x, dtype)
    if is_recorded(x) and function == "cumsum":
        result = wrap(operators.cumsum(to(x, dtype=kind), place), x)
    else:
        with np.errstate(all="ignore"):
            result = wrap(getattr(arrays_of(name, x)[0], function)(axis=place, dtype=kind.numpy))
    if not include_initial:
        return result
    shape = tuple(1 if i == place else n for i, n in enumerate(x.shape))
    return concat([wrap(module_of(x).full(shape, initial, kind.numpy)), result], axis=place)


def diff(x: Any, /, *, axis: int = -1, n: int = 1, prepend: Any = None, append: Any = None) -> Array:
    """Returns the differences of neighbours along a dimension, `n` times over."""
    check_array("diff", x)
    place = axis_of("diff", axis, x.ndim)
    parts = [part for part in (prepend, x, append) if part is not None]
    joined = concat(parts, axis=place) if len(parts) > 1 else x
    if n < 0:
        raise ArgumentError(f"diff: n must be 0 or more, came {n}")
    if n > joined.shape[place]:
        raise ShapeError(f"diff: {n} times over needs more than {joined.shape[place]} elements")
    return wrap(module_of(x).diff(arrays_of("diff", joined)[0], n=n, axis=place))
