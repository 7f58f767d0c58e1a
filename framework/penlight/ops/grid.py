# SPDX-License-Identifier: Apache-2.0
"""Sampling images at the points of a grid (Jaderberg et al. 2015, "Spatial Transformer Networks")."""

from __future__ import annotations

import math
from typing import Any

from penlight.dtype import int64
from penlight.errors import ArgumentError, ShapeError
from penlight.ops.arithmetic import clamp, where
from penlight.ops.elementwise import abs as magnitude
from penlight.ops.elementwise import floor
from penlight.ops.elementwise import round as nearest
from penlight.ops.gather import gather
from penlight.ops.precision import under_autocast
from penlight.tensor import Tensor

_MODES = ("bilinear", "nearest", "bicubic")
_PADDINGS = ("zeros", "border", "reflection")


@under_autocast
def grid_sample(
    input: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None
) -> Tensor:
    """Returns the input at the points of `grid`, where -1 and 1 are the borders.

    Args:
        input: (N, C, H, W), or (N, C, D, H, W).
        grid: (N, h, w, 2) with points (x, y), or (N, d, h, w, 3) with points (x, y, z).
        mode: "bilinear", "nearest" or (for images) "bicubic".
        padding_mode: "zeros", "border" or "reflection": what lies outside.
        align_corners: whether -1 and 1 are the centres of the outermost elements, not their outer edges.

    Returns:
        (N, C, h, w), or (N, C, d, h, w).

    Raises:
        ArgumentError: an unknown mode.
        ShapeError: the grid does not fit the input.
    """
    if mode not in _MODES or padding_mode not in _PADDINGS or (mode == "bicubic" and input.ndim != 4):
        raise ArgumentError(
            f"grid_sample: mode must be one of {_MODES}, padding_mode one of {_PADDINGS}; came {mode!r}, {padding_mode!r}"
        )
    if input.ndim not in (4, 5) or grid.ndim != input.ndim or grid.shape[-1] != input.ndim - 2 or grid.shape[0] != input.shape[0]:
        raise ShapeError(f"grid_sample: grid {tuple(grid.shape)} does not fit input {tuple(input.shape)}")
    sizes = tuple(int(n) for n in input.shape[2:])[::-1]  # of x, y, z
    corners = bool(align_corners)
    points = [_scaled(grid[..., k], size, corners) for k, size in enumerate(sizes)]
    if mode == "bicubic":
        return _cubic(input, points, sizes, padding_mode, corners)
    points = [_inside(p, size, padding_mode, corners) for p, size in zip(points, sizes, strict=True)]
    if mode == "nearest":
        return _read(input, [nearest(p.detach()) for p in points], sizes)
    return _linear(input, points, sizes)


def _scaled(x: Tensor, size: int, corners: bool) -> Tensor:
    """From [-1, 1] to element numbers."""
    return (x + 1.0) * ((size - 1) / 2) if corners else ((x + 1.0) * size - 1.0) * 0.5


def _inside(x: Tensor, size: int, padding: str, corners: bool) -> Tensor:
    if padding == "zeros":
        return x
    if padding == "reflection":
        low, span = (0.0, float(size - 1)) if corners else (-0.5, float(size))
        x = _reflected(x, low, span) if span else x * 0.0
    return clamp(x, 0.0, float(size - 1))


def _reflected(x: Tensor, low: float, span: float) -> Tensor:
    distance = magnitude(x - low)
    turns = floor(distance.detach() / span)
    rest = distance - turns * span
    return where(turns.remainder(2.0) == 0, rest + low, span + low - rest)


def _read(input: Tensor, places: list[Tensor], sizes: tuple[int, ...]) -> Tensor:
    """The elements at whole numbered places, 0 outside."""
    inside: Any = None
    flat: Any = None
    step = 1
    for place, size in zip(places, sizes, strict=True):
        holds = (place >= 0) & (place <= size - 1)
        inside = holds if inside is None else inside & holds
        number = clamp(place, 0.0, float(max(size - 1, 0))).to(int64) * step
        flat = number if flat is None else flat + number
        step *= size
    n, c = input.shape[0], input.shape[1]
    lines = input.reshape((n, c, math.prod(sizes)))
    count = math.prod(int(k) for k in flat.shape[1:])
    index = flat.reshape((n, 1, count)).expand((n, c, count))
    values = gather(lines, 2, index).reshape((n, c, *flat.shape[1:]))
    return where(inside.unsqueeze(1), values, 0.0)


def _linear(input: Tensor, points: list[Tensor], sizes: tuple[int, ...]) -> Tensor:
    result: Any = None
    lows = [floor(p.detach()) for p in points]
    for corner in range(2 ** len(points)):
        weight: Any = None
        places = []
        for k, (p, low) in enumerate(zip(points, lows, strict=True)):
            upper = corner >> k & 1
            part = p - low if upper else low + 1.0 - p
            weight = part if weight is None else weight * part
            places.append(low + float(upper))
        term = _read(input, places, sizes) * weight.unsqueeze(1)
        result = term if result is None else result + term
    return result


def _cubic(input: Tensor, points: list[Tensor], sizes: tuple[int, ...], padding: str, corners: bool) -> Tensor:
    (x, y), result = points, None
    left, top = floor(x.detach()), floor(y.detach())
    for i in range(-1, 3):
        row: Any = None
        for j in range(-1, 3):
            places = [_inside(p, size, padding, corners) for p, size in zip((left + float(j), top + float(i)), sizes, strict=True)]
            term = _read(input, [nearest(p) for p in places], sizes) * _cubic_weight(x - left - float(j)).unsqueeze(1)
            row = term if row is None else row + term
        term = row * _cubic_weight(y - top - float(i)).unsqueeze(1)
        result = term if result is None else result + term
    assert result is not None
    return result


def _cubic_weight(x: Tensor, a: float = -0.75) -> Tensor:
    """Keys' kernel, with PyTorch's a."""
    d = magnitude(x)
    near = ((a + 2) * d - (a + 3)) * d * d + 1.0
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return where(d <= 1.0, near, far)


def grid_sampler_2d(input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool) -> Tensor:
    """Returns `grid_sample` of images, with the modes as numbers."""
    return grid_sample(input, grid, _MODES[interpolation_mode], _PADDINGS[padding_mode], align_corners)


def grid_sampler_3d(input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool) -> Tensor:
    """Returns `grid_sample` of volumes, with the modes as numbers."""
    return grid_sample(input, grid, _MODES[interpolation_mode], _PADDINGS[padding_mode], align_corners)
