# SPDX-License-Identifier: Apache-2.0
"""Convolutions over one and two spatial dimensions."""

from __future__ import annotations

import math
from typing import Any

import penlight.nn.functional as F
import penlight.nn.init as init
from penlight.nn.module import Module
from penlight.nn.parameter import Parameter
from penlight.ops.conv_nd import same_padding
from penlight.tensor import Tensor

Size = int | tuple[int, ...]
PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _Conv(Module):
    dimensions: int

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
    ):
        if padding_mode not in PADDING_MODES:
            modes = ", ".join(PADDING_MODES)
            raise ValueError(f"{type(self).__name__}: padding_mode must be one of {modes}, got {padding_mode!r}")
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{type(self).__name__}: groups={groups} must divide in_channels={in_channels} and out_channels={out_channels}"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.dilation = (self._tuple(size) for size in (kernel_size, stride, dilation))
        self.padding = padding if isinstance(padding, str) else self._tuple(padding)
        self.padding_mode = padding_mode
        self.weight = Parameter(init.empty(out_channels, in_channels // groups, *self.kernel_size))
        self.register_parameter("bias", Parameter(init.empty(out_channels)) if bias else None)
        self.bias: Parameter | None
        self.reset_parameters()

    def _tuple(self, size: Size) -> tuple[int, ...]:
        return (size,) * self.dimensions if isinstance(size, int) else tuple(size)

    def reset_parameters(self) -> None:
        """Draws the parameters anew, uniform in +-1/sqrt(fan_in) as in PyTorch."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            init.uniform_fan_(self.bias, self.weight[0].numel())

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, ...) to (N, out_channels, ...), or without N."""
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            x, padding = F.pad(x, self._pads(), self.padding_mode), 0
        function = getattr(F, f"conv{self.dimensions}d")
        return function(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def _pads(self) -> list[int]:
        """(before, after) per dimension, last dimension first."""
        if isinstance(self.padding, str):
            pairs = same_padding(self.kernel_size, self.dilation, self.stride, self.padding)
        else:
            pairs = [(size, size) for size in self.padding]
        return [size for pair in pairs[::-1] for size in pair]

    def extra_repr(self) -> str:
        parts = [f"{self.in_channels}, {self.out_channels}", f"kernel_size={self.kernel_size}", f"stride={self.stride}"]
        defaults: list[tuple[str, Any]] = [("padding", self._tuple(0)), ("dilation", self._tuple(1)), ("groups", 1)]
        parts += [f"{name}={getattr(self, name)}" for name, default in defaults if getattr(self, name) != default]
        return ", ".join(parts + (["bias=False"] if self.bias is None else []))


class Conv1d(_Conv):
    """Cross-correlation along one dimension; arguments as `Conv2d`. Weight (out, in/groups, K)."""

    dimensions = 1


class Conv2d(_Conv):
    """Cross-correlation over height and width.

    Args:
        in_channels: C of the input.
        out_channels: C of the output.
        kernel_size: K or (KH, KW).
        stride: step, one number or two.
        padding: zeros added on each side, one number or two, or "same" or "valid".
        dilation: distance between the elements of the kernel.
        groups: input and output channels are split into so many groups that see nothing of each other.
        bias: whether to add a bias per output channel.
        padding_mode: "zeros", or what is there already: "reflect", "replicate" or "circular", as in `functional.pad`.

    Attributes:
        weight: (out_channels, in_channels / groups, KH, KW).
        bias: (out_channels,) or None.
    """

    dimensions = 2
