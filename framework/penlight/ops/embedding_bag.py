# SPDX-License-Identifier: Apache-2.0
"""Sums, means or maxima over bags of embedding rows."""

from __future__ import annotations

import numpy as np

from penlight.errors import ArgumentError, ShapeError
from penlight.ops.arithmetic import where
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
        max_norm, scale_grad_by_freq, sparse: not supported; norm_type belongs to max_norm.
        mode: "sum", "mean" or "max".
        per_sample_weights: factors in the shape of the input; only with "sum".
        include_last_offset: whether the last offset is the end.
        padding_idx: an index that does not count.

    Returns:
        (B, D); zeros for an empty bag.
    """
    if max_norm is not None or scale_grad_by_freq or sparse:
        raise ArgumentError("embedding_bag: max_norm, scale_grad_by_freq and sparse are not supported; leave them out")
    if mode not in ("sum", "mean", "max") or (per_sample_weights is not None and mode != "sum"):
        raise ArgumentError(
            f'embedding_bag: mode must be "sum" (the only one for per_sample_weights), "mean" or "max", not {mode!r}'
        )
    positions, counted = _bags(input, offsets, include_last_offset)
    places = from_numpy(positions.reshape(-1))
    flat = input.reshape(-1).index_select(0, places).reshape(positions.shape)
    if padding_idx is not None:
        counted = counted & (flat.numpy() != padding_idx % weight.shape[0])
    rows = embedding(flat, weight)  # (B, L, D)
    kept = from_numpy(counted)
    if mode == "max":
        return _maxima(rows, kept, counted)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.reshape(-1).index_select(0, from_numpy(positions.reshape(-1))).reshape(
            (*positions.shape, 1)
        )
    total = where(kept.unsqueeze(-1), rows, 0.0).sum(1)
    if mode == "sum":
        return total
    return total / from_numpy(np.maximum(counted.sum(1, keepdims=True), 1)).to(weight.dtype)


def _bags(input: Tensor, offsets: Tensor | None, include_last_offset: bool) -> tuple[np.ndarray, np.ndarray]:
    """(positions in the flat input, whether they count), both (B, L) with L the longest bag."""
    if input.ndim == 2:
        if offsets is not None:
            raise ShapeError("embedding_bag: offsets are for a one-dimensional input; (B, L) holds bags of equal length")
        positions = np.arange(input.numel()).reshape(tuple(input.shape))
        return positions, np.ones(positions.shape, bool)
    if input.ndim != 1 or offsets is None:
        raise ShapeError(f"embedding_bag: expected input (B, L), or (N,) with offsets, came {tuple(input.shape)}")
    starts = offsets.numpy()
    borders = starts if include_last_offset else np.append(starts, input.numel())
    lengths = np.diff(borders)
    steps = np.arange(int(lengths.max(initial=0)))
    counted = steps < lengths[:, None]
    return np.where(counted, borders[:-1, None] + steps, 0), counted


def _maxima(rows: Tensor, kept: Tensor, counted: np.ndarray) -> Tensor:
    best = where(kept.unsqueeze(-1), rows, float("-inf")).detach().argmax(1, keepdim=True)
    empty = from_numpy(np.logical_not(counted.any(1, keepdims=True)))
    return where(empty, 0.0, gather(rows, 1, best).squeeze(1))
