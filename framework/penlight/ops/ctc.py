# SPDX-License-Identifier: Apache-2.0
"""Connectionist temporal classification (Graves et al. 2006), summed over alignments in log space."""

from __future__ import annotations

from typing import Any

import numpy as np

from penlight.errors import ArgumentError
from penlight.ops.arithmetic import where
from penlight.ops.create import full
from penlight.ops.elementwise import exp
from penlight.ops.loss import _reduce as reduce_loss
from penlight.ops.precision import under_autocast
from penlight.ops.shape import cat, stack
from penlight.ops.softmax import logsumexp
from penlight.tensor import Tensor, from_numpy

LOWEST = -1e30  # stands for log(0): infinities would turn into NaN in the gradient


@under_autocast
def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Returns minus the log-probability that the frames spell the target, over all alignments.

    Args:
        log_probs: (T, N, C) or (T, C), logarithms of probabilities.
        targets: (N, S), or (sum of target_lengths,) one after the other; classes other than `blank`.
        input_lengths, target_lengths: (N,), integers: how many frames and labels of each count.
        blank: the class that stands for nothing.
        reduction: "mean" (each loss over its target length, then over the batch), "sum" or "none".
        zero_infinity: whether the loss of a target that is too long for its frames is 0 and not infinite.
    """
    if log_probs.ndim == 2:
        frame, span = (np.reshape(_numbers(n), 1) for n in (input_lengths, target_lengths))
        one = ctc_loss(log_probs.unsqueeze(1), targets.reshape((1, -1)), frame, span, blank, "none", zero_infinity)
        return one.squeeze(0) if reduction == "none" else _over_length(one, span).sum() if reduction == "mean" else one.sum()
    frames, spans = _numbers(input_lengths), _numbers(target_lengths)
    labels = _padded(targets, spans, blank)
    losses = _losses(log_probs, labels, frames, spans, blank) + _normalisation(log_probs, frames)
    if losses._traced is not None or (losses._data > -LOWEST / 2).any():
        losses = where(losses > -LOWEST / 2, 0.0 if zero_infinity else float("inf"), losses)
    return reduce_loss(_over_length(losses, spans) if reduction == "mean" else losses, reduction, "ctc_loss")


def _normalisation(log_probs: Tensor, frames: np.ndarray) -> Tensor:
    """(N,) zeros whose gradient is exp(log_probs): PyTorch's gradient of ctc_loss already holds that of the log-softmax.

    After a log-softmax both give the same, since its gradient takes the row sums off.
    """
    counted = from_numpy(np.arange(log_probs.shape[0])[:, None] < frames)
    mass = where(counted, exp(log_probs).sum(2), 0.0).sum(0)
    return mass - mass.detach()


def _numbers(values: Any) -> np.ndarray:
    return np.asarray(values.numpy() if isinstance(values, Tensor) else values, dtype=np.int64)


def _over_length(losses: Tensor, spans: np.ndarray) -> Tensor:
    return losses / from_numpy(np.maximum(spans, 1)).to(losses.dtype)


def _padded(targets: Tensor, spans: np.ndarray, blank: int) -> np.ndarray:
    """(N, S) labels, `blank` after the end."""
    given = targets.numpy()
    if given.ndim == 2 and given.shape[1] < spans.max(initial=0):
        raise ArgumentError(f"ctc_loss: targets hold {given.shape[1]} labels each, target_lengths ask for {spans.max()}")
    labels = np.full((len(spans), int(spans.max(initial=0))), blank, np.int64)
    start = 0
    for row, span in enumerate(spans):
        labels[row, :span] = given[row, :span] if given.ndim == 2 else given[start : start + span]
        start += span
    return labels


def _losses(log_probs: Tensor, labels: np.ndarray, frames: np.ndarray, spans: np.ndarray, blank: int) -> Tensor:
    """(N,): the forward recursion over frames. State 2k + 1 is label k, states 2k are the blanks around the labels."""
    batch, states = len(labels), 2 * labels.shape[1] + 1
    symbols = np.full((batch, states), blank, np.int64)
    symbols[:, 1::2] = labels
    # A blank may be skipped between two labels that differ.
    skips = np.zeros((batch, states), bool)
    skips[:, 3::2] = labels[:, 1:] != labels[:, :-1]
    index, may_skip = from_numpy(symbols), from_numpy(skips)
    low = full((batch, states), LOWEST, dtype=log_probs.dtype)
    alpha = where(from_numpy(np.arange(states)[None] < 2), log_probs[0].gather(1, index), low)
    for t in range(1, int(frames.max(initial=1))):
        before = cat([low[:, :1], alpha[:, :-1]], 1)
        skipped = where(may_skip, cat([low[:, :2], alpha[:, :-2]], 1)[:, :states], low)
        moved = logsumexp(stack([alpha, before, skipped]), 0) + log_probs[t].gather(1, index)
        alpha = where(from_numpy((frames > t)[:, None]), moved, alpha)
    ends = np.stack([2 * spans, np.maximum(2 * spans - 1, 0)], 1)
    last = alpha.gather(1, from_numpy(ends))
    last = where(from_numpy(np.stack([spans < 0, spans == 0], 1)), LOWEST, last)  # an empty target has one end only
    return -logsumexp(last, 1)
