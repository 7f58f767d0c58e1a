# SPDX-License-Identifier: Apache-2.0
"""Pooling over image windows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from penlight.dtype import float64, int64
from penlight.errors import ArgumentError, ShapeError
from penlight.ops import dims as _dims
from penlight.ops.convert import keeps_channels_last
from penlight.ops.dispatch import apply
from penlight.ops.operator import NotDifferentiable, Operator, Spec
from penlight.ops.registry import register
from penlight.ops.samples import Input, index, of, sample, shapes
from penlight.ops.shape import cat
from penlight.tensor import Tensor

Pair = tuple[int, int]


class _Pool(Operator):
    """The window arguments that all pooling operators share."""

    kernel_size: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    ceil_mode: bool

    def arguments(self) -> tuple[Pair, Pair, Pair, Pair, bool]:
        return self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode

    def output_size(self, size: Any) -> Pair:
        """(OH, OW); in ceil mode a last window may reach over the end if it starts inside."""
        oh, ow = (self._length(*arguments) for arguments in zip(size, *self.arguments()[:4], strict=True))
        if oh < 1 or ow < 1:
            raise ShapeError(f"{self.name}: window {self.kernel_size} is larger than the padded input {tuple(map(int, size))}")
        return oh, ow

    def _length(self, n: int, k: int, s: int, p: int, d: int) -> int:
        span = n + 2 * p - d * (k - 1) - 1
        if not self.ceil_mode:
            return span // s + 1
        length = (span + s - 1) // s + 1
        return length - 1 if (length - 1) * s >= n + p else length

    def padded(self, xp: Any, x: Any, value: float, out: Pair) -> Any:
        (h, w), pads = x.shape[2:], []
        for n, o, k, s, p, d in zip((h, w), out, self.kernel_size, self.stride, self.padding, self.dilation, strict=True):
            pads.append((p, max(p, (o - 1) * s + d * (k - 1) + 1 - n - p)))
        if not any(map(any, pads)):
            return x
        result = xp.full((*x.shape[:2], h + sum(pads[0]), w + sum(pads[1])), value, dtype=x.dtype)
        result[:, :, pads[0][0] : pads[0][0] + h, pads[1][0] : pads[1][0] + w] = x
        return result

    def taps(self, out: Pair) -> Iterator[tuple[int, tuple[Any, ...]]]:
        """(number, index): where each tap of the window reads in the padded input."""
        (sh, sw), (dh, dw) = self.stride, self.dilation
        for ky in range(self.kernel_size[0]):
            for kx in range(self.kernel_size[1]):
                rows = slice(ky * dh, ky * dh + (out[0] - 1) * sh + 1, sh)
                place = (slice(None), slice(None), rows, slice(kx * dw, kx * dw + (out[1] - 1) * sw + 1, sw))
                yield ky * self.kernel_size[1] + kx, place

    def infer_pool(self, x: Spec) -> Spec:
        if len(x.shape) != 4:
            raise ShapeError(f"{self.name}: expected (N, C, H, W), came {tuple(map(int, x.shape))}")
        return Spec((*x.shape[:2], *self.output_size(x.shape[2:])), x.dtype)

    def unpadded(self, xp: Any, x: Any, size: Pair) -> Any:
        (ph, pw) = self.padding
        return xp.ascontiguousarray(x[:, :, ph : ph + size[0], pw : pw + size[1]])


def _window(
    kernel_size: Pair, stride: Pair, padding: Pair = (0, 0), dilation: Pair = (1, 1), ceil_mode: bool = False
) -> dict[str, Any]:
    return {"kernel_size": kernel_size, "stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil_mode}


_WINDOWS = (
    ((2, 3, 6, 4), _window((2, 2), (2, 2))),
    ((1, 2, 5, 7), _window((3, 2), (2, 1), padding=(1, 0))),
    ((1, 1, 5, 5), _window((2, 2), (2, 2), ceil_mode=True)),
    ((0, 1, 4, 4), _window((2, 2), (2, 2))),
)


def _distinct(*shape: int) -> Input:
    return of(*shape, distinct=True)


@register
class MaxPool2d(_Pool):
    """The largest element of each window; padding never wins"""

    name = "max_pool2d"
    samples = (
        *(sample(_distinct(*shape), **w) for shape, w in _WINDOWS),
        sample(_distinct(1, 1, 7, 7), **_window((2, 3), (1, 2), dilation=(2, 1))),
    )

    kernel_size: Pair
    stride: Pair
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    ceil_mode: bool = False

    def infer(self, x: Spec) -> Spec:
        return self.infer_pool(x)

    def forward(self, xp, x):
        out = self.output_size(x.shape[2:])
        padded = self.padded(xp, x, _lowest(x.dtype), out)
        result = None
        for _, place in self.taps(out):
            result = padded[place].copy() if result is None else xp.maximum(result, padded[place], out=result)
        return result

    def vjp(self, grad, output, x):
        winners = apply(MaxPool2dIndex(*self.arguments()), x)
        return (apply(MaxPool2dGrad(*self.arguments(), tuple(x.shape[2:])), grad, winners),)

    def backward(self, xp, needs, grad, output, x):
        winners = MaxPool2dIndex(*self.arguments()).forward(xp, x)
        return (MaxPool2dGrad(*self.arguments(), x.shape[2:]).forward(xp, grad, winners),)


def _lowest(dtype: Any) -> Any:
    return -np.inf if dtype.kind in "fV" else np.iinfo(dtype).min


@register
class MaxPool2dIndex(_Pool):
    """The number of the tap that holds the largest element of each window, int64; the first one on a tie"""

    name = "max_pool2d_index"
    gradient = NotDifferentiable("the result is an index")
    samples = tuple(sample(_distinct(*shape), **w) for shape, w in _WINDOWS)

    kernel_size: Pair
    stride: Pair
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    ceil_mode: bool = False

    def infer(self, x: Spec) -> Spec:
        return Spec(self.infer_pool(x).shape, int64)

    def forward(self, xp, x):
        out = self.output_size(x.shape[2:])
        padded = self.padded(xp, x, _lowest(x.dtype), out)
        best: Any = None
        winners: Any = None
        for number, place in self.taps(out):
            window = padded[place]
            if best is None:
                best, winners = window.copy(), xp.zeros(window.shape, dtype=np.int64)
                continue
            better = window > best
            xp.copyto(best, window, where=better)
            winners[better] = number
        return winners


@register
class MaxPool2dGrad(_Pool):
    """Each element of x added at the tap that won its window: the gradient of MaxPool2d"""

    name = "max_pool2d_grad"
    samples = (
        sample(of(2, 3, 3, 2), index(2, 3, 3, 2, high=4), **_window((2, 2), (2, 2)), size=(6, 4)),
        sample(of(1, 2, 3, 6), index(1, 2, 3, 6, high=6), **_window((3, 2), (2, 1)), size=(7, 7)),
    )

    kernel_size: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    ceil_mode: bool
    size: Pair

    def infer(self, x: Spec, winners: Spec) -> Spec:
        return Spec((*x.shape[:2], *self.size), x.dtype)

    def forward(self, xp, x, winners):
        out = x.shape[2:]
        padded = self.padded(xp, xp.zeros((*x.shape[:2], *self.size), dtype=x.dtype), 0, out)
        for number, place in self.taps(out):
            padded[place] += x * (winners == number)
        return self.unpadded(xp, padded, self.size)

    def vjp(self, grad, output, x, winners):
        return apply(MaxPool2dRead(*self.arguments()), grad, winners), None


@register
class MaxPool2dRead(_Pool):
    """The element of x at the winning tap of each window: the gradient of MaxPool2dGrad"""

    name = "max_pool2d_read"
    samples = (
        sample(of(2, 3, 6, 4), index(2, 3, 3, 2, high=4), **_window((2, 2), (2, 2))),
        sample(of(1, 2, 7, 7), index(1, 2, 3, 6, high=6), **_window((3, 2), (2, 1))),
    )

    kernel_size: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    ceil_mode: bool

    def infer(self, x: Spec, winners: Spec) -> Spec:
        return Spec(winners.shape, x.dtype)

    def forward(self, xp, x, winners):
        out = winners.shape[2:]
        padded = self.padded(xp, x, 0, out)
        result = xp.zeros(winners.shape, dtype=x.dtype)
        for number, place in self.taps(out):
            result += padded[place] * (winners == number)
        return result

    def vjp(self, grad, output, x, winners):
        return apply(MaxPool2dGrad(*self.arguments(), tuple(x.shape[2:])), grad, winners), None


class _AvgPool(_Pool):
    count_include_pad: bool

    def divisor(self, xp: Any, size: Any, out: Pair, dtype: Any) -> Any:
        """(OH, OW): the number of elements that count in each window."""
        inside = xp.ones((1, 1, *size), dtype=dtype)
        if self.count_include_pad:  # the declared padding counts, what ceil mode reads beyond it does not
            (ph, pw) = self.padding
            inside = xp.ones((1, 1, size[0] + 2 * ph, size[1] + 2 * pw), dtype=dtype)
            height = max(inside.shape[2], (out[0] - 1) * self.stride[0] + self.kernel_size[0])
            width = max(inside.shape[3], (out[1] - 1) * self.stride[1] + self.kernel_size[1])
            full = xp.zeros((1, 1, height, width), dtype=dtype)
            full[:, :, : inside.shape[2], : inside.shape[3]] = inside
        else:
            full = self.padded(xp, inside, 0, out)
        return sum(full[place] for _, place in self.taps(out))


@register
class AvgPool2d(_AvgPool):
    """The mean of each window"""

    name = "avg_pool2d"
    saves_inputs = False
    samples = (
        *(shapes(*shape, **w) for shape, w in _WINDOWS),
        shapes(1, 2, 5, 5, **_window((3, 3), (2, 2), padding=(1, 1)), count_include_pad=False),
    )

    kernel_size: Pair
    stride: Pair
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    ceil_mode: bool = False
    count_include_pad: bool = True

    def infer(self, x: Spec) -> Spec:
        return self.infer_pool(x)

    def forward(self, xp, x):
        out = self.output_size(x.shape[2:])
        padded = self.padded(xp, x, 0, out)
        result = None
        for _, place in self.taps(out):
            result = padded[place].copy() if result is None else xp.add(result, padded[place], out=result)
        result /= self.divisor(xp, x.shape[2:], out, x.dtype)
        return result

    def vjp(self, grad, output, x):
        return (apply(AvgPool2dGrad(*self.arguments(), self.count_include_pad, tuple(x.shape[2:])), grad),)


@register
class AvgPool2dGrad(_AvgPool):
    """Each element of x spread evenly over its window: the gradient of AvgPool2d"""

    name = "avg_pool2d_grad"
    saves_inputs = False
    samples = (shapes(2, 3, 3, 2, **_window((2, 2), (2, 2)), count_include_pad=True, size=(6, 4)),)

    kernel_size: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    ceil_mode: bool
    count_include_pad: bool
    size: Pair

    def infer(self, x: Spec) -> Spec:
        return Spec((*x.shape[:2], *self.size), x.dtype)

    def forward(self, xp, x):
        out = x.shape[2:]
        share = x / self.divisor(xp, self.size, out, x.dtype)
        padded = self.padded(xp, xp.zeros((*x.shape[:2], *self.size), dtype=x.dtype), 0, out)
        for _, place in self.taps(out):
            padded[place] += share
        return self.unpadded(xp, padded, self.size)

    def vjp(self, grad, output, x):
        return (apply(AvgPool2d(*self.arguments(), self.count_include_pad), grad),)


def max_pool2d(
    input: Tensor,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """Returns the largest element of each window.

    Args:
        input: (N, C, H, W) or (C, H, W).
        kernel_size, stride, padding, dilation: one number or (vertical, horizontal); stride defaults to kernel_size.
        ceil_mode: a last window may reach over the end.

    Raises:
        ShapeError: the window is larger than the padded input.
        ArgumentError: the padding is more than half of the window.
    """
    if input.ndim == 3:
        return max_pool2d(input.unsqueeze(0), kernel_size, stride, padding, dilation, ceil_mode).squeeze(0)
    operator = MaxPool2d(*_arguments("max_pool2d", kernel_size, stride, padding), _dims.pair(dilation), ceil_mode)
    return apply(operator, input)


def avg_pool2d(
    input: Tensor,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Returns the mean of each window; arguments as in `max_pool2d`, padding counts unless `count_include_pad=False`."""
    if not input.dtype.is_floating_point:  # means of integers, rounded towards 0
        means = avg_pool2d(input.to(float64), kernel_size, stride, padding, ceil_mode, count_include_pad)
        return means.trunc().to(input.dtype)
    if input.ndim == 3:
        return avg_pool2d(input.unsqueeze(0), kernel_size, stride, padding, ceil_mode, count_include_pad).squeeze(0)
    arguments = _arguments("avg_pool2d", kernel_size, stride, padding)
    return apply(AvgPool2d(*arguments, (1, 1), ceil_mode, count_include_pad), input)


def _arguments(operator: str, kernel_size: Any, stride: Any, padding: Any) -> tuple[Pair, Pair, Pair]:
    kernel = _dims.pair(kernel_size)
    steps = kernel if stride is None else _dims.pair(stride)
    pads = _dims.pair(padding)
    if min(kernel) < 1 or min(steps) < 1:
        raise ArgumentError(f"{operator}: kernel_size {kernel} and stride {steps} must be at least 1")
    if any(2 * p > k or p < 0 for p, k in zip(pads, kernel, strict=True)):
        raise ArgumentError(f"{operator}: padding {pads} must be at most half of kernel_size {kernel}")
    return kernel, steps, pads


@keeps_channels_last
def adaptive_avg_pool2d(input: Tensor, output_size: int | tuple[int | None, int | None] | None) -> Tensor:
    """Returns means over windows chosen so that the output is (N, C, *output_size); None keeps a size."""
    sizes = (output_size, output_size) if output_size is None or isinstance(output_size, int) else tuple(output_size)
    target = tuple(n if s is None else s for s, n in zip(sizes, input.shape[-2:], strict=True))
    if target == (1, 1):
        return input.mean((-2, -1), keepdim=True)
    if all(n % t == 0 for n, t in zip(input.shape[-2:], target, strict=True)):
        kernel = tuple(n // t for n, t in zip(input.shape[-2:], target, strict=True))
        return avg_pool2d(input, kernel)  # type: ignore[arg-type]  # two sizes, as input has two such dimensions
    return _uneven(_uneven(input, -2, target[0]), -1, target[1])


def _uneven(input: Tensor, dim: int, size: int) -> Tensor:
    """Means over `size` windows along a dimension that they do not divide: from floor(i*n/size) to ceil((i+1)*n/size)."""
    n = input.shape[dim]
    parts = []
    for i in range(size):
        start, stop = i * n // size, -((-(i + 1) * n) // size)
        parts.append(input.narrow(dim, start, stop - start).mean(dim, keepdim=True))
    return cat(parts, dim)
