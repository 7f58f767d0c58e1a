# SPDX-License-Identifier: Apache-2.0
"""Pooling over windows and over all of space."""

from __future__ import annotations

from typing import Any

import numpy as np

import penlight as pl
from penlight.nn import functional as F
from penlight_export.imported.operators.convolution import by_rank, pad_space, paddings
from penlight_export.imported.registry import operator

Tensor = pl.Tensor

_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def _space(x: Tensor) -> list[int]:
    return list(range(2, x.ndim))


@operator("GlobalAveragePool")
def global_average_pool(x: Tensor) -> Tensor:
    """The mean over space."""
    return pl.mean(x, _space(x), True)


@operator("GlobalMaxPool")
def global_max_pool(x: Tensor) -> Tensor:
    """The largest over space."""
    return pl.amax(x, _space(x), True)


@operator("GlobalLpPool")
def global_lp_pool(x: Tensor, *, p: int = 2) -> Tensor:
    """A norm over space."""
    return pl.pow(pl.sum(pl.pow(pl.abs(x), float(p)), _space(x), True), 1 / p)


class _Window:
    """A window's sizes: kernel, strides, dilations, and what is padded before and behind, with ceil_mode's extra at the end."""

    def __init__(self, x: Tensor, kernel: Any, strides: Any, dilations: Any, pads: Any, auto_pad: str, ceil_mode: int) -> None:
        self.kernel, rank = list(kernel), len(kernel)
        self.strides, self.dilations = strides or [1] * rank, dilations or [1] * rank
        self.before, self.after = paddings(x.shape[2:], self.kernel, self.strides, self.dilations, pads, auto_pad)
        self.extra = [self._extra(k, x.shape[k + 2]) if ceil_mode else 0 for k in range(rank)]

    def _extra(self, k: int, size: Any) -> Any:
        """What lets a last window begin that does not fit; it must begin before the padding behind the end."""
        reach = self.dilations[k] * (self.kernel[k] - 1) + 1
        room = size + self.before[k] + self.after[k] - reach
        steps = -(-room // self.strides[k])
        if steps * self.strides[k] >= size + self.before[k]:
            steps -= 1
        return max(steps * self.strides[k] - room, 0)

    @property
    def plain(self) -> bool:
        """Whether the framework's own padding does."""
        halves = all(2 * amount <= width for amount, width in zip(self.before, self.kernel, strict=True))
        return self.before == self.after and halves and not any(self.extra)

    def arguments(self, pads: Any) -> tuple[Any, ...]:
        return tuple(self.kernel), tuple(self.strides), tuple(pads)


@operator("MaxPool")
def max_pool(
    x: Tensor,
    *,
    kernel_shape: Any,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Any = None,
    pads: Any = None,
    storage_order: int = 0,
    strides: Any = None,
    node: Any = None,
) -> Any:
    """The largest of each window, and where it stands in the whole tensor."""
    if not x.dtype.is_floating_point:
        return _of_integers(x, max_pool, locals())
    window = _Window(x, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    function = by_rank(_MAX, x.ndim - 2, "MaxPool")
    wants_places = node is not None and node.count > 1 and bool(node.outputs[1])
    padded, pads = (x, window.before) if window.plain else (_padded(x, window, -np.inf), [0] * (x.ndim - 2))
    if not wants_places:
        return function(padded, *window.arguments(pads), tuple(window.dilations))
    y, places = function(padded, *window.arguments(pads), tuple(window.dilations), return_indices=True)
    return y, _whole_places(places, x, padded, window, storage_order)


def _of_integers(x: Tensor, function: Any, arguments: dict[str, Any]) -> Tensor:
    more = {name: value for name, value in arguments.items() if name != "x"}
    if more["node"].count > 1 and more["node"].outputs[1]:
        y, places = function(x.to(pl.float64), **more)
        return y.to(x.dtype), places  # type: ignore[return-value]  # both, as the caller returns them
    return function(x.to(pl.float64), **more).to(x.dtype)


def _padded(x: Tensor, window: _Window, value: float) -> Tensor:
    after = [amount + more for amount, more in zip(window.after, window.extra, strict=True)]
    return pad_space(x, window.before, after, value)


def _whole_places(places: Tensor, x: Tensor, padded: Tensor, window: _Window, storage_order: int) -> Tensor:
    """Places within a channel of the padded tensor, as places in the whole tensor without padding."""
    shape, inner = x.shape[2:], padded.shape[2:]
    shifts = window.before if padded is not x else [0] * len(shape)
    columns = []
    for size, shift in zip(reversed(inner), reversed(shifts), strict=True):
        columns.append(pl.remainder(places, size) - shift)
        places = pl.floor_divide(places, size)
    flat: Any = 0
    axes = range(len(shape)) if not storage_order else reversed(range(len(shape)))
    for axis in axes:
        flat = flat * shape[axis] + columns[len(shape) - 1 - axis]
    area = int(np.prod(shape, dtype=np.int64))
    channel = pl.arange(x.shape[0] * x.shape[1]).reshape(x.shape[0], x.shape[1], *[1] * len(shape))
    return flat + channel * area


@operator("AveragePool")
def average_pool(
    x: Tensor,
    *,
    kernel_shape: Any,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Any = None,
    pads: Any = None,
    strides: Any = None,
) -> Tensor:
    """The mean of each window, without padding or with it."""
    window = _Window(x, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    if window.plain and all(d == 1 for d in window.dilations):
        function = by_rank(_AVERAGE, x.ndim - 2, "AveragePool")
        return function(x, *window.arguments(window.before), False, bool(count_include_pad))
    ones = pl.ones(1, 1, *x.shape[2:], dtype=x.dtype)
    if count_include_pad:
        counted = pad_space(pad_space(ones, window.before, window.after, 1), [0] * len(window.extra), window.extra)
    else:
        counted = _padded(ones, window, 0)
    return _window_sums(_padded(x, window, 0), window) / _window_sums(counted, window)


def _window_sums(x: Tensor, window: _Window) -> Tensor:
    """Sums of windows that need no padding any more, tap by tap."""
    total: Any = None
    for tap in np.ndindex(*window.kernel):
        cuts: list[Any] = [slice(None), slice(None)]
        for k, place in enumerate(tap):
            start = place * window.dilations[k]
            count = (x.shape[k + 2] - window.dilations[k] * (window.kernel[k] - 1) - 1) // window.strides[k] + 1
            cuts.append(slice(start, start + (count - 1) * window.strides[k] + 1, window.strides[k]))
        part = x[tuple(cuts)]
        total = part if total is None else total + part
    return total


@operator("LpPool")
def lp_pool(
    x: Tensor,
    *,
    kernel_shape: Any,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Any = None,
    p: int = 2,
    pads: Any = None,
    strides: Any = None,
) -> Tensor:
    """A norm of each window."""
    window = _Window(x, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    return pl.pow(_window_sums(_padded(pl.pow(pl.abs(x), float(p)), window, 0), window), 1 / p)


@operator("MaxUnpool", known=(2,))
def max_unpool(x: Tensor, places: Tensor, shape: Any = None, *, kernel_shape: Any, pads: Any = None, strides: Any = None) -> Tensor:
    """Puts each element where pooling took it from; places count in the whole tensor."""
    rank = len(kernel_shape)
    strides, pads = strides or [1] * rank, pads or [0] * (2 * rank)
    space = [(x.shape[k + 2] - 1) * strides[k] - pads[k] - pads[k + rank] + kernel_shape[k] for k in range(rank)]
    small = [*x.shape[:2], *space]
    flat = pl.zeros(int(np.prod(small)), dtype=x.dtype).scatter(0, places.reshape(-1), x.reshape(-1)).reshape(*small)
    if shape is None:
        return flat
    return pad_space(flat, [0] * rank, [int(size) - own for size, own in zip(shape[2:], space, strict=True)])
