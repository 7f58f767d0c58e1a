# SPDX-License-Identifier: Apache-2.0
"""Convolutions of one to three dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import penlight as pl
from penlight.nn import functional as F
from penlight_export.imported.registry import operator

Tensor = pl.Tensor

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def by_rank(table: dict[int, Any], rank: int, name: str) -> Any:
    """The function for so many dimensions of space."""
    if rank not in table:
        raise NotImplementedError(f"{name} over {rank} dimensions; the framework has 1 to 3")
    return table[rank]


def paddings(
    sizes: Sequence[Any], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], pads: Any, auto_pad: str
) -> tuple[list[Any], list[Any]]:
    """What stands before and behind each dimension."""
    rank = len(kernel)
    if auto_pad in ("NOTSET", ""):
        pads = pads or [0] * (2 * rank)
        return list(pads[:rank]), list(pads[rank:])
    if auto_pad == "VALID":
        return [0] * rank, [0] * rank
    before, after = [], []
    for size, width, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        reach = dilation * (width - 1) + 1
        total = reach - 1 if stride == 1 else max(((size + stride - 1) // stride - 1) * stride + reach - size, 0)
        half = total // 2
        before.append(total - half if auto_pad == "SAME_LOWER" else half)
        after.append(half if auto_pad == "SAME_LOWER" else total - half)
    return before, after


def pad_space(x: Tensor, before: Sequence[int], after: Sequence[int], value: float = 0) -> Tensor:
    """Pads the dimensions of space."""
    if not any(before) and not any(after):
        return x
    amounts = [amount for pair in zip(reversed(before), reversed(after), strict=True) for amount in pair]
    return F.pad(x, amounts, value=value)


@operator("Conv")
def conv(
    x: Tensor,
    w: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Any = None,
    group: int = 1,
    kernel_shape: Any = None,
    pads: Any = None,
    strides: Any = None,
) -> Tensor:
    """Convolution; uneven padding is a padding of its own."""
    rank = x.ndim - 2
    strides, dilations = strides or [1] * rank, dilations or [1] * rank
    before, after = paddings(x.shape[2:], w.shape[2:], strides, dilations, pads, auto_pad)
    if before != after:
        x, before = pad_space(x, before, after), [0] * rank
    function = by_rank(_CONV, rank, "Conv")
    if rank == 1:
        return function(x, w, bias, strides[0], before[0], dilations[0], group)
    return function(x, w, bias, tuple(strides), tuple(before), tuple(dilations), group)


@operator("ConvTranspose")
def conv_transpose(
    x: Tensor,
    w: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Any = None,
    group: int = 1,
    kernel_shape: Any = None,
    output_padding: Any = None,
    output_shape: Any = None,
    pads: Any = None,
    strides: Any = None,
) -> Tensor:
    """The convolution's gradient as a layer; pads crop."""
    rank = x.ndim - 2
    strides, dilations = strides or [1] * rank, dilations or [1] * rank
    extra = output_padding or [0] * rank
    parts = zip(x.shape[2:], w.shape[2:], strides, dilations, strict=True)
    full = [stride * (size - 1) + dilation * (width - 1) + 1 for size, width, stride, dilation in parts]
    if output_shape is not None or auto_pad.startswith("SAME"):
        wanted = output_shape or [size * stride for size, stride in zip(x.shape[2:], strides, strict=True)]
        totals = [size + more - target for size, more, target in zip(full, extra, wanted[-rank:], strict=True)]
        halves = [total // 2 for total in totals]
        rests = [total - half for total, half in zip(totals, halves, strict=True)]
        before, after = (
            (halves, rests) if auto_pad == "SAME_UPPER" or (output_shape is None and auto_pad != "SAME_LOWER") else (rests, halves)
        )
    else:
        before, after = paddings((), w.shape[2:], strides, dilations, pads, auto_pad)
    function = by_rank(_TRANSPOSED, rank, "ConvTranspose")
    even = before == after and all(more < max(s, d) for more, s, d in zip(extra, strides, dilations, strict=True))
    if even and all(isinstance(amount, int) and amount >= 0 for amount in before):
        return function(x, w, bias, tuple(strides), tuple(before), tuple(extra), group, tuple(dilations))
    y = function(x, w, None, tuple(strides), 0, 0, group, tuple(dilations))
    y = pad_space(y, [0] * rank, extra)
    for axis, (low, high) in enumerate(zip(before, after, strict=True)):
        y = pad_or_crop(y, axis + 2, low, high)
    return y if bias is None else y + bias.reshape(1, -1, *[1] * rank)


def pad_or_crop(x: Tensor, axis: int, low: int, high: int) -> Tensor:
    """Crops by these amounts; negative ones pad."""
    if min(low, high) < 0:
        space = axis - 2
        rank = x.ndim - 2
        x = pad_space(
            x, [max(-low, 0) if k == space else 0 for k in range(rank)], [max(-high, 0) if k == space else 0 for k in range(rank)]
        )
    low, high = max(low, 0), max(high, 0)
    return x.narrow(axis, low, x.shape[axis] - low - high) if low or high else x


@operator("DeformConv")
def deform_conv(
    x: Tensor,
    w: Tensor,
    offset: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    dilations: Any = None,
    group: int = 1,
    kernel_shape: Any = None,
    offset_group: int = 1,
    pads: Any = None,
    strides: Any = None,
) -> Tensor:
    """Convolution that reads at places of its own, which lie between pixels."""
    strides, dilations, pads = strides or [1, 1], dilations or [1, 1], pads or [0] * 4
    (batch, channels, _, _), (count, _, rows, columns), (height, width) = x.shape, w.shape, offset.shape[2:]
    shifts = offset.reshape(batch, offset_group, rows * columns, 2, height, width)
    parts = []
    for tap in range(rows * columns):
        base = [
            pl.arange(size).to(x.dtype) * strides[k] - pads[k] + (tap // columns, tap % columns)[k] * dilations[k]
            for k, size in enumerate((height, width))
        ]
        ys = shifts[:, :, tap, 0] + base[0].reshape(-1, 1)
        xs = shifts[:, :, tap, 1] + base[1]
        read = _bilinear(x.reshape(batch * offset_group, channels // offset_group, *x.shape[2:]), ys, xs)
        if mask is not None:
            weights = mask.reshape(batch, offset_group, rows * columns, height, width)[:, :, tap]
            read = read * weights.reshape(batch * offset_group, 1, height, width)
        parts.append(read.reshape(batch, channels, 1, height, width))
    taps = pl.cat(parts, 2).reshape(batch, channels * rows * columns, height, width)
    return F.conv2d(taps, w.reshape(count, -1, 1, 1), bias, groups=group)


def _bilinear(x: Tensor, ys: Tensor, xs: Tensor) -> Tensor:
    """Reads (N, C, H, W) at (..., h, w) places, zero outside, by grid_sample."""
    height, width = x.shape[2:]
    grid = pl.stack([(xs + 0.5) * 2 / width - 1, (ys + 0.5) * 2 / height - 1], -1)
    return F.grid_sample(x, grid.reshape(x.shape[0], *grid.shape[-3:]), align_corners=False)


@operator("Col2Im", known=(1, 2))
def col2im(
    x: Tensor, image_shape: Any, block_shape: Any, *, dilations: Any = None, pads: Any = None, strides: Any = None
) -> Tensor:
    """Adds the columns of patches up to an image."""
    sizes, block = [int(n) for n in image_shape], [int(n) for n in block_shape]
    rank = len(sizes)
    if rank != 2:
        raise NotImplementedError(f"Col2Im over {rank} dimensions; the framework has 2")
    pads = pads or [0] * 4
    whole = [sizes[0] + pads[0] + pads[2], sizes[1] + pads[1] + pads[3]]
    y = F.fold(x, (whole[0], whole[1]), (block[0], block[1]), tuple(dilations or [1, 1]), 0, tuple(strides or [1, 1]))
    return y[:, :, pads[0] : whole[0] - pads[2], pads[1] : whole[1] - pads[3]]
