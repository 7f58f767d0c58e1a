# SPDX-License-Identifier: Apache-2.0
"""Normalization, and Dropout: what behaves differently in training."""

from __future__ import annotations

from typing import Any

import numpy as np

import penlight as pl
from penlight.nn import functional as F
from penlight_export.imported.registry import operator
from penlight_export.imported.values import numbers

Tensor = pl.Tensor


@operator("BatchNormalization")
def batch_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
    node: Any = None,
) -> Any:
    """By running statistics; of the batch when the module is in training mode, which then updates them."""
    if training_mode:
        return _training_batch_norm(x, scale, bias, mean, variance, epsilon, momentum)
    training = node.training and not any(isinstance(node.scope.get(name), np.ndarray) for name in node.inputs[3:5])
    scale, bias, mean, variance = (each if each.dtype is x.dtype else each.to(x.dtype) for each in (scale, bias, mean, variance))
    return F.batch_norm(x, mean, variance, scale, bias, training, 1 - momentum, epsilon)


def _training_batch_norm(
    x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, epsilon: float, momentum: float
) -> tuple[Tensor, ...]:
    """A node that says itself that it trains: the next statistics are outputs."""
    axes = [axis for axis in range(x.ndim) if axis != 1]
    now, spread = pl.mean(x, axes), pl.var(x, axes, unbiased=False)
    shape = [-1, *[1] * (x.ndim - 2)]
    y = (x - now.reshape(shape)) / pl.sqrt(spread.reshape(shape) + epsilon) * scale.reshape(shape) + bias.reshape(shape)
    return y.to(x.dtype), mean * momentum + now * (1 - momentum), variance * momentum + spread * (1 - momentum)


@operator("InstanceNormalization")
def instance_normalization(x: Tensor, scale: Tensor, bias: Tensor, *, epsilon: float = 1e-5) -> Tensor:
    """Each channel of each sample by itself."""
    return F.instance_norm(x, weight=scale, bias=bias, eps=epsilon)


@operator("GroupNormalization")
def group_normalization(
    x: Tensor, scale: Tensor, bias: Tensor, *, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    """Groups of channels of each sample."""
    return F.group_norm(x, num_groups, scale, bias, epsilon)


@operator("LayerNormalization")
def layer_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
    node: Any = None,
) -> Any:
    """The dimensions from an axis on."""
    axis = axis % x.ndim
    inner = list(x.shape[axis:])
    if list(scale.shape) == inner and (bias is None or list(bias.shape) == inner):
        y = F.layer_norm(x, inner, scale, bias, epsilon)
    else:
        y = F.layer_norm(x, inner, None, None, epsilon) * scale
        y = y if bias is None else y + bias
    if node is None or not any(node.outputs[1:]):
        return y
    axes = list(range(axis, x.ndim))
    return y, pl.mean(x, axes, True), pl.rsqrt(pl.var(x, axes, unbiased=False, keepdim=True) + epsilon)


@operator("RMSNormalization")
def rms_normalization(x: Tensor, scale: Tensor, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1) -> Tensor:
    """By the root of the mean square of the dimensions from an axis on."""
    inner = list(x.shape[axis % x.ndim :])
    if list(scale.shape) == inner:
        return F.rms_norm(x, inner, scale, epsilon)
    return F.rms_norm(x, inner, None, epsilon) * scale


@operator("LRN")
def lrn(x: Tensor, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> Tensor:
    """By the neighbouring channels."""
    before = (size - 1) // 2
    squares = F.pad((x * x), [*[0, 0] * (x.ndim - 2), before, size - 1 - before])
    total = squares.narrow(1, 0, x.shape[1])
    for shift in range(1, size):
        total = total + squares.narrow(1, shift, x.shape[1])
    return x / pl.pow(total * (alpha / size) + bias, beta)


@operator("Dropout", known=(1, 2), random=True)
def dropout(x: Tensor, ratio: Any = None, training_mode: Any = None, *, seed: int = 0, node: Any = None) -> Any:
    """Drops when the module is in training mode, or when the node says that it trains."""
    share = 0.5 if ratio is None else float(numbers(ratio)[0])
    training = node.training or (training_mode is not None and bool(numbers(training_mode)[0]))
    if node.count < 2 or not node.outputs[1]:
        return F.dropout(x, share, training)
    mask = F.dropout(pl.ones_like(x), share, training)
    return x * mask, mask != 0
