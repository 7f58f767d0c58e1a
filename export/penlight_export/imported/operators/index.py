# SPDX-License-Identifier: Apache-2.0
"""Operators that read or write at places that tensors name."""

from __future__ import annotations

from typing import Any

import numpy as np

import penlight as pl
from penlight_export.imported.registry import operator
from penlight_export.imported.values import numbers

Tensor = pl.Tensor

_REDUCES = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _from_zero(indices: Tensor, size: Any) -> Tensor:
    """Indices may count from the end."""
    indices = indices.to(pl.int64)
    if indices._traced is None and not bool((indices < 0).any().item() if indices.numel() else False):
        return indices
    return pl.where(indices < 0, indices + size, indices)


@operator("Gather")
def gather(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    """Whole slices, at indices of any shape."""
    axis = axis % x.ndim
    indices = _from_zero(indices, x.shape[axis])
    if indices.ndim == 0 and indices._traced is None:
        return x.select(axis, int(indices.item()))
    if axis == 0 and x.ndim == 2 and x.dtype.is_floating_point:
        return pl.nn.functional.embedding(indices, x)
    flat = pl.index_select(x, axis, indices.reshape(-1))
    return flat.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


@operator("GatherElements")
def gather_elements(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    """Single elements along one dimension."""
    return pl.gather(x, axis, _from_zero(indices, x.shape[axis]))


@operator("GatherND")
def gather_nd(x: Tensor, indices: Tensor, *, batch_dims: int = 0) -> Tensor:
    """Slices at rows of indices, behind dimensions that both share."""
    return x[_places(x, indices, batch_dims)]


def _places(x: Tensor, indices: Tensor, batch_dims: int = 0) -> tuple[Any, ...]:
    """What to index with: a tensor for each leading dimension."""
    count = indices.shape[-1]
    columns = [_from_zero(indices.select(-1, k), x.shape[batch_dims + k]) for k in range(count)]
    rank = indices.ndim - 1
    batch = [pl.arange(x.shape[k]).reshape(*(-1 if k == axis else 1 for axis in range(rank))) for k in range(batch_dims)]
    return (*batch, *columns)


@operator("ScatterElements", "Scatter")
def scatter_elements(x: Tensor, indices: Tensor, updates: Tensor, *, axis: int = 0, reduction: str = "none") -> Tensor:
    """Writes single elements along one dimension."""
    indices = _from_zero(indices, x.shape[axis])
    if reduction == "none":
        return pl.scatter(x, axis, indices, updates)
    if reduction == "add":
        return pl.scatter_add(x, axis, indices, updates)
    return pl.scatter_reduce(x, axis, indices, updates, _REDUCES[reduction])


@operator("ScatterND")
def scatter_nd(x: Tensor, indices: Tensor, updates: Tensor, *, reduction: str = "none") -> Tensor:
    """Writes slices at rows of indices."""
    if reduction in ("none", "add"):
        return pl.index_put(x, _places(x, indices), updates, accumulate=reduction == "add")
    count = indices.shape[-1]
    lead, inner = x.shape[:count], x.shape[count:]
    columns = _places(x, indices)
    row: Any = 0
    for column, size in zip(columns, lead, strict=True):
        row = row * size + column
    width = int(np.prod(inner, dtype=np.int64))
    flat, changes = x.reshape(-1, width), updates.reshape(-1, width)
    spread = pl.broadcast_to(row.reshape(-1, 1), tuple(changes.shape))
    return pl.scatter_reduce(flat, 0, spread, changes, _REDUCES[reduction]).reshape(*x.shape)


@operator("Compress", known=(1,))
def compress(x: Tensor, condition: Any, *, axis: int | None = None) -> Tensor:
    """The slices where the condition holds."""
    x = x.reshape(-1) if axis is None else x
    return pl.index_select(x, axis or 0, pl.from_numpy(np.flatnonzero(condition).astype(np.int64)))


@operator("NonZero")
def non_zero(x: Tensor) -> Tensor:
    """Where elements are not zero, a column for each."""
    return pl.nonzero(x).permute(1, 0)


@operator("OneHot", known=(1,))
def one_hot(indices: Tensor, depth: Any, values: Tensor, *, axis: int = -1) -> Tensor:
    """One of two numbers along a new dimension; indices out of range give the first everywhere."""
    count = int(numbers(depth)[0])
    places = indices.to(pl.int64)
    places = pl.where(places < 0, places + count, places)
    hot = places.unsqueeze(-1) == pl.arange(count)
    result = pl.where(hot, values[1], values[0])
    rank = indices.ndim + 1
    return pl.movedim(result, -1, axis % rank)


@operator("ReverseSequence", known=(1,))
def reverse_sequence(x: Tensor, lengths: Any, *, batch_axis: int = 1, time_axis: int = 0) -> Tensor:
    """Turns the first steps of each sequence around."""
    steps = np.arange(x.shape[time_axis])
    rows = np.stack([np.where(steps < n, n - 1 - steps, steps) for n in numbers(lengths)])  # (B, T)
    if batch_axis > time_axis:
        rows = rows.T
    sizes = [x.shape[axis] if axis in (batch_axis, time_axis) else 1 for axis in range(x.ndim)]
    return pl.gather(x, time_axis, pl.broadcast_to(pl.from_numpy(rows.reshape(sizes).copy()), tuple(x.shape)))


@operator("TensorScatter", known=(2,))
def tensor_scatter(past: Tensor, update: Tensor, start: Any = None, *, axis: int = -2, mode: str = "linear") -> Tensor:
    """Writes new steps into a cache, for each sequence from its own place on."""
    axis = axis % past.ndim
    steps = np.arange(update.shape[axis])
    first = np.zeros(past.shape[0], np.int64) if start is None else np.asarray(numbers(start))
    places = first[:, None] + steps  # (B, S)
    places = places % past.shape[axis] if mode == "circular" else places
    sizes = [past.shape[0], *(update.shape[axis] if k == axis else 1 for k in range(1, past.ndim))]
    return pl.scatter(past, axis, pl.broadcast_to(pl.from_numpy(places.reshape(sizes)), tuple(update.shape)), update)
