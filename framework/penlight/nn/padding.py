# SPDX-License-Identifier: Apache-2.0
"""Padding layers: with zeros, a constant, or what is there already."""

from __future__ import annotations

import penlight.nn.functional as F
from penlight.nn.module import Module
from penlight.tensor import Tensor


class _Pad(Module):
    """Pads the last `dimensions` dimensions; `padding` is one number for all sides, or (before, after), last first."""

    dimensions: int
    mode: str
    value: float = 0.0

    def __init__(self, padding: int | tuple[int, ...]):
        self.padding = (padding,) * (2 * self.dimensions) if isinstance(padding, int) else tuple(padding)
        if len(self.padding) != 2 * self.dimensions:
            raise ValueError(f"{type(self).__name__}: expected {2 * self.dimensions} numbers, got {self.padding}")

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, self.padding, self.mode, self.value)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPad(_Pad):
    mode = "constant"

    def __init__(self, padding: int | tuple[int, ...], value: float):
        super().__init__(padding)
        self.value = value

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ReflectionPad1d(_Pad):
    """Mirrors (N, C, L) at the borders, without the border element itself."""

    dimensions, mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """Mirrors (N, C, H, W) at the borders, without the border element itself."""

    dimensions, mode = 2, "reflect"


class ReflectionPad3d(_Pad):
    """Mirrors (N, C, D, H, W) at the borders, without the border element itself."""

    dimensions, mode = 3, "reflect"


class ReplicationPad1d(_Pad):
    """Repeats the border elements of (N, C, L)."""

    dimensions, mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """Repeats the border elements of (N, C, H, W)."""

    dimensions, mode = 2, "replicate"


class ReplicationPad3d(_Pad):
    """Repeats the border elements of (N, C, D, H, W)."""

    dimensions, mode = 3, "replicate"


class CircularPad1d(_Pad):
    """Continues (N, C, L) at the other end."""

    dimensions, mode = 1, "circular"


class CircularPad2d(_Pad):
    """Continues (N, C, H, W) at the other end."""

    dimensions, mode = 2, "circular"


class CircularPad3d(_Pad):
    """Continues (N, C, D, H, W) at the other end."""

    dimensions, mode = 3, "circular"


class ZeroPad1d(_Pad):
    """Pads (N, C, L) with zeros."""

    dimensions, mode = 1, "constant"


class ZeroPad2d(_Pad):
    """Pads (N, C, H, W) with zeros."""

    dimensions, mode = 2, "constant"


class ZeroPad3d(_Pad):
    """Pads (N, C, D, H, W) with zeros."""

    dimensions, mode = 3, "constant"


class ConstantPad1d(_ConstantPad):
    """Pads (N, C, L) with `value`."""

    dimensions = 1


class ConstantPad2d(_ConstantPad):
    """Pads (N, C, H, W) with `value`."""

    dimensions = 2


class ConstantPad3d(_ConstantPad):
    """Pads (N, C, D, H, W) with `value`."""

    dimensions = 3
