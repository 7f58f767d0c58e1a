# SPDX-License-Identifier: Apache-2.0
"""Resizing of signals, images and volumes, one dimension after the other."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from penlight.errors import ArgumentError
from penlight.ops.convert import keeps_channels_last
from penlight.ops.gather import index_select
from penlight.ops.matmul import matmul
from penlight.ops.pool_adaptive import adaptive_mean
from penlight.tensor import Tensor, from_numpy

_RANKS = {"linear": 3, "bilinear": 4, "bicubic": 4, "trilinear": 5}


@keeps_channels_last
def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Returns the input resized in its spatial dimensions.

    Args:
        input: (N, C, L), (N, C, H, W) or (N, C, D, H, W), floating point.
        size: of the result, one number or one per spatial dimension; or
        scale_factor: result over input, one number or one per dimension.
        mode: "nearest", "nearest-exact", "area", "linear" (3-dim), "bilinear" or "bicubic" (4-dim), "trilinear" (5-dim).
        align_corners: whether the centres of the corner elements keep their place; linear and cubic modes only.
        recompute_scale_factor: whether coordinates follow the rounded size rather than the factor as given.
        antialias: not supported.

    Raises:
        ArgumentError: size and scale_factor both or neither given, or a mode that does not fit the dimensions.
    """
    spatial = input.ndim - 2
    if antialias:
        raise ArgumentError("interpolate: antialias is not supported; blur before making the image smaller")
    if mode in _RANKS and _RANKS[mode] != input.ndim:
        raise ArgumentError(f"interpolate: mode {mode!r} wants {_RANKS[mode]} dimensions, came {tuple(map(int, input.shape))}")
    if align_corners is not None and mode not in _RANKS:
        raise ArgumentError(f"interpolate: align_corners is for linear and cubic modes, not for {mode!r}")
    sizes, factors = _sizes(input, size, scale_factor, spatial, bool(recompute_scale_factor))
    if mode == "area":
        return adaptive_mean(input, sizes, spatial)
    for number, (out, factor) in enumerate(zip(sizes, factors, strict=True)):
        dim = 2 + number
        n = int(input.shape[dim])
        step = 1 / factor if factor else n / out
        if mode in ("nearest", "nearest-exact"):
            input = _nearest(input, dim, out, step, 0.5 if mode == "nearest-exact" else 0.0)
        elif out != n or (not align_corners and step != 1):
            input = _blend(input, dim, _matrix(n, out, step, bool(align_corners), mode == "bicubic"))
    return input


def _sizes(input: Tensor, size: Any, scale_factor: Any, spatial: int, recompute: bool) -> tuple[tuple[int, ...], list[Any]]:
    if (size is None) == (scale_factor is None):
        raise ArgumentError("interpolate: give either size or scale_factor")
    if size is not None:
        sizes = (size,) * spatial if isinstance(size, int) else tuple(size)
        return sizes, [None] * spatial
    factors = [scale_factor] * spatial if isinstance(scale_factor, (int, float)) else list(scale_factor)
    sizes = tuple(math.floor(int(n) * f) for n, f in zip(input.shape[2:], factors, strict=True))
    return sizes, [None] * spatial if recompute else factors


def _nearest(input: Tensor, dim: int, out: int, step: float, shift: float) -> Tensor:
    # In float32, as PyTorch: at exact borders the rounding decides.
    places = np.floor((np.arange(out, dtype=np.float32) + np.float32(shift)) * np.float32(step)).astype(np.int64)
    return index_select(input, dim, from_numpy(np.minimum(places, int(input.shape[dim]) - 1)).to(input.device))


def _matrix(n: int, out: int, step: float, align_corners: bool, cubic: bool) -> np.ndarray:
    """(out, n): the weights with which each new element sums the old ones."""
    position = np.arange(out, dtype=np.float64)
    where = position * ((n - 1) / (out - 1) if out > 1 else 0.0) if align_corners else (position + 0.5) * step - 0.5
    if not cubic and not align_corners:
        where = np.maximum(where, 0)
    base = np.floor(where).astype(np.int64)
    matrix = np.zeros((out, n))
    for offset, weights in _weights(where - base, cubic):
        np.add.at(matrix, (np.arange(out), np.clip(base + offset, 0, n - 1)), weights)
    return matrix


def _weights(t: np.ndarray, cubic: bool) -> list[tuple[int, np.ndarray]]:
    if not cubic:
        return [(0, 1 - t), (1, t)]
    return [(offset, _cubic(np.abs(t - offset))) for offset in (-1, 0, 1, 2)]


def _cubic(x: np.ndarray, a: float = -0.75) -> np.ndarray:
    """The kernel of Keys 1981, with PyTorch's a."""
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return np.where(x <= 1, near, far)


def _blend(input: Tensor, dim: int, matrix: np.ndarray) -> Tensor:
    weights = from_numpy(matrix).to(input.dtype).to(input.device)
    if dim == input.ndim - 1:
        return matmul(input, weights.transpose(0, 1))
    return matmul(input.transpose(dim, -1), weights.transpose(0, 1)).transpose(dim, -1)


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """Returns `interpolate` with mode "nearest"."""
    return interpolate(input, size, scale_factor, "nearest")


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """Returns `interpolate` with mode "bilinear" and aligned corners."""
    return interpolate(input, size, scale_factor, "bilinear", align_corners=True)
