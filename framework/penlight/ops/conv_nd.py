# SPDX-License-Identifier: Apache-2.0
"""Convolutions over one and three dimensions, made of the two-dimensional operators.

A third dimension is folded into the channels: the slices that one output plane sees lie side by side, (N * OD, C * KD, H, W).
"""

from __future__ import annotations

from typing import Any

from penlight.errors import ArgumentError, ShapeError
from penlight.ops.conv import conv2d
from penlight.ops.conv import conv_transpose2d as _transpose_images
from penlight.ops.convert import keeps_channels_last
from penlight.ops.shape import flip, stack
from penlight.ops.shape import pad as pad_constant
from penlight.tensor import Tensor

Triple = tuple[int, int, int]
Size = int | tuple[int, ...]


def triple(value: Any) -> Any:
    """(v, v, v) of one number; a sequence as a tuple."""
    return (value,) * 3 if isinstance(value, int) else tuple(value)


def single(value: Any) -> Any:
    """The number, or the one in a sequence."""
    return value if isinstance(value, int) else value[0]


def same_padding(kernel: Any, dilation: Any, stride: Any, name: str) -> list[tuple[int, int]]:
    """(before, after) per dimension for padding "same" or "valid"; the odd element goes to the end, as in PyTorch."""
    if name == "valid":
        return [(0, 0)] * len(kernel)
    if name != "same" or any(s != 1 for s in stride):
        raise ArgumentError(f'conv: padding {name!r} with stride {stride}: expected a number, "valid", or "same" with stride 1')
    totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return [(total // 2, total - total // 2) for total in totals]


def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Returns the cross-correlation of volumes with filters.

    Args:
        input: (N, C, D, H, W) or (C, D, H, W), floating point.
        weight: (O, C / groups, KD, KH, KW).
        bias: (O,) or None.
        stride, padding, dilation: one number or three; padding also "same" or "valid".
        groups: channels are split into this many independent groups.

    Returns:
        (N, O, OD, OH, OW), sizes as in `conv2d`.

    Raises:
        ShapeError: the shapes do not fit together, or the kernel is larger than the padded input.
    """
    if input.ndim == 4:
        return conv3d(input.unsqueeze(0), weight, bias, stride, padding, dilation, groups).squeeze(0)
    if input.ndim != 5 or weight.ndim != 5:
        shapes = f"{tuple(map(int, input.shape))} and {tuple(map(int, weight.shape))}"
        raise ShapeError(f"conv3d: expected input (N, C, D, H, W) and weight (O, C/groups, KD, KH, KW), came {shapes}")
    s, d = triple(stride), triple(dilation)
    if isinstance(padding, str):
        pairs = same_padding(weight.shape[2:], d, s, padding)
        input, padding = pad_constant(input, [size for pair in pairs[::-1] for size in pair]), 0
    p = triple(padding)
    planes = _planes(pad_constant(input, (0, 0, 0, 0, p[0], p[0])), weight.shape[2], s[0], d[0])
    flat = weight.reshape((weight.shape[0], weight.shape[1] * weight.shape[2], *weight.shape[3:]))
    result = conv2d(planes, flat, bias, s[1:], p[1:], d[1:], groups)
    return _volume(result, input.shape[0])


def _planes(x: Tensor, kernel: int, stride: int, dilation: int) -> Tensor:
    """(N * OD, C * kernel, H, W): the slices of the padded x (N, C, D, H, W) that each output plane sees."""
    n, c, depth, h, w = x.shape
    out = (depth - dilation * (kernel - 1) - 1) // stride + 1
    if out < 1:
        raise ShapeError(f"conv3d: kernel depth {kernel} with dilation {dilation} is larger than the padded depth {int(depth)}")
    slices = [x[:, :, k * dilation : k * dilation + (out - 1) * stride + 1 : stride] for k in range(kernel)]
    together = stack(slices, 2) if kernel > 1 else slices[0].unsqueeze(2)  # (N, C, KD, OD, H, W)
    return together.permute(0, 3, 1, 2, 4, 5).reshape((n * out, c * kernel, h, w))


def _volume(planes: Tensor, batch: int) -> Tensor:
    """(N, C, D, H, W) of (N * D, C, H, W)."""
    depth = planes.shape[0] // batch if batch else 0
    return planes.reshape((batch, depth, *planes.shape[1:])).permute(0, 2, 1, 3, 4)


def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Tensor:
    """Returns the transposed convolution of (N, C, L) or (C, L) with weight (C, O / groups, K), to (N, O, OL).

    OL = (L - 1) * stride - 2 * padding + dilation * (K - 1) + output_padding + 1.
    """
    if input.ndim == 2:
        return conv_transpose1d(input.unsqueeze(0), weight, bias, stride, padding, output_padding, groups, dilation).squeeze(0)
    sizes: list[Any] = [(1, single(stride)), (0, single(padding)), (0, single(output_padding)), groups, (1, single(dilation))]
    return conv_transpose2d(input.unsqueeze(2), weight.unsqueeze(2), bias, *sizes).squeeze(2)


@keeps_channels_last
def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """Returns the transposed convolution of (N, C, H, W) or (C, H, W) with weight (C, O / groups, KH, KW).

    Sizes per dimension as in `conv_transpose1d`.
    """
    if input.ndim == 3:
        return _transpose_images(input.unsqueeze(0), weight, bias, stride, padding, output_padding, groups, dilation).squeeze(0)
    return _transpose_images(input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Tensor:
    """Returns the transposed convolution of (N, C, D, H, W) or (C, D, H, W) with weight (C, O / groups, KD, KH, KW).

    Sizes per dimension as in `conv_transpose1d`. Along the depth it is a convolution of the spread-out input with the
    mirrored kernel; over each plane it is `conv_transpose2d`.
    """
    if input.ndim == 4:
        return conv_transpose3d(input.unsqueeze(0), weight, bias, stride, padding, output_padding, groups, dilation).squeeze(0)
    s, p, extra, d = (triple(value) for value in (stride, padding, output_padding, dilation))
    kernel = weight.shape[2]
    reach = d[0] * (kernel - 1) - p[0]
    spread = pad_constant(_spread(input, s[0]), (0, 0, 0, 0, reach, reach + extra[0]))
    mirrored = flip(weight, 2).permute(0, 2, 1, 3, 4).reshape((weight.shape[0] * kernel, weight.shape[1], *weight.shape[3:]))
    planes = _planes(spread, kernel, 1, d[0])
    result = conv_transpose2d(planes, mirrored, bias, s[1:], p[1:], extra[1:], groups, d[1:])
    return _volume(result, input.shape[0])


def _spread(x: Tensor, step: int) -> Tensor:
    """x (N, C, D, H, W) with step - 1 planes of zeros between its planes."""
    if step == 1:
        return x
    n, c, depth, h, w = x.shape
    wide = pad_constant(x.unsqueeze(3), (0, 0, 0, 0, 0, step - 1)).reshape((n, c, depth * step, h, w))
    return wide.narrow(2, 0, (depth - 1) * step + 1)
