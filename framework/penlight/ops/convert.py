# SPDX-License-Identifier: Apache-2.0
"""Copies and conversions between dtypes and devices."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from penlight.backends.backend import get_backend
from penlight.device import device as Device
from penlight.dtype import as_dtype, bool_, float32, float64, int32
from penlight.dtype import dtype as DType
from penlight.errors import ShapeError
from penlight.layout import (
    RANKS,
    channels_last,
    contiguous_format,
    is_in_format,
    memory_format,
    preserve_format,
)
from penlight.ops.dispatch import apply
from penlight.ops.operator import NotSampled, Operator, Spec
from penlight.ops.registry import register
from penlight.ops.samples import index, of, sample, shapes
from penlight.tape import mode
from penlight.tensor import Tensor

_F = TypeVar("_F", bound=Callable[..., Any])


@register
class Cast(Operator):
    """The values in another dtype; floating point to integer truncates"""

    name = "cast"
    saves_inputs = False
    samples = (
        shapes(3, 4, dtype=float32),
        shapes(0, dtype=float64),
        sample(of(5, low=-9, high=9), dtype=int32),
        sample(index(4, high=3), dtype=float32),
        sample(index(4, high=2), dtype=bool_),
    )

    dtype: DType

    def infer(self, x: Spec) -> Spec:
        return Spec(x.shape, self.dtype)

    def forward(self, xp, x):
        return x.astype(self.dtype.numpy)

    def vjp(self, grad, output, x):
        return (grad.to(x.dtype),)


@register
class Clone(Operator):
    """A copy without gaps, its dimensions in the same order in memory; in row-major order where the input repeats"""

    name = "clone"
    complex_gradient = True
    onnx = "Identity"
    saves_inputs = False
    samples = (shapes(3, 4), shapes(0), sample(of(5, 3, strided=True)))

    def infer(self, x: Spec) -> Spec:
        return x

    def forward(self, xp, x):
        return x.copy(order="C" if 0 in x.strides else "K")

    def vjp(self, grad, output, x):
        return (grad,)


@register
class ToDevice(Operator):
    """A copy on another device"""

    name = "to_device"
    onnx = "Identity"
    saves_inputs = False
    samples = NotSampled("needs a second device; tested in tests/gpu")

    device: Device
    source: Device
    non_blocking: bool = False

    def infer(self, x: Spec) -> Spec:
        return x

    def forward(self, xp, x):
        # A GPU is at one end at least, and its backend knows both ways.
        backend = get_backend(self.device if self.source.type == "cpu" else self.source)
        return backend.asarray(x, self.device, is_ahead=self.non_blocking)

    def vjp(self, grad, output, x):
        return (apply(ToDevice(self.source, self.device), grad),)


@register
class Contiguous(Operator):
    """The same values in row-major order without gaps: x itself where it already is"""

    name = "contiguous"
    complex_gradient = True
    onnx = "Identity"
    saves_inputs = False
    is_view, may_copy = True, True
    samples = (shapes(3, 4), sample(of(5, 3, strided=True)), shapes(0))

    def infer(self, x: Spec) -> Spec:
        return x

    def forward(self, xp, x):
        return xp.ascontiguousarray(x).reshape(x.shape)

    def vjp(self, grad, output, x):
        return (grad,)


@register
class ChannelsLast(Operator):
    """The same values, dimension 1 stored innermost"""

    name = "channels_last"
    onnx = "Identity"
    saves_inputs = False
    samples = (shapes(2, 3, 4, 5), shapes(0, 3, 2, 2))

    def infer(self, x: Spec) -> Spec:
        return x

    def forward(self, xp, x):
        return xp.moveaxis(xp.ascontiguousarray(xp.moveaxis(x, 1, -1)), -1, 1)

    def vjp(self, grad, output, x):
        return (grad,)


def to(
    input: Tensor,
    *args: Any,
    dtype: Any = None,
    device: Any = None,
    non_blocking: bool = False,
    copy: bool = False,
    memory_format: memory_format | None = None,
) -> Tensor:
    """Returns the tensor in another dtype or on another device; itself if nothing changes and `copy` is False.

    `to(dtype)`, `to(device)`, `to(device, dtype)` or `to(other_tensor)`; further positions are `non_blocking` and `copy`.
    With `non_blocking` a copy from pinned memory to a device runs while the host goes on; all other copies wait.
    """
    non_blocking = non_blocking or [a for a in args if isinstance(a, bool)][:1] == [True]
    copy = copy or [a for a in args if isinstance(a, bool)][1:2] == [True]
    for argument in args:
        if isinstance(argument, Tensor):
            dtype, device = argument.dtype, argument.device
        elif isinstance(argument, Device) or (isinstance(argument, str) and argument.partition(":")[0] in ("cpu", "cuda")):
            device = argument
        elif argument is not None and not isinstance(argument, bool):
            dtype = argument
    result = input
    if dtype is not None:
        kind = dtype if type(dtype) is DType else as_dtype(dtype)
        if kind is not result.dtype:
            result = apply(Cast(kind), result)
    if device is not None and Device(device) != result.device:
        result = apply(ToDevice(Device(device), result.device, bool(non_blocking)), result)
    result = clone(input) if copy and result is input else result
    return result if memory_format is None else arranged(result, memory_format)


def arranged(input: Tensor, format: memory_format) -> Tensor:
    """The tensor in the wanted order in memory; itself if it lies so already.

    Raises:
        ShapeError: channels_last of other than 4 dimensions, channels_last_3d of other than 5.
    """
    if format is preserve_format or is_in_format(input._data, format):
        return input
    if format is contiguous_format:
        return apply(Contiguous(), input)
    if input.ndim != RANKS[format]:
        raise ShapeError(f"{format.name}: expected {RANKS[format]} dimensions, came shape {tuple(map(int, input.shape))}")
    return apply(ChannelsLast(), input)


def keeps_channels_last(function: _F) -> _F:
    """Gives the results the order of the first argument in memory, where that is channels_last."""

    @functools.wraps(function)
    def call(input: Tensor, *args: Any, **kwargs: Any) -> Any:
        result = function(input, *args, **kwargs)
        data = input._data
        if data.ndim != 4 or data.flags.c_contiguous or mode.tracer is not None or not is_in_format(data, channels_last):
            return result
        return tuple(map(_channels_last, result)) if isinstance(result, tuple) else _channels_last(result)

    return call  # type: ignore[return-value]  # it takes and gives what `function` does


def _channels_last(result: Tensor) -> Tensor:
    return result if is_in_format(result._data, channels_last) else apply(ChannelsLast(), result)


def clone(input: Tensor, *, memory_format: memory_format | None = None) -> Tensor:
    """Returns a copy, which the gradient passes through."""
    result = apply(Clone(), input)
    return result if memory_format is None else arranged(result, memory_format)


def contiguous(input: Tensor, memory_format: memory_format = contiguous_format) -> Tensor:
    """Returns the tensor in row-major order; itself if it already is."""
    if memory_format is not contiguous_format:
        return arranged(input, memory_format)
    return input if input._data.flags.c_contiguous else apply(Contiguous(), input)


def cpu(input: Tensor) -> Tensor:
    """Returns the tensor in host memory."""
    return to(input, device="cpu")


def cuda(input: Tensor, device: Any = "cuda:0") -> Tensor:
    """Returns the tensor on a CUDA device."""
    return to(input, device=f"cuda:{device}" if isinstance(device, int) else device)
