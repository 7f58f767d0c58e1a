# SPDX-License-Identifier: Apache-2.0
"""Operators that take dimensions together, and those that work along one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import penlight as pl
from penlight.nn import functional as F
from penlight_export.imported.registry import operator
from penlight_export.imported.values import numbers

Tensor = pl.Tensor
Reduce = Callable[[Tensor, list[int], bool], Tensor]


def _product(x: Tensor, axes: list[int], keepdim: bool) -> Tensor:
    for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
        x = pl.prod(x, axis, keepdim)
    return x


def _like(x: Tensor, result: Tensor) -> Tensor:
    return result if result.dtype is x.dtype else result.to(x.dtype)


def _log_sum_exp(x: Tensor, axes: list[int], keepdim: bool) -> Tensor:
    return pl.logsumexp(x if x.dtype.is_floating_point else x.to(pl.float64), axes, keepdim)


_REDUCTIONS: dict[str, Reduce] = {
    "ReduceL1": lambda x, axes, keep: pl.sum(pl.abs(x), axes, keep),
    "ReduceL2": lambda x, axes, keep: pl.sqrt(pl.sum(x * x, axes, keep)),
    "ReduceLogSum": lambda x, axes, keep: pl.log(pl.sum(x, axes, keep)),
    "ReduceLogSumExp": _log_sum_exp,
    "ReduceMax": pl.amax,
    "ReduceMean": lambda x, axes, keep: pl.mean(x if x.dtype.is_floating_point else x.to(pl.float64), axes, keep),
    "ReduceMin": pl.amin,
    "ReduceProd": _product,
    "ReduceSum": lambda x, axes, keep: pl.sum(x, axes, keep),
    "ReduceSumSquare": lambda x, axes, keep: pl.sum(x * x, axes, keep),
}
_ON_EMPTY = {"ReduceLogSumExp": -np.inf, "ReduceMax": -np.inf, "ReduceMin": np.inf}


def _reduction(name: str, function: Reduce) -> Callable[..., Tensor]:
    def compute(x: Tensor, axes: Any = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
        places = [] if axes is None else [int(axis) % x.ndim for axis in numbers(axes)]
        if not places and noop_with_empty_axes:
            return _like(x, function(x[None], [0], False))
        places = places or list(range(x.ndim))
        if name in _ON_EMPTY and any(x.shape[axis] == 0 for axis in places):
            return _empty_extreme(name, x, places, bool(keepdims))
        if x.dtype is pl.bool:
            return function(x.to(pl.int32), places, bool(keepdims)).to(pl.bool)
        return _like(x, function(x, places, bool(keepdims))) if x.ndim else _like(x, function(x[None], [0], False))

    return compute


def _empty_extreme(name: str, x: Tensor, places: list[int], keepdim: bool) -> Tensor:
    """The extreme of no elements: the other end of the dtype."""
    sizes = [1 if axis in places else size for axis, size in enumerate(x.shape) if keepdim or axis not in places]
    return pl.full(sizes, _ON_EMPTY[name] > 0 if x.dtype is pl.bool else _ON_EMPTY[name], dtype=x.dtype)


for _name, _function in _REDUCTIONS.items():
    operator(_name, known=(1,))(_reduction(_name, _function))


def _arg(function: Any, x: Tensor, axis: int, keepdims: int, last: int) -> Tensor:
    if not last:
        return function(x, axis, bool(keepdims))
    found = function(pl.flip(x, dims=[axis]), axis, bool(keepdims))
    return x.shape[axis] - 1 - found


@operator("ArgMax")
def arg_max(x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
    """Where the largest stands, the first of equals or the last."""
    return _arg(pl.argmax, x, axis, keepdims, select_last_index)


@operator("ArgMin")
def arg_min(x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
    """Where the smallest stands, the first of equals or the last."""
    return _arg(pl.argmin, x, axis, keepdims, select_last_index)


@operator("Softmax")
def softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """Along one dimension."""
    return F.softmax(x, axis)


@operator("LogSoftmax")
def log_softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """Along one dimension."""
    return F.log_softmax(x, axis)


@operator("Hardmax")
def hardmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """One where the first of the largest stands."""
    places = pl.argmax(x, axis, True)
    return pl.zeros_like(x).scatter(axis, places, pl.ones_like(x))


@operator("LpNormalization")
def lp_normalization(x: Tensor, *, axis: int = -1, p: int = 2) -> Tensor:
    """Each vector by its norm; zeros stay."""
    length = pl.sum(pl.abs(x), axis, True) if p == 1 else pl.sqrt(pl.sum(x * x, axis, True))
    return pl.where(length == 0, pl.zeros_like(x), x / pl.where(length == 0, pl.ones_like(length), length))


def _running(function: Any, x: Tensor, axis: Any, exclusive: int, reverse: int, first: int) -> Tensor:
    axis = int(numbers(axis)[0])
    x = pl.flip(x, dims=[axis]) if reverse else x
    if exclusive:
        start = pl.full_like(x.narrow(axis, 0, 1), first)
        x = pl.cat([start, x.narrow(axis, 0, x.shape[axis] - 1)], axis)
    result = _like(x, function(x, axis))
    return pl.flip(result, dims=[axis]) if reverse else result


@operator("CumSum", known=(1,))
def cum_sum(x: Tensor, axis: Any, *, exclusive: int = 0, reverse: int = 0) -> Tensor:
    """Running sums; exclusive ones leave the element itself out."""
    return _running(pl.cumsum, x, axis, exclusive, reverse, 0)


@operator("CumProd", known=(1,))
def cum_prod(x: Tensor, axis: Any, *, exclusive: int = 0, reverse: int = 0) -> Tensor:
    """Running products; exclusive ones leave the element itself out."""
    return _running(pl.cumprod, x, axis, exclusive, reverse, 1)


@operator("TopK", known=(1,))
def top_k(x: Tensor, k: Any, *, axis: int = -1, largest: int = 1, sorted: int = 1) -> tuple[Tensor, Tensor]:
    """The k largest or smallest, and where they stand."""
    values, places = pl.topk(x, numbers(k)[0], axis, bool(largest))
    return values, places


@operator("Unique")
def unique(x: Tensor, *, axis: int | None = None, sorted: int = 1) -> tuple[Tensor, ...]:
    """Values that occur, where first, which one each element is, and how often; the shape depends on the data."""
    array = x.detach().numpy()
    values, first, inverse, counts = np.unique(array, True, True, True, axis=axis)
    inverse = inverse.reshape(-1)
    if not sorted:
        order = np.argsort(first, kind="stable")
        rank = np.argsort(order, kind="stable")
        values, first, counts = np.take(values, order, 0 if axis is None else axis), first[order], counts[order]
        inverse = rank[inverse]
    return tuple(pl.tensor(part) for part in (values, *(part.astype(np.int64) for part in (first, inverse, counts))))
