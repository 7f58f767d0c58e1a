# SPDX-License-Identifier: Apache-2.0
"""Normalisation of each instance, and across neighbouring channels."""

from __future__ import annotations

import math

from penlight.backends.backend import visiting
from penlight.errors import ShapeError
from penlight.ops.norm import batch_norm, group_norm, update_running
from penlight.ops.pool_nd import avg_pool2d
from penlight.ops.precision import under_autocast
from penlight.ops.shape import pad as pad_constant
from penlight.tensor import Tensor


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Returns the input (N, C, ...) with each channel of each instance normalised over its elements, scaled and shifted.

    Running statistics (C,), if given, move in place towards the mean over the batch; without `use_input_stats` they are
    what is used (Ulyanov et al. 2016).

    Raises:
        ShapeError: there is one element per channel, whose variance is 0.
    """
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    count = 1
    for size in input.shape[2:]:
        count *= size
    if count == 1:
        raise ShapeError(f"instance_norm: expected more than one element per channel, came {tuple(map(int, input.shape))}")
    if running_mean is not None and running_var is not None:
        axes = tuple(range(2, input.ndim))
        with visiting(input._data):
            update_running(running_mean, input._data.mean(axes).mean(0), momentum)
            update_running(running_var, input._data.var(axes, ddof=1).mean(0), momentum)
    return group_norm(input, input.shape[1], weight, bias, eps)


@under_autocast
def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """Returns x / (k + alpha * mean of x^2 over `size` neighbouring channels)^beta of (N, C, ...) (Krizhevsky et al. 2012)."""
    n, channels = input.shape[:2]
    squares = (input * input).reshape((n, 1, channels, math.prod(input.shape[2:])))
    padded = pad_constant(squares, (0, 0, size // 2, (size - 1) // 2))
    means = avg_pool2d(padded, (size, 1), 1).reshape(tuple(input.shape))
    return input / (means * alpha + k) ** beta
