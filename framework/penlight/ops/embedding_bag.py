# SPDX-License-Identifier: Apache-2.0
"""Sums, means or maxima over bags of embedding rows."""

from __future__ import annotations

import numpy as np

from penlight.errors import ArgumentError, ShapeError
from penlight.ops.arithmetic import maximum, where
from penlight.ops.embedding import embedding
from penlight.ops.gather import gather
from penlight.tensor import Tensor, from_numpy


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Returns one row per bag of indices.

    Args:
        input: (B, L) bags of equal length, or (N,) all bags one after the other; integer.
        weight: (V, D).
        offsets: (B,) where each bag of a one-dimensional input begins.
        max_norm, norm_type: as in `embedding`.
        scale_grad_by_freq: not supported.
        mode: "sum", "mean" or "max".
        sparse: accepted; gradients are dense.
        per_sample_weights: factors in the shape of the input; only with "sum".
        include_last_offset: whether the last offset is the end.
        padding_idx: an index that does not count.

    Returns:
        (B, D); zeros for an empty bag.
    """
    if scale_grad_by_freq:
        raise ArgumentError("embedding_bag: scale_grad_by_freq is not supported; leave it out")
    if mode not in ("sum", "mean", "max") or (per_sample_weights is not None and mode != "sum"):
        raise ArgumentError(
            f'embedding_bag: mode must be "sum" (the only one for per_sample_weights), "mean" or "max", not {mode!r}'
        )
    if input.ndim == 2 and offsets is None:
        bags, weights, counted = input, per_sample_weights, None
    else:
        positions, ends = _bags(input, offsets, include_last_offset)
        bags, weights, counted = input[positions], per_sample_weights, ends
        weights = None if weights is None else weights[positions]
    if padding_idx is not None:
        real = bags != padding_idx % weight.shape[0]
        counted = real if counted is None else counted & real
    rows = embedding(bags, weight, None, max_norm, norm_type)  # (B, L, D)
    if mode == "max":
        return _maxima(rows, counted)
    if weights is not None:
        rows = rows * weights.unsqueeze(-1)
    if counted is None:
        return rows.sum(1) if mode == "sum" else rows.mean(1)
    total = where(counted.unsqueeze(-1), rows, 0.0).sum(1)
    if mode == "sum":
        return total
    return total / maximum(counted.to(weight.dtype).sum(1, keepdim=True), 1.0)


def _bags(input: Tensor, offsets: Tensor | None, include_last_offset: bool) -> tuple[Tensor, Tensor]:
    """(positions in the input, whether they count), both (B, L) with L the longest bag."""
    if input.ndim == 2:
        raise ShapeError("embedding_bag: offsets are for a one-dimensional input; (B, L) holds bags of equal length")
    if input.ndim != 1 or offsets is None:
        raise ShapeError(f"embedding_bag: expected input (B, L), or (N,) with offsets, came {tuple(input.shape)}")
    starts = offsets.numpy()
    borders = starts if include_last_offset else np.append(starts, input.numel())
    lengths = np.diff(borders)
    steps = np.arange(int(lengths.max(initial=0)))
    counted = steps < lengths[:, None]
    return from_numpy(np.where(counted, borders[:-1, None] + steps, 0)), from_numpy(counted)


def _maxima(rows: Tensor, counted: Tensor | None) -> Tensor:
    if counted is None:
        return gather(rows, 1, rows.detach().argmax(1, keepdim=True)).squeeze(1)
    best = where(counted.unsqueeze(-1), rows, float("-inf")).detach().argmax(1, keepdim=True)
    return where(counted.any(1, keepdim=True), gather(rows, 1, best).squeeze(1), 0.0)
