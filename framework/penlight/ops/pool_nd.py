# SPDX-License-Identifier: Apache-2.0
"""Pooling over one and three dimensions, and the further kinds, made of the two-dimensional operators.

A maximum or a mean over a box is taken over its planes first, then along the depth.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from penlight.dtype import float64
from penlight.errors import ArgumentError, ShapeError
from penlight.ops import pool
from penlight.ops.convert import keeps_channels_last
from penlight.ops.create import arange, zeros
from penlight.ops.dispatch import apply
from penlight.ops.gather import gather
from penlight.ops.precision import under_autocast
from penlight.ops.shape import pad as pad_constant
from penlight.tensor import Tensor

Size = int | tuple[int, ...]


def sizes(value: Any, dimensions: int) -> Any:
    """One number for each dimension."""
    return (value,) * dimensions if isinstance(value, int) else tuple(value) * (dimensions if len(value) == 1 else 1)


def _steps(stride: Any, kernel: Any) -> Any:
    return kernel if stride is None or stride == () else stride


def max_pool1d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Returns the largest element of each window of (N, C, L) or (C, L); arguments as in `max_pool2d`."""
    values = [sizes(v, 1) for v in (kernel_size, _steps(stride, kernel_size), padding, dilation)]
    k, s, p, d = ((neutral, *value) for neutral, value in zip((1, 1, 0, 1), values, strict=True))
    result = max_pool2d(input.unsqueeze(-2), k, s, p, d, ceil_mode, return_indices)
    return tuple(part.squeeze(-2) for part in result) if return_indices else result.squeeze(-2)


@keeps_channels_last
def max_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Returns the largest element of each window of (N, C, H, W) or (C, H, W).

    Args:
        input: floating point or integer.
        kernel_size, stride, padding, dilation: one number or (vertical, horizontal); stride defaults to kernel_size.
        ceil_mode: a last window may reach over the end.
        return_indices: also return where each one was, int64, counted through the H * W of its plane.

    Raises:
        ShapeError: the window is larger than the padded input.
        ArgumentError: the padding is more than half of the window.
    """
    _check_planes("max_pool2d", input, 2)
    stride = _steps(stride, kernel_size)
    if not return_indices:
        return pool.max_pool2d(input, kernel_size, stride, padding, dilation, ceil_mode)
    if input.ndim == 3:
        return tuple(
            part.squeeze(0) for part in max_pool2d(input.unsqueeze(0), kernel_size, stride, padding, dilation, ceil_mode, True)
        )
    k, s, p, d = (sizes(v, 2) for v in (kernel_size, stride, padding, dilation))
    if any(2 * q > n or q < 0 for q, n in zip(p, k, strict=True)):
        raise ArgumentError(f"max_pool2d: padding {p} must be at most half of kernel_size {k}")
    tap = apply(pool.MaxPool2dIndex(k, s, p, d, ceil_mode), input.detach())
    y = arange(tap.shape[2]).unsqueeze(1) * s[0] - p[0] + tap // k[1] * d[0]
    x = arange(tap.shape[3]) * s[1] - p[1] + tap % k[1] * d[1]
    place = y * input.shape[3] + x
    return gather(input.flatten(2), 2, place.flatten(2)).reshape(tuple(place.shape)), place


@under_autocast
def max_pool3d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Returns the largest element of each box of (N, C, D, H, W) or (C, D, H, W); arguments as in `max_pool2d`."""
    if input.ndim == 4:
        result = max_pool3d(input.unsqueeze(0), kernel_size, stride, padding, dilation, ceil_mode, return_indices)
        return tuple(part.squeeze(0) for part in result) if return_indices else result.squeeze(0)
    k, s, p, d = (sizes(v, 3) for v in (kernel_size, _steps(stride, kernel_size), padding, dilation))
    n, c, depth, h, w = input.shape
    planes = input.reshape((n, c * depth, h, w))
    flat = max_pool2d(planes, k[1:], s[1:], p[1:], d[1:], ceil_mode, return_indices)
    if not return_indices:
        rows, oh, ow = flat, flat.shape[2], flat.shape[3]
        result = max_pool2d(rows.reshape((n, c, depth, oh * ow)), (k[0], 1), (s[0], 1), (p[0], 0), (d[0], 1), ceil_mode)
        return result.reshape((n, c, result.shape[2], oh, ow))
    values, inner = flat
    oh, ow = values.shape[2], values.shape[3]
    columns = values.reshape((n, c, depth, oh * ow))
    result, outer = max_pool2d(columns, (k[0], 1), (s[0], 1), (p[0], 0), (d[0], 1), ceil_mode, True)
    layer = outer // (oh * ow)
    place = gather(inner.reshape((n, c, depth, oh * ow)), 2, layer) + layer * (h * w)
    shape = (n, c, result.shape[2], oh, ow)
    return result.reshape(shape), place.reshape(shape)


def avg_pool1d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Returns the mean of each window of (N, C, L) or (C, L); arguments as in `avg_pool2d`."""
    k, s, p = (sizes(v, 1) for v in (kernel_size, _steps(stride, kernel_size), padding))
    return pool.avg_pool2d(input.unsqueeze(-2), (1, *k), (1, *s), (0, *p), ceil_mode, count_include_pad).squeeze(-2)


@keeps_channels_last
def avg_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Returns the mean of each window of (N, C, H, W) or (C, H, W).

    Args:
        input: floating point.
        kernel_size, stride, padding: one number or (vertical, horizontal); stride defaults to kernel_size.
        ceil_mode: a last window may reach over the end.
        count_include_pad: whether the zeros of the padding count.
        divisor_override: what sums are divided by instead of the number of elements.
    """
    stride = _steps(stride, kernel_size)
    if divisor_override == 0:
        raise ArgumentError("avg_pool2d: divisor_override must not be 0")
    if divisor_override is None:
        return pool.avg_pool2d(input, kernel_size, stride, padding, ceil_mode, count_include_pad)
    k, s, p = (sizes(v, 2) for v in (kernel_size, stride, padding))
    whole = pad_constant(input, _reach(input.shape[-2:], k, s, p, ceil_mode))
    sums = pool.avg_pool2d(whole if whole.dtype.is_floating_point else whole.to(float64), k, s) * (k[0] * k[1])
    means = sums / divisor_override
    return means if input.dtype.is_floating_point else means.trunc().to(input.dtype)


def _check_planes(operator: str, input: Tensor, dims: int) -> None:
    """Refuses a wrong number of dimensions, and sizes of 0 other than that of the batch."""
    inner = input.shape[1:] if input.ndim == dims + 2 else input.shape
    if input.ndim not in (dims + 1, dims + 2) or any(n == 0 for n in inner):
        raise ShapeError(f"{operator}: expected (N, C, ...) or (C, ...), only N may be 0, came {tuple(input.shape)}")


def _reach(size: Any, kernel: Any, stride: Any, padding: Any, ceil_mode: bool) -> list[int]:
    """Pads with which every window, also the last one of ceil mode, lies inside; last dimension first."""
    pads: list[int] = []
    for n, k, s, p in zip(size, kernel, stride, padding, strict=True):
        span = n + 2 * p - k
        count = span // s + 1
        if ceil_mode and span % s and count * s < n + p:
            count += 1
        pads = [p, max(p, (count - 1) * s + k - n - p), *pads]
    return pads


@under_autocast
def avg_pool3d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Returns the mean of each box of (N, C, D, H, W) or (C, D, H, W); arguments as in `avg_pool2d`."""
    if input.ndim == 4:
        arguments = (kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
        return avg_pool3d(input.unsqueeze(0), *arguments).squeeze(0)
    k, s, p = (sizes(v, 3) for v in (kernel_size, _steps(stride, kernel_size), padding))
    if divisor_override is not None:
        whole = pad_constant(input, _reach(input.shape[-3:], k, s, p, ceil_mode))
        return avg_pool3d(whole, k, s) * (k[0] * k[1] * k[2] / divisor_override)
    n, c, depth, h, w = input.shape
    planes = avg_pool2d(input.reshape((n, c * depth, h, w)), k[1:], s[1:], p[1:], ceil_mode, count_include_pad)
    oh, ow = planes.shape[2:]
    columns = planes.reshape((n, c, depth, oh * ow))
    result = avg_pool2d(columns, (k[0], 1), (s[0], 1), (p[0], 0), ceil_mode, count_include_pad)
    return result.reshape((n, c, result.shape[2], oh, ow))


def lp_pool1d(input: Tensor, norm_type: float, kernel_size: Size, stride: Size | None = None, ceil_mode: bool = False) -> Tensor:
    """Returns (sum of x^p)^(1/p) of each window of (N, C, L) or (C, L)."""
    k = sizes(kernel_size, 1)
    return _root(avg_pool1d(input**norm_type, k, stride, 0, ceil_mode), norm_type, k[0])


def lp_pool2d(input: Tensor, norm_type: float, kernel_size: Size, stride: Size | None = None, ceil_mode: bool = False) -> Tensor:
    """Returns (sum of x^p)^(1/p) of each window of (N, C, H, W) or (C, H, W)."""
    k = sizes(kernel_size, 2)
    return _root(avg_pool2d(input**norm_type, k, stride, 0, ceil_mode), norm_type, k[0] * k[1])


def lp_pool3d(input: Tensor, norm_type: float, kernel_size: Size, stride: Size | None = None, ceil_mode: bool = False) -> Tensor:
    """Returns (sum of x^p)^(1/p) of each box of (N, C, D, H, W) or (C, D, H, W)."""
    k = sizes(kernel_size, 3)
    return _root(avg_pool3d(input**norm_type, k, stride, 0, ceil_mode), norm_type, k[0] * k[1] * k[2])


def _root(means: Tensor, norm_type: float, count: int) -> Tensor:
    return (means.sign() * means.relu() * count) ** (1.0 / norm_type)


def max_unpool(input: Tensor, indices: Tensor, size: tuple[int, ...]) -> Tensor:
    """Returns zeros of `size` with the elements of the input at `indices`, counted through the plane.

    Args:
        input, indices: (N, C, ...) or (C, ...), as `max_pool*d(..., return_indices=True)` gives them.
        size: of the spatial dimensions of the result.
    """
    spatial = len(size)
    lead = tuple(input.shape[: input.ndim - spatial])
    count = 1
    for n in size:
        count *= n
    flat, place = input.reshape((*lead, -1)), indices.reshape((*lead, -1))
    is_seen = type(place._data) is np.ndarray and place.numel()
    if is_seen and not (int(place._data.min()) >= 0 and int(place._data.max()) < count):
        raise ShapeError(f"max_unpool: an index lies outside of the output of size {tuple(size)}")
    blank = zeros(*lead, count, dtype=input.dtype, device=input.device)
    return blank.scatter(-1, place, flat).reshape((*lead, *size))


def _unpool(input: Tensor, indices: Tensor, kernel_size: Any, stride: Any, padding: Any, output_size: Any, dims: int) -> Tensor:
    window = (sizes(value, dims) for value in (kernel_size, _steps(stride, kernel_size), padding))
    default = tuple((n - 1) * s - 2 * p + k for n, k, s, p in zip(input.shape[-dims:], *window, strict=True))
    return max_unpool(input, indices, default if output_size is None else tuple(output_size)[-dims:])


def max_unpool1d(
    input: Tensor, indices: Tensor, kernel_size: Size, stride: Any = None, padding: Size = 0, output_size: Any = None
) -> Tensor:
    """Returns the maxima of (N, C, L) or (C, L) put back where they were; `output_size` settles what rounding left open."""
    return _unpool(input, indices, kernel_size, stride, padding, output_size, 1)


def max_unpool2d(
    input: Tensor, indices: Tensor, kernel_size: Size, stride: Any = None, padding: Size = 0, output_size: Any = None
) -> Tensor:
    """Returns the maxima of (N, C, H, W) or (C, H, W) put back where they were; see `max_unpool1d`."""
    return _unpool(input, indices, kernel_size, stride, padding, output_size, 2)


def max_unpool3d(
    input: Tensor, indices: Tensor, kernel_size: Size, stride: Any = None, padding: Size = 0, output_size: Any = None
) -> Tensor:
    """Returns the maxima of (N, C, D, H, W) or (C, D, H, W) put back where they were; see `max_unpool1d`."""
    return _unpool(input, indices, kernel_size, stride, padding, output_size, 3)
