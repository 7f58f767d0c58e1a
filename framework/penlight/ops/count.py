# SPDX-License-Identifier: Apache-2.0
"""Distinct values, histograms and places in sorted sequences: integer results, without a gradient."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from penlight.dtype import as_dtype
from penlight.ops.broadcast import operand, promote
from penlight.ops.results import named
from penlight.tape import mode
from penlight.tensor import Tensor, from_array


def _host(t: Tensor, what: str) -> np.ndarray:
    if t._traced is not None:
        mode.tracer.refuse_data_shape(what)
    return t._data


def _tensor(array: Any) -> Tensor:
    return from_array(np.asarray(array))


def unique(
    input: Tensor, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """Returns the distinct values (or slices along `dim`) in order, and on request where each came from and how often."""
    values, inverse, counts = np.unique(_host(input, "unique()"), return_inverse=True, return_counts=True, axis=dim)
    inverse = inverse.reshape(input.shape) if dim is None else inverse.reshape(-1)
    parts = [_tensor(values), *([_tensor(inverse)] if return_inverse else []), *([_tensor(counts)] if return_counts else [])]
    return parts[0] if len(parts) == 1 else tuple(parts)


def unique_consecutive(input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None) -> Any:
    """Returns the input without elements (or slices along `dim`) that repeat the one before; see `unique`."""
    data = _host(input, "unique_consecutive()")
    lines = data.reshape(-1) if dim is None else np.moveaxis(data, dim, 0)
    differs = (lines[1:] != lines[:-1]).reshape(max(len(lines) - 1, 0), -1).any(axis=1) if len(lines) > 1 else np.zeros(0, bool)
    starts = np.flatnonzero(np.r_[True, differs]) if len(lines) else np.zeros(0, np.int64)
    values = lines[starts]
    inverse = np.cumsum(np.r_[0, differs]).astype(np.int64) if len(lines) else np.zeros(0, np.int64)
    counts = np.diff(np.r_[starts, len(lines)]).astype(np.int64)
    values = values if dim is None else np.moveaxis(values, 0, dim)
    inverse = inverse.reshape(data.shape) if dim is None else inverse
    parts = [_tensor(values), *([_tensor(inverse)] if return_inverse else []), *([_tensor(counts)] if return_counts else [])]
    return parts[0] if len(parts) == 1 else tuple(parts)


def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """Returns how often each number 0, 1, ... occurs in an integer vector, or the sums of `weights`."""
    counts = np.bincount(_host(input, "bincount()"), None if weights is None else weights._data, minlength)
    return _tensor(counts if weights is None or weights.dtype.name != "float32" else counts.astype(np.float32))


def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """Returns the counts of the elements in `bins` equal intervals from `min` to `max` (the extremes when both are equal)."""
    data = _host(input, "histc()")
    if min == max and data.size:
        min, max = data.min(), data.max()
    if min == max:
        min, max = min - 1, max + 1
    return _tensor(np.histogram(data, bins=bins, range=(float(min), float(max)))[0].astype(data.dtype))


@named("hist", "bin_edges")
def histogram(input: Tensor, bins: Any, *, range: Any = None, weight: Tensor | None = None, density: bool = False) -> Any:
    """Returns the counts (or weights, or a density) per interval, and the bounds of the intervals."""
    data = _host(input, "histogram()")
    edges = bins._data if isinstance(bins, Tensor) else bins
    if range is None and not isinstance(bins, Tensor):
        low, high = (data.min(), data.max()) if data.size else (0.5, 0.5)
        range = (low - 0.5, high + 0.5) if low == high else (low, high)
    held = None if weight is None else weight._data.reshape(-1)
    counts, bounds = np.histogram(data.reshape(-1), bins=edges, range=range, weights=held, density=density)
    return _tensor(counts.astype(data.dtype)), _tensor(bounds.astype(data.dtype))


def searchsorted(
    sorted_sequence: Tensor,
    input: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:
    """Returns where `input` would be inserted into sequences sorted along the last dimension, int64.

    Args:
        sorted_sequence: 1-D, or with the same leading sizes as `input`.
        right: whether after equal elements; `side="right"` says the same.
        sorter: the indices that sort `sorted_sequence`, when it is not sorted.
    """
    values = operand(input)
    data, wanted = _host(sorted_sequence, "searchsorted()"), _host(values, "searchsorted()")
    if sorter is not None:
        data = np.take_along_axis(data, sorter._data, axis=-1)
    where: Literal["left", "right"] = "right" if right or side == "right" else "left"
    if data.ndim == 1:
        places = np.searchsorted(data, wanted, side=where)
    else:
        rows = int(np.prod(data.shape[:-1]))
        lines = zip(data.reshape(rows, data.shape[-1]), wanted.reshape(rows, wanted.shape[-1]), strict=True)
        found = [np.searchsorted(line, row, side=where) for line, row in lines]
        places = np.asarray(found, dtype=np.int64).reshape(wanted.shape)
    return _tensor(np.asarray(places).astype(np.int32 if out_int32 else np.int64))


def bucketize(input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """Returns the number of the interval between `boundaries` (sorted, 1-D) that each element lies in, int64."""
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Returns whether each element occurs in `test_elements`, bool."""
    a, b = promote(elements, test_elements)
    return _tensor(np.isin(_host(a, "isin()"), _host(b, "isin()"), invert=invert))


def gcd(input: Any, other: Any) -> Tensor:
    """Returns the greatest common divisors of integers, broadcast."""
    a, b = promote(input, other)
    return _tensor(np.gcd(_host(a, "gcd()"), _host(b, "gcd()")))


def lcm(input: Any, other: Any) -> Tensor:
    """Returns the least common multiples of integers, broadcast."""
    a, b = promote(input, other)
    return _tensor(np.lcm(_host(a, "lcm()"), _host(b, "lcm()")))


def logspace(start: float, end: float, steps: int, base: float = 10.0, *, dtype: Any = None, **options: Any) -> Tensor:
    """Returns `steps` values from base ** start to base ** end, evenly spaced in the exponent."""
    first, last = (float(v.item()) if isinstance(v, Tensor) else v for v in (start, end))
    return _tensor(np.power(float(base), np.linspace(first, last, steps)).astype(as_dtype(dtype or "float32").numpy))
