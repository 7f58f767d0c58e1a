# SPDX-License-Identifier: Apache-2.0
"""Composites of operators that read elements by a rule: diagonals, windows, strides."""

from __future__ import annotations

from typing import Any

import numpy as np

import penlight as pl
from penlight.ops.rearrange import diagonal_size
from penlight.tensor import Tensor, from_array
from penlight_export.errors import UnsupportedFeatureError
from penlight_export.onnx.composites.registry import composite


@composite("diagonal")
def diagonal(operator: Any, x: Tensor) -> Tensor:
    """Row and column indices of the two dimensions, moved to the end."""
    moved = x.movedim((operator.dim1, operator.dim2), (-2, -1))
    key = (..., *diagonal_places(operator, moved.shape))
    return moved[key]


def diagonal_places(operator: Any, shape: Any) -> tuple[Tensor, Tensor]:
    """The rows and columns of a diagonal of matrices of this shape."""
    steps = pl.arange(diagonal_size(shape[-2], shape[-1], operator.offset))
    return steps + max(-operator.offset, 0), steps + max(operator.offset, 0)


@composite("unfold_dim")
def unfold_dim(operator: Any, x: Tensor) -> Tensor:
    """One index array of all windows."""
    windows = x.movedim(operator.dim, -1)[..., window_places(operator, x.shape[operator.dim])]
    return windows.movedim(-2, operator.dim)


def window_places(operator: Any, length: int) -> Tensor:
    """(windows, size): where the elements of each window stand."""
    count = (length - operator.size) // operator.step + 1
    return pl.arange(count).unsqueeze(1) * operator.step + pl.arange(operator.size)


@composite("as_strided")
def as_strided(operator: Any, x: Tensor) -> Tensor:
    """An index into the elements in the order of the memory, which a graph knows for dense tensors only."""
    if operator.held is not None:
        order = sorted(range(x.ndim), key=lambda dim: -operator.held[dim])
        x = x.permute(order)
        if operator.held != tuple(dense_strides(x.shape)[order.index(dim)] for dim in range(x.ndim)):
            raise UnsupportedFeatureError(
                f"as_strided of a tensor with gaps in its memory (strides {operator.held}) has no ONNX form; index it instead"
            )
    grid = np.indices(tuple(map(int, operator.size))).reshape(len(operator.size), *map(int, operator.size))
    places = operator.start + sum(step * axis for step, axis in zip(operator.stride, grid, strict=True))
    return x.reshape(-1)[from_array(np.asarray(places, np.int64))]


def dense_strides(shape: Any) -> tuple[int, ...]:
    """Elements from one index to the next, of a tensor in row-major order."""
    steps = [1]
    for size in reversed(tuple(shape)[1:]):
        steps.insert(0, steps[0] * int(size))
    return tuple(steps[: len(tuple(shape))])
