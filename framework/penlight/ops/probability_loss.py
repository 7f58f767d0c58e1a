# SPDX-License-Identifier: Apache-2.0
"""Losses between distributions: cross-entropies of probabilities, divergences, likelihoods of Gauss and Poisson."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from penlight.errors import ArgumentError, ShapeError
from penlight.ops.arithmetic import clamp, maximum, where
from penlight.ops.elementwise import exp, log
from penlight.ops.loss import _reduce, cross_entropy
from penlight.ops.matmul import linear
from penlight.ops.precision import under_autocast
from penlight.tape import mode
from penlight.tensor import Tensor


def reduce_loss(losses: Tensor, reduction: str, operator: str) -> Tensor:
    """Returns the mean, the sum, or the losses themselves for reduction "mean", "sum" or "none"."""
    return _reduce(losses, reduction, operator)


def _same_shape(operator: str, input: Tensor, target: Tensor) -> None:
    if tuple(input.shape) != tuple(target.shape):
        raise ShapeError(f"{operator}: target {tuple(target.shape)} must have the shape of input {tuple(input.shape)}")


@under_autocast
def binary_cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean") -> Tensor:
    """Returns -(y log(x) + (1 - y) log(1 - x)), reduced, for probabilities x and targets y in [0, 1] of one shape.

    The logarithms are kept above -100, as in PyTorch, so that a probability of exactly 0 or 1 has a finite loss. Prefer
    `binary_cross_entropy_with_logits`, which is exact.
    """
    _same_shape("binary_cross_entropy", input, target)
    is_seen = mode.tracer is None and type(input._data) is np.ndarray  # a look at a GPU's values would wait for them
    if is_seen and input._data.size and not (input._data.min() >= 0 and input._data.max() <= 1):
        raise ArgumentError(
            f"binary_cross_entropy: expected probabilities in [0, 1], came {float(input._data.min()):.4g} to "
            f"{float(input._data.max()):.4g}; use binary_cross_entropy_with_logits, or a sigmoid before"
        )
    losses = -(target * _bounded_log(input) + (1.0 - target) * _bounded_log(1.0 - input))
    return reduce_loss(losses if weight is None else losses * weight, reduction, "binary_cross_entropy")


def _bounded_log(x: Tensor) -> Tensor:
    return clamp(log(clamp(x, min=1e-300 if x.dtype.name == "float64" else 1e-38)), min=-100.0)


@under_autocast
def kl_div(input: Tensor, target: Tensor, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """Returns the terms y * (log(y) - x) of the Kullback-Leibler divergence, reduced.

    Args:
        input: logarithms of probabilities.
        target: probabilities, or their logarithms with `log_target`; broadcasts.
        reduction: "batchmean" (the sum over N, the divergence proper), "mean" (over all elements), "sum" or "none".
        log_target: whether the target holds logarithms.
    """
    if log_target:
        losses = exp(target) * (target - input)
    else:
        entropy = where(target == 0, 0.0, target * log(where(target == 0, 1.0, target)))
        losses = entropy - target * input
    if reduction == "batchmean":
        return losses.sum() / (input.shape[0] if input.ndim else 1)
    return reduce_loss(losses, reduction, "kl_div")


@under_autocast
def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Tensor:
    """Returns the negative log-likelihood of counts under Poisson distributions, reduced.

    Args:
        input: the expectation, or its logarithm with `log_input`.
        target: counts.
        log_input: exp(x) - y * x; otherwise x - y * log(x + eps).
        full: adds Stirling's approximation of log(y!) for y > 1.
        eps: keeps the logarithm finite.
        reduction: "mean", "sum" or "none".
    """
    losses = exp(input) - target * input if log_input else input - target * log(input + eps)
    if full:
        large = target > 1
        safe = where(large, target, 2.0)
        losses = losses + where(large, safe * log(safe) - safe + log(safe * (2 * math.pi)) * 0.5, 0.0)
    return reduce_loss(losses, reduction, "poisson_nll_loss")


def gaussian_nll_loss(
    input: Tensor, target: Tensor, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """Returns 0.5 * (log(var) + (x - y)^2 / var), reduced: the negative log-likelihood under normal distributions.

    Args:
        input: expectations. target: observations.
        var: variances, of the shape of the input, or without its last dimension, or with size 1 there; or a number.
        full: adds the constant 0.5 * log(2 pi).
        eps: variances are raised to it, outside of the gradient.
        reduction: "mean", "sum" or "none".

    Raises:
        ArgumentError: a variance is negative. ShapeError: the variances do not fit.
    """
    if not isinstance(var, Tensor):
        var = input.detach() * 0.0 + float(var)
    elif tuple(var.shape) == tuple(input.shape)[:-1]:
        var = var.unsqueeze(-1)
    elif var.ndim != input.ndim or any(v not in (1, n) for v, n in zip(var.shape, input.shape, strict=True)):
        raise ShapeError(f"gaussian_nll_loss: var {tuple(var.shape)} does not fit input {tuple(input.shape)}")
    if type(var._data) is np.ndarray and bool((var._data < 0).any()):
        raise ArgumentError("gaussian_nll_loss: a variance is negative; pass exp(...) or softplus(...) of what the model gives")
    bounded = var + (maximum(var.detach(), eps) - var.detach())
    losses = (log(bounded) + (input - target).square() / bounded) * 0.5
    return reduce_loss(losses + 0.5 * math.log(2 * math.pi) if full else losses, reduction, "gaussian_nll_loss")


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
) -> Tensor:
    """Returns `cross_entropy(linear(input, linear_weight, linear_bias), target, ...)`.

    Args:
        input: (N, F) or (F,).
        linear_weight: (C, F), or (C, d1, ..., F) for a loss at each of d1 * ... places.
        target: as in `cross_entropy`, for logits (N, C, d1, ...).
        linear_bias: (C, d1, ...) or None.
        weight, reduction, ignore_index, label_smoothing: as in `cross_entropy`; None is its default.
        options: taken for PyTorch's sake, where it sets how the logits are cut into pieces.
    """
    shape = tuple(linear_weight.shape[:-1])
    bias = None if linear_bias is None else linear_bias.reshape(-1)
    logits = linear(input, linear_weight.reshape((-1, linear_weight.shape[-1])), bias)
    logits = logits.reshape((*tuple(input.shape[:-1]), *shape))
    return cross_entropy(logits, target, weight, -100 if ignore_index is None else ignore_index, reduction, label_smoothing)
