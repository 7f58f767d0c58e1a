# SPDX-License-Identifier: Apache-2.0
"""Losses with a margin: rankings, embeddings, several classes; and the robust Huber loss."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from penlight.errors import ArgumentError, ShapeError
from penlight.ops.activation import relu
from penlight.ops.arithmetic import minimum, where
from penlight.ops.create import arange
from penlight.ops.distance import pairwise_distance
from penlight.ops.elementwise import abs as magnitude
from penlight.ops.elementwise import sqrt
from penlight.ops.loss import _reduce as reduce_loss
from penlight.ops.precision import under_autocast
from penlight.ops.rectifier import logsigmoid
from penlight.tensor import Tensor, from_numpy


@under_autocast
def huber_loss(input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None) -> Tensor:
    """Returns 0.5 * d^2 where |d| < delta, else delta * (|d| - 0.5 * delta), reduced (Huber 1964).

    Raises:
        ArgumentError: delta is not positive.
    """
    if not delta > 0:
        raise ArgumentError(f"huber_loss: delta must be positive, came {delta}")
    distance = magnitude(input - target)
    losses = where(distance < delta, distance.square() * 0.5, (distance - 0.5 * delta) * delta)
    return reduce_loss(losses if weight is None else losses * weight, reduction, "huber_loss")


@under_autocast
def margin_ranking_loss(input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: str = "mean") -> Tensor:
    """Returns max(0, -y * (x1 - x2) + margin), reduced: y = 1 wants x1 above x2, y = -1 the other way."""
    return reduce_loss(relu(-target * (input1 - input2) + margin), reduction, "margin_ranking_loss")


@under_autocast
def hinge_embedding_loss(input: Tensor, target: Tensor, margin: float = 1.0, reduction: str = "mean") -> Tensor:
    """Returns x where y = 1 and max(0, margin - x) where y = -1 (both together for other y), reduced."""
    losses = where(target == 1, 0.0, relu(margin - input)) + where(target == -1, 0.0, input)
    return reduce_loss(losses, reduction, "hinge_embedding_loss")


@under_autocast
def soft_margin_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Returns log(1 + exp(-y * x)), reduced, for targets of -1 and 1."""
    return reduce_loss(-logsigmoid(target * input), reduction, "soft_margin_loss")


@under_autocast
def cosine_embedding_loss(input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: str = "mean") -> Tensor:
    """Returns 1 - cos where y = 1 and max(0, cos - margin) where y = -1, reduced.

    Args:
        input1, input2: (N, D) with target (N,), or (D,) with target ().
        margin: what cosines of unlike pairs may reach, in [-1, 1].
        reduction: "mean", "sum" or "none".

    Raises:
        ShapeError: the target has another number of dimensions.
    """
    if target.ndim != input1.ndim - 1:
        raise ShapeError(f"cosine_embedding_loss: target {tuple(target.shape)} does not fit inputs {tuple(input1.shape)}")
    # PyTorch's constant here, unlike cosine_similarity's clamp.
    eps = 1e-12
    squares = ((input1 * input1).sum(-1) + eps) * ((input2 * input2).sum(-1) + eps)
    cosine = (input1 * input2).sum(-1) / sqrt(squares)
    losses = where(target == 1, 1.0 - cosine, where(target == -1, relu(cosine - margin), 0.0))
    return reduce_loss(losses, reduction, "cosine_embedding_loss")


@under_autocast
def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """Returns max(0, |a - p| - |a - n| + margin), reduced, for (N, D) or (D,); see `triplet_margin_with_distance_loss`."""

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return pairwise_distance(a, b, p, eps)

    return triplet_margin_with_distance_loss(
        anchor, positive, negative, distance_function=distance, margin=margin, swap=swap, reduction=reduction
    )


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """Returns max(0, d(anchor, positive) - d(anchor, negative) + margin), reduced.

    Args:
        anchor, positive, negative: (N, D) or (D,).
        distance_function: `pairwise_distance` by default.
        margin: how much further the negative should be.
        swap: takes d(positive, negative) where that is smaller than d(anchor, negative).
        reduction: "mean", "sum" or "none".
    """
    if not margin > 0:
        raise ArgumentError(f"triplet_margin_loss: margin must be positive, came {margin}")
    measure = distance_function or pairwise_distance
    far = measure(anchor, negative)
    if swap:
        far = minimum(far, measure(positive, negative))
    return reduce_loss(relu(measure(anchor, positive) - far + margin), reduction, "triplet_margin_loss")


def _rows(operator: str, input: Tensor, target: Tensor, target_ndim: int) -> tuple[Tensor, Tensor]:
    """(N, C) and (N, ...) of a batch or of a single row."""
    if input.ndim < 2:
        return input.reshape((1, -1)), target.reshape((1, -1)) if target_ndim == 2 else target.reshape(-1)
    if input.ndim != 2 or target.ndim != target_ndim or target.shape[0] != input.shape[0]:
        raise ShapeError(f"{operator}: target {tuple(target.shape)} does not fit input {tuple(input.shape)}")
    return input, target


@under_autocast
def multi_margin_loss(
    input: Tensor, target: Tensor, p: int = 1, margin: float = 1.0, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """Returns sum over i != y of max(0, margin - x[y] + x[i])^p / C, reduced.

    Args:
        input: (N, C) or (C,). target: classes (N,) or ().
        p: 1 or 2. margin: by how much the right class should lead. weight: (C,) factor per right class.
        reduction: "mean", "sum" or "none".
    """
    if p not in (1, 2):
        raise ArgumentError(f"multi_margin_loss: p must be 1 or 2, came {p}")
    x, y = _rows("multi_margin_loss", input, target, 1)
    right = y.unsqueeze(1)
    terms = relu(margin - x.gather(1, right) + x)
    terms = terms if p == 1 else terms.square()
    if weight is not None:
        terms = terms * weight.index_select(0, y).unsqueeze(1)
    losses = where(arange(x.shape[1]).unsqueeze(0) == right, 0.0, terms).sum(1) / x.shape[1]
    return reduce_loss(losses if input.ndim == 2 else losses.squeeze(0), reduction, "multi_margin_loss")


@under_autocast
def multilabel_margin_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Returns sum over labels j and other classes i of max(0, 1 - (x[j] - x[i])) / C, reduced.

    Args:
        input: (N, C) or (C,). target: like the input, integer: labels first, then -1 and whatever follows.
        reduction: "mean", "sum" or "none".
    """
    x, y = _rows("multilabel_margin_loss", input, target, 2)
    labels = y.numpy()
    counts = np.cumprod(labels >= 0, axis=1).astype(bool)  # labels end at the first negative number
    is_label = np.zeros(labels.shape, bool)
    rows = np.nonzero(counts)[0]
    is_label[rows, labels[counts]] = True
    chosen = x.gather(1, from_numpy(np.where(counts, labels, 0)))  # (N, labels)
    pairs = relu(1.0 - (chosen.unsqueeze(2) - x.unsqueeze(1)))  # (N, labels, C)
    kept = from_numpy(counts[:, :, None] & ~is_label[:, None, :])
    losses = where(kept, pairs, 0.0).sum((1, 2)) / x.shape[1]
    return reduce_loss(losses if input.ndim == 2 else losses.squeeze(0), reduction, "multilabel_margin_loss")


def multilabel_soft_margin_loss(input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean") -> Tensor:
    """Returns the mean over classes of -(y log sigmoid(x) + (1 - y) log sigmoid(-x)), reduced; weight: (C,)."""
    losses = -(target * logsigmoid(input) + (1.0 - target) * logsigmoid(-input))
    losses = losses if weight is None else losses * weight
    return reduce_loss(losses.mean(-1), reduction, "multilabel_soft_margin_loss")
