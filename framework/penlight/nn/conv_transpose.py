# SPDX-License-Identifier: Apache-2.0
"""Transposed convolutions, and the convolution over volumes."""

from __future__ import annotations

import math
from typing import Any

import penlight.nn.functional as F
import penlight.nn.init as init
from penlight.nn.conv import Size, _Conv
from penlight.nn.module import Module
from penlight.nn.parameter import Parameter
from penlight.tensor import Tensor


class _ConvTranspose(Module):
    """Transposed convolution: the gradient of a convolution for its input, as a layer.

    Args:
        in_channels: C of the input.
        out_channels: C of the output.
        kernel_size: one number or one per dimension.
        stride: step of the output per step of the input.
        padding: taken away on each side of the output.
        output_padding: added at one side of the output, to settle what a stride leaves open.
        groups: input and output channels are split into so many groups that see nothing of each other.
        bias: whether to add a bias per output channel.
        dilation: distance between the elements of the kernel.
        padding_mode: "zeros" only, as in PyTorch.

    Attributes:
        weight: (in_channels, out_channels / groups, *kernel_size).
        bias: (out_channels,) or None.
    """

    dimensions: int

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
        padding_mode: str = "zeros",
    ):
        name = type(self).__name__
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(f"{name}: groups={groups} must divide in_channels={in_channels} and out_channels={out_channels}")
        if padding_mode != "zeros":
            raise ValueError(f"{name}: padding_mode must be 'zeros', got {padding_mode!r}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        sizes = (kernel_size, stride, padding, output_padding, dilation)
        self.kernel_size, self.stride, self.padding, self.output_padding, self.dilation = map(self._tuple, sizes)
        self.weight = Parameter(init.empty(in_channels, out_channels // groups, *self.kernel_size))
        self.register_parameter("bias", Parameter(init.empty(out_channels)) if bias else None)
        self.bias: Parameter | None
        self.reset_parameters()

    def _tuple(self, size: Size) -> tuple[int, ...]:
        return (size,) * self.dimensions if isinstance(size, int) else tuple(size)

    def reset_parameters(self) -> None:
        """Draws the parameters anew, uniform in +-1/sqrt(fan_in) as in PyTorch."""
        if not self.weight.numel():
            return
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            init.uniform_fan_(self.bias, self.weight[0].numel())

    def forward(self, x: Tensor, output_size: Any = None) -> Tensor:
        """Maps (N, C, ...) to (N, out_channels, ...); `output_size` settles the sizes that a stride leaves open."""
        extra = self.output_padding if output_size is None else self._extra(x, tuple(output_size)[-self.dimensions :])
        function = getattr(F, f"conv_transpose{self.dimensions}d")
        return function(x, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation)

    def _extra(self, x: Tensor, wanted: tuple[int, ...]) -> tuple[int, ...]:
        geometry = zip(x.shape[-self.dimensions :], self.kernel_size, self.stride, self.padding, self.dilation, strict=True)
        least = [(n - 1) * s - 2 * p + d * (k - 1) + 1 for n, k, s, p, d in geometry]
        extra = tuple(want - low for want, low in zip(wanted, least, strict=True))
        if any(not 0 <= e < max(s, d) for e, s, d in zip(extra, self.stride, self.dilation, strict=True)):
            raise ValueError(f"{type(self).__name__}: output_size {wanted} is out of reach; the smallest is {tuple(least)}")
        return extra

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        return text + ("" if self.padding == self._tuple(0) else f", padding={self.padding}")


class ConvTranspose1d(_ConvTranspose):
    """Transposed convolution of (N, C, L) or (C, L); see `ConvTranspose2d`."""

    dimensions = 1


class ConvTranspose2d(_ConvTranspose):
    __doc__ = _ConvTranspose.__doc__

    dimensions = 2


class ConvTranspose3d(_ConvTranspose):
    """Transposed convolution of (N, C, D, H, W) or (C, D, H, W); see `ConvTranspose2d`."""

    dimensions = 3


class Conv3d(_Conv):
    """Cross-correlation over volumes; arguments as `Conv2d`. Weight (out, in/groups, KD, KH, KW)."""

    dimensions = 3
