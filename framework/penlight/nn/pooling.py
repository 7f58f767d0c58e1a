# SPDX-License-Identifier: Apache-2.0
"""Pooling over height and width."""

from __future__ import annotations

import penlight.nn.functional as F
from penlight.nn.module import Module
from penlight.tensor import Tensor

Size = int | tuple[int, int]


class MaxPool2d(Module):
    """The largest value of each window of (N, C, H, W).

    Args:
        kernel_size: window, K or (KH, KW).
        stride: step; the window by default.
        padding: minus infinity added on each side.
        dilation: distance between the elements of a window.
        ceil_mode: whether a last window that is not full counts.
    """

    def __init__(
        self, kernel_size: Size, stride: Size | None = None, padding: Size = 0, dilation: Size = 1, ceil_mode: bool = False
    ):
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation, self.ceil_mode = padding, dilation, ceil_mode

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(Module):
    """The mean of each window of (N, C, H, W); arguments as `MaxPool2d`.

    Args:
        kernel_size: window, K or (KH, KW).
        stride: step; the window by default.
        padding: zeros added on each side.
        ceil_mode: whether a last window that is not full counts.
        count_include_pad: whether the zeros count in the mean.
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ):
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode, self.count_include_pad = padding, ceil_mode, count_include_pad

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AdaptiveAvgPool2d(Module):
    """The mean of windows chosen so that the output is (N, C, *output_size); 1 is the mean over the whole image."""

    def __init__(self, output_size: Size):
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(x, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"
