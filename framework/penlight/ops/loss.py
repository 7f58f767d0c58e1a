# SPDX-License-Identifier: Apache-2.0
"""Losses. Cross-entropy is one operator, so that the tape keeps the log-probabilities and nothing else."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from penlight import _native
from penlight.backends.backend import backend_of
from penlight.dtype import bfloat16, float16, float32, int64
from penlight.errors import ArgumentError, DTypeError, ShapeError
from penlight.ops.arithmetic import clamp, where
from penlight.ops.dispatch import apply
from penlight.ops.elementwise import abs, exp, log1p
from penlight.ops.fused_loss import FusedCrossEntropy
from penlight.ops.operator import Operator, Spec
from penlight.ops.precision import under_autocast
from penlight.ops.registry import register
from penlight.ops.samples import index, of, sample
from penlight.ops.softmax import log_softmax_array
from penlight.tape import mode
from penlight.tensor import Tensor


@register
class CrossEntropy(Operator):
    """Per row of x (N, C): -(1 - s) * log p[target] - s / C * sum(log p), 0 where target is `ignore_index`; and log p"""

    name = "cross_entropy"
    saves_inputs, saves_output = (False, True), True
    outputs = 2
    samples = (
        sample(of(4, 5), index(4, high=5)),
        sample(of(4, 5), index(4, high=5), label_smoothing=0.1),
        sample(of(6, 3), index(6, high=3), ignore_index=1),
        sample(of(0, 3), index(0, high=3)),
    )

    ignore_index: int = -100
    label_smoothing: float = 0.0

    def infer(self, x: Spec, target: Spec) -> tuple[Spec, Spec]:
        if target.dtype.kind != 1:
            raise DTypeError(f"cross_entropy: expected integer classes, came {target.dtype}; convert with .to(penlight.int64)")
        if len(x.shape) != 2 or tuple(target.shape) != (x.shape[0],):
            raise ShapeError(f"cross_entropy: expected (N, C) and (N,), came {tuple(x.shape)} and {tuple(target.shape)}")
        return Spec(target.shape, x.dtype), x

    def forward(self, xp, x, target):
        logp = log_softmax_array(xp, x, 1)
        rows, safe, kept = self._rows(xp, target)
        loss = -logp[rows, safe]
        if self.label_smoothing:
            smooth = x.dtype.type(self.label_smoothing)
            loss = loss * (1 - smooth) - logp.mean(axis=1) * smooth
        return xp.where(kept, loss, x.dtype.type(0)), logp

    def _rows(self, xp, target):
        kept = target != self.ignore_index
        return xp.arange(target.shape[0]), xp.where(kept, target, 0), kept

    def backward(self, xp, needs, grad, output, x, target):
        if grad[1] is not None:
            return NotImplemented  # the log-probabilities have a gradient in a second derivative only
        rows, safe, kept = self._rows(xp, target)
        weight = xp.where(kept, grad[0], grad[0].dtype.type(0))[:, None]
        result = xp.exp(output[1])
        if self.label_smoothing:
            result -= result.dtype.type(self.label_smoothing / x.shape[1])
        result[rows, safe] -= result.dtype.type(1 - self.label_smoothing)
        result *= weight
        return result, None

    def vjp(self, grad, output, x, target):
        logp, classes = output[1], x.shape[1]
        kept = target != self.ignore_index
        hot = where(kept, target, 0).one_hot(classes).to(x.dtype)
        wanted = hot * (1.0 - self.label_smoothing) + self.label_smoothing / classes
        through_loss: Any = 0.0 if grad[0] is None else -wanted * where(kept, grad[0], 0.0).unsqueeze(1)
        total: Any = through_loss if grad[1] is None else through_loss + grad[1]  # the gradient that reaches log p
        return total - exp(logp) * total.sum(1, keepdim=True), None


@under_autocast
def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Returns the cross-entropy between logits and classes.

    Args:
        input: (N, C) or (C,) or (N, C, d1, ...), floating point, not normalised.
        target: (N,) or () or (N, d1, ...), integer classes in [0, C); or probabilities in the shape of `input`.
        weight: (C,) factor per class, or None.
        ignore_index: rows with this target count neither in the sum nor in the mean.
        reduction: "mean" (over the rows that count, weighted), "sum" or "none".
        label_smoothing: this share of the probability is spread evenly over all classes.

    Raises:
        ShapeError: the shapes do not fit. IndexError: a class is out of range; on a GPU, where nobody waits to look, the loss
            of such a row and its gradient are NaN instead (PyTorch's process ends by a device-side assert).
    """
    _check_reduction("cross_entropy", reduction)
    if target.dtype.is_floating_point:
        return _soft_cross_entropy(input, target, weight, reduction, label_smoothing)
    wanted = () if input.ndim == 1 else (input._data.shape[0], *input._data.shape[2:])
    if target._data.shape != wanted:
        raise ShapeError(
            f"cross_entropy: for logits {tuple(input.shape)} expected targets {wanted}, came {tuple(target.shape)}; "
            "targets are class numbers without a dimension for the classes, which is dim 1 of the logits"
        )
    rows, flat = _class_rows(input), target.reshape(-1)
    _check_classes(flat, rows, ignore_index)
    is_fused, marks = _writes_gradient(rows, weight), None
    if not ((is_fused or weight is None) and _has_own_kernel(rows, flat)):
        flat, marks = _in_range(flat, rows.shape[1], ignore_index)
    if is_fused:
        losses = apply(FusedCrossEntropy(ignore_index, float(label_smoothing)), rows, flat, weight)[0]
        counts = None if weight is None or reduction != "mean" else _class_weights(flat, weight, ignore_index)
    elif weight is not None:
        losses, counts = _weighted(rows, flat, weight, ignore_index, label_smoothing)
    else:
        losses = apply(CrossEntropy(ignore_index, float(label_smoothing)), rows, flat)[0]
        counts = None
    losses = losses if marks is None else losses * marks.to(losses.dtype)
    if reduction == "none":
        return losses.reshape(tuple(target.shape))
    if reduction == "sum":
        return losses.sum()
    return losses.sum() / _row_count(flat, ignore_index) if counts is None else losses.sum() / counts.sum()


def _class_rows(input: Tensor) -> Tensor:
    """The logits as (rows, C)."""
    if input.ndim <= 2:
        return input if input.ndim == 2 else input.unsqueeze(0)
    order = (0, *range(2, input.ndim), 1)
    return input.permute(order).reshape(-1, input.shape[1])


def _row_count(target: Tensor, ignore_index: int) -> Any:
    if type(target._data) is not np.ndarray:
        return (target != ignore_index).sum()  # counted there: the host would wait for the number
    return _class_range(target, ignore_index)[0] or float("nan")


def _class_range(target: Tensor, ignore_index: int) -> tuple[int, int, int]:
    """How many targets count, the smallest of them and the largest; zeros where none does."""
    found = _native.class_range(target._data, ignore_index)
    if found is not None:
        return found
    data = target._data[target._data != ignore_index]
    return (int(data.size), int(data.min()), int(data.max())) if data.size else (0, 0, 0)


def _check_classes(target: Tensor, rows: Tensor, ignore_index: int) -> None:
    if target.shape[0] != rows.shape[0]:
        raise ShapeError(f"cross_entropy: {rows.shape[0]} rows of logits, {target.shape[0]} targets; they must agree")
    if target._data.size and target.dtype.kind == 1 and type(target._data) is np.ndarray:
        kept, lowest, highest = _class_range(target, ignore_index)
        if kept and (lowest < 0 or highest >= rows.shape[1]):
            raise IndexError(
                f"cross_entropy: classes {lowest}..{highest} are out of range for {rows.shape[1]} logits; "
                "check the labels, or the out_features of the last layer"
            )


def _in_range(target: Tensor, classes: int, ignore_index: int) -> tuple[Tensor, Tensor | None]:
    """On a device, the target with 0 for classes out of range, and NaN for these rows, else 1; the CPU has looked before."""
    if type(target._data) is np.ndarray:
        return target, None
    is_valid = (target == ignore_index) | ((target >= 0) & (target < classes))
    counted = is_valid.to(float32)
    return where(is_valid, target, 0), counted / counted  # 0 / 0 is NaN


def _has_own_kernel(rows: Tensor, target: Tensor) -> bool:
    """Whether the loss runs in a kernel of ours, which gives NaN for a class out of range by itself."""
    is_taken = target.dtype is int64 and rows.dtype in (float32, float16, bfloat16)
    return is_taken and backend_of(rows._data).kernel(CrossEntropy.name) is not None


def _writes_gradient(rows: Tensor, weight: Tensor | None) -> bool:
    """Where the backend has a kernel for it; a trace has the plain operators, which every model format knows."""
    if mode.tracer is not None or (weight is not None and (weight.requires_grad or weight.dtype is not rows.dtype)):
        return False
    return backend_of(rows._data).kernel(FusedCrossEntropy.name) is not None


def _class_weights(target: Tensor, weight: Tensor, ignore_index: int) -> Tensor:
    """(N,) the weight of each row's class, 0 where it is ignored."""
    kept = target != ignore_index
    return where(kept, weight.index_select(0, where(kept, target, 0)), 0.0)


def _weighted(rows: Tensor, target: Tensor, weight: Tensor, ignore_index: int, smoothing: float) -> tuple[Tensor, Tensor]:
    """Losses and weights per row, as a composite: the weighted case is rare."""
    logp = rows.log_softmax(1)
    kept = target != ignore_index
    safe = where(kept, target, 0)
    counts = _class_weights(target, weight, ignore_index)
    losses = -logp.gather(1, safe.unsqueeze(1)).squeeze(1) * counts * (1.0 - smoothing)
    if smoothing:
        losses = losses - where(kept, (logp * weight).sum(1), 0.0) * (smoothing / rows.shape[1])
    return losses, counts


def _soft_cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None, reduction: str, smoothing: float) -> Tensor:
    if target.shape != input.shape:
        raise ShapeError(
            f"cross_entropy: targets of dtype {target.dtype} are probabilities and must have the shape of the logits "
            f"{tuple(input.shape)}, came {tuple(target.shape)}; convert class numbers with .to(penlight.int64)"
        )
    dim = 0 if input.ndim == 1 else 1
    if smoothing:
        target = target * (1.0 - smoothing) + smoothing / input.shape[dim]
    losses = input.log_softmax(dim) * target
    if weight is not None:
        losses = losses * weight.reshape(-1, *(1,) * (input.ndim - dim - 1))
    losses = -losses.sum(dim)
    return losses.sum() / (losses.numel() or 1) if reduction == "mean" else _reduce(losses, reduction)


@under_autocast
def nll_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean"
) -> Tensor:
    """Returns the negative log-likelihood of log-probabilities (N, C) at integer classes (N,); see `cross_entropy`.

    A class out of range is an IndexError, and on a GPU NaN in its row.
    """
    _check_reduction("nll_loss", reduction)
    rows, flat = _class_rows(input), target.reshape(-1)
    _check_classes(flat, rows, ignore_index)
    flat, marks = _in_range(flat, rows.shape[1], ignore_index)
    kept = flat != ignore_index
    safe = where(kept, flat, 0)
    counts = kept.to(rows.dtype) if weight is None else where(kept, weight.index_select(0, safe), 0.0)
    losses = -rows.gather(1, safe.unsqueeze(1)).squeeze(1) * counts
    losses = losses if marks is None else losses * marks.to(losses.dtype)
    if reduction == "none":
        return losses.reshape(tuple(target.shape))
    return losses.sum() / counts.sum() if reduction == "mean" else losses.sum()


def _warn_of_broadcast(name: str, input: Tensor, target: Tensor) -> None:
    """(N, 1) against (N,) gives (N, N) differences: nearly always a mistake, and the loss even falls."""
    if input._data.shape != target._data.shape:
        warnings.warn(
            f"{name}: input {tuple(input.shape)} and target {tuple(target.shape)} differ and will broadcast; "
            "give both one shape, for example with input.squeeze(-1)",
            UserWarning,
            stacklevel=4,
        )


@under_autocast
def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Returns the squared differences, reduced by "mean", "sum" or "none"; shapes that differ broadcast, with a warning."""
    _warn_of_broadcast("mse_loss", input, target)
    return _reduce((input - target).square(), reduction, "mse_loss")


@under_autocast
def l1_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Returns the absolute differences, reduced by "mean", "sum" or "none"; shapes that differ broadcast, with a warning."""
    _warn_of_broadcast("l1_loss", input, target)
    return _reduce(abs(input - target), reduction, "l1_loss")


@under_autocast
def smooth_l1_loss(input: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """Returns 0.5 * d^2 / beta where |d| < beta, else |d| - 0.5 * beta, reduced."""
    _warn_of_broadcast("smooth_l1_loss", input, target)
    distance = abs(input - target)
    if beta == 0:
        return _reduce(distance, reduction, "smooth_l1_loss")
    return _reduce(where(distance < beta, distance.square() * (0.5 / beta), distance - 0.5 * beta), reduction, "smooth_l1_loss")


@under_autocast
def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean", pos_weight: Tensor | None = None
) -> Tensor:
    """Returns max(x, 0) - x * y + log(1 + exp(-|x|)), reduced, for logits x and targets y in [0, 1] of one shape."""
    if target.shape != input.shape:
        raise ShapeError(
            f"binary_cross_entropy_with_logits: target {tuple(target.shape)} must have the shape of input {tuple(input.shape)}"
        )
    softplus = log1p(exp(-abs(input))) + clamp(-input, min=0.0)
    factor = 1.0 if pos_weight is None else target * (pos_weight - 1.0) + 1.0
    losses = (1.0 - target) * input + softplus * factor
    return _reduce(losses if weight is None else losses * weight, reduction, "binary_cross_entropy_with_logits")


def _check_reduction(operator: str, reduction: str) -> None:
    if reduction not in ("mean", "sum", "none"):
        raise ArgumentError(f'{operator}: reduction must be "mean", "sum" or "none", came {reduction!r}')


def _reduce(losses: Tensor, reduction: str, operator: str = "loss") -> Tensor:
    _check_reduction(operator, reduction)
    return losses.mean() if reduction == "mean" else losses.sum() if reduction == "sum" else losses
