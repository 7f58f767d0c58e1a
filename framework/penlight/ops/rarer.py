# SPDX-License-Identifier: Apache-2.0
"""Functions that few networks use, as composites: Gumbel's softmax, grids of affine maps, convolution over (T, B, C)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from penlight.errors import ArgumentError, ShapeError
from penlight.ops.conv import conv1d
from penlight.ops.mask import one_hot
from penlight.ops.pool_adaptive import (
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    fractional_max_pool2d,
    fractional_max_pool3d,
)
from penlight.ops.pool_nd import max_pool1d, max_pool2d, max_pool3d
from penlight.ops.rearrange import movedim
from penlight.ops.resize import interpolate
from penlight.random import Generator, default_generator
from penlight.tape import mode
from penlight.tensor import Tensor, from_array


def gumbel_softmax(
    logits: Tensor, tau: float = 1.0, hard: bool = False, eps: float = 1e-10, dim: int = -1, *, generator: Generator | None = None
) -> Tensor:
    """Returns a sample of the categories, softened so that it has a gradient (Jang et al. 2017).

    Args:
        logits: (..., C, ...), not normalised.
        tau: the smaller, the closer to one-hot.
        hard: one-hot in the forward direction, with the gradient of the soft sample.
        eps: accepted as in PyTorch, which does not use it either.
        dim: the dimension of the categories.
        generator: where the noise comes from.

    Raises:
        ArgumentError: `tau` is not positive.
    """
    if tau <= 0:
        raise ArgumentError(f"gumbel_softmax: tau must be above 0, came {tau}")
    if mode.tracer is not None:
        mode.tracer.refuse_random("gumbel_softmax")
    noise = (generator or default_generator).numpy.gumbel(size=tuple(logits.shape)).astype(np.float32)
    drawn = from_array(np.asarray(noise)).to(logits.device, logits.dtype)
    soft = ((logits + drawn) / tau).softmax(dim)
    if not hard:
        return soft
    chosen = movedim(one_hot(soft.detach().argmax(dim), soft.shape[dim]), -1, dim).to(soft.dtype)
    return chosen - soft.detach() + soft


def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """Returns the grid of points that `grid_sample` reads for affine maps.

    Args:
        theta: (N, 2, 3) for images, (N, 3, 4) for volumes.
        size: of the output, (N, C, H, W) or (N, C, D, H, W).
        align_corners: whether -1 and 1 are the centres of the outermost elements, not their outer edges.

    Returns:
        (N, H, W, 2) or (N, D, H, W, 3): points (x, y) or (x, y, z).

    Raises:
        ShapeError: `theta` does not fit `size`.
    """
    rank = len(size) - 2
    if rank not in (2, 3) or tuple(theta.shape) != (size[0], rank, rank + 1):
        raise ShapeError(
            f"affine_grid: for size {tuple(size)} expected theta ({size[0]}, {rank}, {rank + 1}), came {tuple(theta.shape)}"
        )
    axes = [_points(count, bool(align_corners)) for count in size[2:]]
    points = np.stack([*reversed(np.meshgrid(*axes, indexing="ij")), np.ones(size[2:])], -1)
    base = from_array(points.reshape(-1, rank + 1).astype(theta._data.dtype)).to(theta.device)
    return (base @ theta.mT).reshape(size[0], *size[2:], rank)


def _points(count: int, corners: bool) -> np.ndarray:
    if corners:
        return np.linspace(-1, 1, count) if count > 1 else np.zeros(1)
    return (2 * np.arange(count) + 1) / count - 1


def conv_tbc(input: Tensor, weight: Tensor, bias: Tensor, pad: int = 0) -> Tensor:
    """Returns the 1-D convolution of (T, B, C_in) with (K, C_in, C_out), as (T', B, C_out)."""
    return conv1d(input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, padding=pad).permute(2, 0, 1)


def upsample(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
) -> Tensor:
    """Returns `interpolate` of the same arguments; the older name."""
    return interpolate(input, size, scale_factor, mode, align_corners)


def _with_indices(pool: Callable[..., Any]) -> Callable[..., tuple[Tensor, Tensor]]:
    def pooled(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        kwargs["return_indices"] = True
        return pool(*args, **kwargs)

    pooled.__name__ = f"{pool.__name__}_with_indices"
    pooled.__doc__ = f"Returns what `{pool.__name__}` returns with `return_indices=True`: the maxima and their indices."
    return pooled


max_pool1d_with_indices = _with_indices(max_pool1d)
max_pool2d_with_indices = _with_indices(max_pool2d)
max_pool3d_with_indices = _with_indices(max_pool3d)
adaptive_max_pool1d_with_indices = _with_indices(adaptive_max_pool1d)
adaptive_max_pool2d_with_indices = _with_indices(adaptive_max_pool2d)
adaptive_max_pool3d_with_indices = _with_indices(adaptive_max_pool3d)
fractional_max_pool2d_with_indices = _with_indices(fractional_max_pool2d)
fractional_max_pool3d_with_indices = _with_indices(fractional_max_pool3d)
