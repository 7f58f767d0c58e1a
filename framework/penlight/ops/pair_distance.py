# SPDX-License-Identifier: Apache-2.0
"""Distances between all pairs of vectors."""

from __future__ import annotations

import numpy as np

from penlight.errors import ArgumentError, ShapeError
from penlight.ops.arithmetic import clamp
from penlight.ops.matmul import matmul
from penlight.ops.precision import under_autocast
from penlight.ops.statistics import root, vector_norm
from penlight.tensor import Tensor, from_numpy

_MODES = ("use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist")
_MANY = 25  # rows beyond which products are worth the digits that they lose, as in PyTorch


@under_autocast
def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str = _MODES[0]) -> Tensor:
    """Returns the p-norms of the differences of all pairs of rows; at distance 0 the slope is taken as 0.

    Args:
        x1: (..., P, M), floating point. x2: (..., R, M); the leading sizes broadcast.
        p: 0 or more; infinity gives the largest difference.
        compute_mode: whether distances for p = 2 come from a matrix product, which is fast and less exact: by default for
            more than 25 rows.

    Returns:
        (..., P, R).

    Raises:
        ShapeError: the rows differ in size, or there are none.
        ArgumentError: p is negative, or the mode is another.
    """
    if x1.ndim < 2 or x2.ndim < 2 or x1.shape[-1] != x2.shape[-1]:
        raise ShapeError(f"cdist: expected (..., P, M) and (..., R, M), came {tuple(x1.shape)} and {tuple(x2.shape)}")
    if not p >= 0 or compute_mode not in _MODES:
        raise ArgumentError(f"cdist: p must be 0 or more and compute_mode one of {_MODES}, came {p} and {compute_mode!r}")
    many = compute_mode == _MODES[1] or (compute_mode == _MODES[0] and max(x1.shape[-2], x2.shape[-2]) > _MANY)
    return _by_product(x1, x2) if p == 2 and many else _lengths(x1.unsqueeze(-2) - x2.unsqueeze(-3), p)


def _by_product(x1: Tensor, x2: Tensor) -> Tensor:
    """|a - b|^2 = |a|^2 - 2 a.b + |b|^2"""
    first, second = (x1 * x1).sum(-1, keepdim=True), (x2 * x2).sum(-1, keepdim=True).mT
    return root(clamp(first - matmul(x1, x2.mT) * 2.0 + second, min=0.0))


def _lengths(gaps: Tensor, p: float) -> Tensor:
    if gaps.shape[-1] == 0:
        return gaps.sum(-1)  # the largest of nothing would be an error
    return vector_norm(gaps, p, -1)


def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """Returns the p-norms of the differences of rows i < j of (N, M), as a vector of N (N - 1) / 2.

    Raises:
        ShapeError: the input is no matrix.
        ArgumentError: p is negative.
    """
    if input.ndim != 2:
        raise ShapeError(f"pdist: expected (N, M), came {tuple(input.shape)}")
    if not p >= 0:
        raise ArgumentError(f"pdist: p must be 0 or more, came {p}")
    first, second = (from_numpy(part.astype(np.int64)) for part in np.triu_indices(int(input.shape[0]), 1))
    if not first.numel():
        return input.sum(-1)[:0]
    return _lengths(input.index_select(0, first) - input.index_select(0, second), p)
