# SPDX-License-Identifier: Apache-2.0
"""The norms together with the statistics they used, under the names of PyTorch's internals."""

from __future__ import annotations

from collections.abc import Sequence

from penlight.backends.backend import visiting
from penlight.ops.create import zeros
from penlight.ops.dispatch import apply
from penlight.ops.norm import BatchNormTraining, batch_norm, tail_shape, update_running
from penlight.ops.reduction import mean
from penlight.tensor import Tensor

Three = tuple[Tensor, Tensor, Tensor]


def _normalised(x: Tensor, dims: tuple[int, ...], eps: float) -> Three:
    """x with mean 0 and variance 1 over `dims`, the mean and 1 / sqrt(variance + eps), both with kept dimensions."""
    middle = mean(x, dims, True)
    centred = x - middle
    scale = (mean(centred * centred, dims, True) + eps).rsqrt()
    return centred * scale, middle, scale


def native_layer_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> Three:
    """Returns `layer_norm`, the means and 1 / sqrt(variance + eps)."""
    tail = tail_shape("native_layer_norm", input, normalized_shape)
    result, middle, scale = _normalised(input, tuple(range(input.ndim - len(tail), input.ndim)), eps)
    result = result if weight is None else result * weight
    return result if bias is None else result + bias, middle, scale


def native_group_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, N: int, C: int, HxW: int, group: int, eps: float
) -> Three:
    """Returns `group_norm`, the means (N, group) and 1 / sqrt(variance + eps)."""
    result, middle, scale = _normalised(input.reshape(N, group, C // group * HxW), (2,), eps)
    result = result.reshape(tuple(input.shape))
    shape = (C, *(1,) * (input.ndim - 2))
    result = result if weight is None else result * weight.reshape(shape)
    return result if bias is None else result + bias.reshape(shape), middle.squeeze(-1), scale.squeeze(-1)


def native_batch_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Three:
    """Returns `batch_norm`, and in training the means and 1 / sqrt(variance + eps) of the batch (empty otherwise)."""
    if not training:
        result = batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
        return result, zeros(0, dtype=input.dtype), zeros(0, dtype=input.dtype)
    result, middle, variance = apply(BatchNormTraining(float(eps)), input, weight, bias)
    count = input.numel() // input.shape[1]
    if running_mean is not None and running_var is not None and count:
        with visiting(middle._data):
            update_running(running_mean, middle._data, momentum)
            update_running(running_var, variance._data * (count / max(count - 1, 1)), momentum)
    return result, middle, (variance + eps).rsqrt()
