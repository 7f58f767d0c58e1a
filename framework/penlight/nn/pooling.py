# SPDX-License-Identifier: Apache-2.0
"""Pooling over one, two and three dimensions, to a wanted size, at random places, and undone."""

from __future__ import annotations

from typing import Any

import penlight.nn.functional as F
from penlight.nn.module import Module
from penlight.tensor import Tensor

Size = int | tuple[int, ...]


class _Window(Module):
    dimensions: int
    kernel_size: Size
    stride: Size
    padding: Size = 0

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class _MaxPool(_Window):
    """The largest value of each window.

    Args:
        kernel_size: window, one number or one per dimension.
        stride: step; the window by default.
        padding: minus infinity added on each side.
        dilation: distance between the elements of a window.
        return_indices: also return where each one was, counted through the spatial dimensions.
        ceil_mode: whether a last window that is not full counts.
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ):
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation, self.return_indices, self.ceil_mode = padding, dilation, return_indices, ceil_mode

    def forward(self, x: Tensor) -> Any:
        function = getattr(F, f"max_pool{self.dimensions}d")
        return function(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices)


class MaxPool1d(_MaxPool):
    """The largest value of each window of (N, C, L); arguments as `MaxPool2d`."""

    dimensions = 1


class MaxPool2d(_MaxPool):
    __doc__ = (_MaxPool.__doc__ or "").replace("of each window.", "of each window of (N, C, H, W).")

    dimensions = 2


class MaxPool3d(_MaxPool):
    """The largest value of each box of (N, C, D, H, W); arguments as `MaxPool2d`."""

    dimensions = 3


class AvgPool1d(_Window):
    """The mean of each window of (N, C, L); arguments as `AvgPool2d`."""

    dimensions = 1

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
        return F.avg_pool1d(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)


class AvgPool2d(AvgPool1d):
    """The mean of each window of (N, C, H, W).

    Args:
        kernel_size: window, one number or one per dimension.
        stride: step; the window by default.
        padding: zeros added on each side.
        ceil_mode: whether a last window that is not full counts.
        count_include_pad: whether the zeros count in the mean.
        divisor_override: what sums are divided by instead of the number of elements.
    """

    dimensions = 2

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ):
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad)
        self.divisor_override = divisor_override

    def forward(self, x: Tensor) -> Tensor:
        window = (self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)
        return getattr(F, f"avg_pool{self.dimensions}d")(x, *window, self.divisor_override)


class AvgPool3d(AvgPool2d):
    """The mean of each box of (N, C, D, H, W); arguments as `AvgPool2d`."""

    dimensions = 3


class _LPPool(_Window):
    """(sum of x^p)^(1/p) of each window.

    Args:
        norm_type: p.
        kernel_size: window. stride: step; the window by default.
        ceil_mode: whether a last window that is not full counts.
    """

    def __init__(self, norm_type: float, kernel_size: Size, stride: Size | None = None, ceil_mode: bool = False):
        self.norm_type, self.kernel_size, self.ceil_mode = norm_type, kernel_size, ceil_mode
        self.stride = kernel_size if stride is None else stride

    def forward(self, x: Tensor) -> Tensor:
        return getattr(F, f"lp_pool{self.dimensions}d")(x, self.norm_type, self.kernel_size, self.stride, self.ceil_mode)


class LPPool1d(_LPPool):
    """(sum of x^p)^(1/p) of each window of (N, C, L)."""

    dimensions = 1


class LPPool2d(_LPPool):
    """(sum of x^p)^(1/p) of each window of (N, C, H, W)."""

    dimensions = 2


class LPPool3d(_LPPool):
    """(sum of x^p)^(1/p) of each box of (N, C, D, H, W)."""

    dimensions = 3


class _Adaptive(Module):
    function: str

    def __init__(self, output_size: Any):
        self.output_size = output_size

    def forward(self, x: Tensor) -> Any:
        return getattr(F, self.function)(x, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_Adaptive):
    """The mean of windows chosen so that the output is (N, C, output_size)."""

    function = "adaptive_avg_pool1d"


class AdaptiveAvgPool2d(_Adaptive):
    """The mean of windows chosen so that the output is (N, C, *output_size); 1 is the mean over the whole image."""

    function = "adaptive_avg_pool2d"


class AdaptiveAvgPool3d(_Adaptive):
    """The mean of boxes chosen so that the output is (N, C, *output_size)."""

    function = "adaptive_avg_pool3d"


class _AdaptiveMax(_Adaptive):
    def __init__(self, output_size: Any, return_indices: bool = False):
        super().__init__(output_size)
        self.return_indices = return_indices

    def forward(self, x: Tensor) -> Any:
        return getattr(F, self.function)(x, self.output_size, self.return_indices)


class AdaptiveMaxPool1d(_AdaptiveMax):
    """The maximum of windows chosen so that the output is (N, C, output_size)."""

    function = "adaptive_max_pool1d"


class AdaptiveMaxPool2d(_AdaptiveMax):
    """The maximum of windows chosen so that the output is (N, C, *output_size)."""

    function = "adaptive_max_pool2d"


class AdaptiveMaxPool3d(_AdaptiveMax):
    """The maximum of boxes chosen so that the output is (N, C, *output_size)."""

    function = "adaptive_max_pool3d"


class _FractionalMaxPool(Module):
    function: str

    def __init__(
        self,
        kernel_size: Size,
        output_size: Any = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ):
        self.kernel_size, self.output_size, self.output_ratio = kernel_size, output_size, output_ratio
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)
        self._random_samples: Tensor | None

    def forward(self, x: Tensor) -> Any:
        sizes = (self.kernel_size, self.output_size, self.output_ratio)
        return getattr(F, self.function)(x, *sizes, self.return_indices, self._random_samples)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, output_size={self.output_size}, output_ratio={self.output_ratio}"


class FractionalMaxPool2d(_FractionalMaxPool):
    """Maxima of (N, C, H, W) over windows at pseudo-random places (Graham 2014); see `functional.fractional_max_pool2d`."""

    function = "fractional_max_pool2d"


class FractionalMaxPool3d(_FractionalMaxPool):
    """Maxima of (N, C, D, H, W) over boxes at pseudo-random places (Graham 2014)."""

    function = "fractional_max_pool3d"


class _MaxUnpool(_Window):
    """Puts maxima back where they were; everything else is 0.

    Args:
        kernel_size, stride, padding: those of the pooling.
    """

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0):
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding = padding

    def forward(self, x: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        """Returns the values of x at `indices`; `output_size` settles what rounding left open."""
        function = getattr(F, f"max_unpool{self.dimensions}d")
        return function(x, indices, self.kernel_size, self.stride, self.padding, output_size)


class MaxUnpool1d(_MaxUnpool):
    """Undoes `MaxPool1d` with the indices it returned."""

    dimensions = 1


class MaxUnpool2d(_MaxUnpool):
    """Undoes `MaxPool2d` with the indices it returned."""

    dimensions = 2


class MaxUnpool3d(_MaxUnpool):
    """Undoes `MaxPool3d` with the indices it returned."""

    dimensions = 3
