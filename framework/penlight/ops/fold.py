# SPDX-License-Identifier: Apache-2.0
"""Rearranging images: patches to columns and back, channels to pixels and back."""

from __future__ import annotations

import math
from typing import Any

from penlight.errors import ShapeError
from penlight.ops import dims as _dims
from penlight.ops.shape import pad as pad_constant
from penlight.ops.shape import stack
from penlight.tensor import Tensor

Size = int | tuple[int, int]


def _counts(size: Any, kernel: Any, dilation: Any, padding: Any, stride: Any) -> list[int]:
    counts = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, d, p, s in zip(size, kernel, dilation, padding, stride, strict=True)]
    if min(counts) < 1:
        raise ShapeError(f"fold: window {tuple(kernel)} with dilation {tuple(dilation)} is larger than the padded {tuple(size)}")
    return counts


def unfold(input: Tensor, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1) -> Tensor:
    """Returns the windows of (N, C, H, W) or (C, H, W) as columns: (N, C * KH * KW, L), L windows in row order."""
    if input.ndim == 3:
        return unfold(input.unsqueeze(0), kernel_size, dilation, padding, stride).squeeze(0)
    k, d, p, s = (_dims.pair(value) for value in (kernel_size, dilation, padding, stride))
    rows, columns = _counts(input.shape[2:], k, d, p, s)
    whole = pad_constant(input, (p[1], p[1], p[0], p[0]))
    taps = [
        whole[:, :, y * d[0] : y * d[0] + (rows - 1) * s[0] + 1 : s[0], x * d[1] : x * d[1] + (columns - 1) * s[1] + 1 : s[1]]
        for y in range(k[0])
        for x in range(k[1])
    ]
    return stack(taps, 2).reshape((input.shape[0], input.shape[1] * k[0] * k[1], rows * columns))


def fold(input: Tensor, output_size: Size, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1) -> Tensor:
    """Returns the image (N, C, *output_size) in which overlapping windows, given as by `unfold`, are added up.

    Raises:
        ShapeError: the number of columns is not that of the windows, or the rows do not divide by the window.
    """
    if input.ndim == 2:
        return fold(input.unsqueeze(0), output_size, kernel_size, dilation, padding, stride).squeeze(0)
    size, k, d, p, s = (_dims.pair(value) for value in (output_size, kernel_size, dilation, padding, stride))
    rows, columns = _counts(size, k, d, p, s)
    if input.shape[1] % (k[0] * k[1]) or input.shape[2] != rows * columns:
        wanted = f"(N, C * {k[0] * k[1]}, {rows * columns})"
        raise ShapeError(f"fold: expected {wanted} for output_size {size}, came {tuple(map(int, input.shape))}")
    channels = input.shape[1] // (k[0] * k[1])
    taps = input.reshape((input.shape[0], channels, k[0] * k[1], rows, columns))
    height, width = size[0] + 2 * p[0], size[1] + 2 * p[1]
    total: Any = 0
    for number in range(k[0] * k[1]):
        y, x = number // k[1] * d[0], number % k[1] * d[1]
        tap = _spread(_spread(taps[:, :, number], 2, s[0]), 3, s[1])
        total = total + pad_constant(tap, (x, width - x - tap.shape[3], y, height - y - tap.shape[2]))
    return total[:, :, p[0] : p[0] + size[0], p[1] : p[1] + size[1]]


def _spread(x: Tensor, dim: int, step: int) -> Tensor:
    """x with step - 1 zeros between the elements along `dim`."""
    if step == 1:
        return x
    size = x.shape[dim]
    after = [0, 0] * (x.ndim - 1 - dim)
    wide = pad_constant(x.unsqueeze(dim + 1), [*after, 0, step - 1]).flatten(dim, dim + 1)
    return wide.narrow(dim, 0, (size - 1) * step + 1)


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """Returns (..., C, H * r, W * r) of (..., C * r^2, H, W): channels become pixels (Shi et al. 2016).

    Raises:
        ShapeError: the channels do not divide by r^2.
    """
    r = upscale_factor
    *lead, channels, h, w = input.shape
    if channels % (r * r):
        raise ShapeError(f"pixel_shuffle: {channels} channels do not divide by upscale_factor^2 = {r * r}")
    split = input.reshape((math.prod(lead), channels // (r * r), r, r, h, w)).permute(0, 1, 4, 2, 5, 3)
    return split.reshape((*lead, channels // (r * r), h * r, w * r))


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """Returns (..., C * r^2, H / r, W / r) of (..., C, H, W): the inverse of `pixel_shuffle`.

    Raises:
        ShapeError: height or width do not divide by r.
    """
    r = downscale_factor
    *lead, channels, h, w = input.shape
    if h % r or w % r:
        raise ShapeError(f"pixel_unshuffle: size ({h}, {w}) does not divide by downscale_factor {r}")
    split = input.reshape((math.prod(lead), channels, h // r, r, w // r, r)).permute(0, 1, 3, 5, 2, 4)
    return split.reshape((*lead, channels * r * r, h // r, w // r))


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Returns (N, C, ...) with the channels of the groups interleaved (Zhang et al. 2018).

    Raises:
        ShapeError: the channels do not divide into the groups.
    """
    n, channels = input.shape[:2]
    if channels % groups:
        raise ShapeError(f"channel_shuffle: {channels} channels do not divide into {groups} groups")
    rest = tuple(input.shape[2:])
    split = input.reshape((n, groups, channels // groups, *rest)).transpose(1, 2)
    return split.reshape((n, channels, *rest))
