# SPDX-License-Identifier: Apache-2.0
"""New tensors from sizes and numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from penlight.backends.backend import get_backend
from penlight.device import device as Device
from penlight.dtype import as_dtype, default_dtype, float32, int64, scalar_type
from penlight.dtype import dtype as DType
from penlight.errors import ArgumentError
from penlight.layout import RANKS, contiguous_format, copy_in_order, dims_in_memory, memory_format, preserve_format
from penlight.ops.dims import shape_arguments
from penlight.ops.dispatch import apply
from penlight.ops.operator import NotDifferentiable, Operator, Shape, Spec
from penlight.ops.registry import register
from penlight.ops.samples import sample
from penlight.tape import mode
from penlight.tensor import Tensor, from_array

_SOURCE = NotDifferentiable("there is no input")


@register
class Full(Operator):
    """`value` everywhere; recorded in a trace where a size is dynamic"""

    name = "full"
    gradient = _SOURCE
    samples = (sample(shape=(2, 3), value=1.5, dtype=float32), sample(shape=(0,), value=1, dtype=int64))

    shape: Shape
    value: Any
    dtype: DType

    def infer(self) -> Spec:
        return Spec(self.shape, self.dtype)

    def forward(self, xp):
        return xp.full(self.shape, self.value, dtype=self.dtype.numpy)


@register
class Arange(Operator):
    """start, start + step, ... below `end`; recorded in a trace where a bound is dynamic"""

    name = "arange"
    gradient = _SOURCE
    samples = (
        sample(start=0, end=5, step=1, dtype=int64),
        sample(start=1.0, end=2.0, step=0.25, dtype=float32),
        sample(start=3, end=3, step=1, dtype=int64),
    )

    start: Any
    end: Any
    step: Any
    dtype: DType

    def infer(self) -> Spec:
        if self.start == 0 and self.step == 1 and isinstance(self.end, int):
            return Spec((self.end,), self.dtype)
        if isinstance(self.step, int) and isinstance(self.end - self.start, int):
            return Spec(((self.end - self.start + self.step - (1 if self.step > 0 else -1)) // self.step,), self.dtype)
        return Spec((len(np.arange(self.start, self.end, self.step)),), self.dtype)

    def forward(self, xp):
        return xp.arange(self.start, self.end, self.step, dtype=self.dtype.numpy)


@register
class SymbolicScalar(Operator):
    """The 0-dim value of a size that is dynamic under a trace"""

    name = "symbolic_scalar"
    gradient = _SOURCE
    samples = (sample(value=3, dtype=float32),)

    value: Any
    dtype: DType

    def infer(self) -> Spec:
        return Spec((), self.dtype)

    def forward(self, xp):
        return xp.asarray(int(self.value), dtype=self.dtype.numpy)


def device_as_given(array: Any, device: Any, requires_grad: bool = False) -> Tensor:
    """A new tensor of a NumPy array on the device that the user named."""
    if device is not None and str(device) != "cpu":
        array = get_backend(Device(device)).asarray(array, Device(device))
    result = from_array(array)
    return result.requires_grad_() if requires_grad else result


def _make(operator: Operator, device: Any, requires_grad: bool) -> Tensor:
    if mode.tracer is not None:
        return apply(operator)
    if device is not None and str(device) != "cpu" and not (isinstance(operator, Arange) and operator.dtype.kind > 1):
        # Made there: a copy from the host would wait, and could not be captured. Floats are counted as the CPU counts them.
        result = from_array(get_backend(Device(device)).made(operator.forward, Device(device)))
        return result.requires_grad_() if requires_grad else result
    return device_as_given(np.asarray(operator.forward(np)), device, requires_grad)


def full(size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Returns a tensor of `size` filled with a number; the dtype is the number's unless given."""
    kind = scalar_type(fill_value) if dtype is None else as_dtype(dtype)
    shape = tuple(size) if isinstance(size, (tuple, list)) else (size,)
    return _make(Full(shape, fill_value, kind), device, requires_grad)


def zeros(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Returns a tensor of `size` filled with 0."""
    return _make(Full(shape_arguments(size), 0, as_dtype(dtype or default_dtype)), device, requires_grad)


def ones(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Returns a tensor of `size` filled with 1."""
    return _make(Full(shape_arguments(size), 1, as_dtype(dtype or default_dtype)), device, requires_grad)


def empty(
    *size: Any,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    memory_format: memory_format = contiguous_format,
) -> Tensor:
    """Returns a tensor of `size` with undefined content."""
    kind = as_dtype(dtype or default_dtype)
    return in_format(device_as_given(np.empty(shape_arguments(size), kind.numpy), device, requires_grad), memory_format)


def arange(
    start: Any, end: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Returns start, start + step, ... below `end`; `arange(end)` starts at 0; int64 for integers.

    Raises:
        ArgumentError: the step is 0, or leads away from `end`.
    """
    if end is None:
        start, end = 0, start
    if step == 0:
        raise ArgumentError("arange: the step must not be 0")
    if (end - start) * step < 0:
        raise ArgumentError(f"arange: the step {step} does not lead from {start} to {end}")
    is_whole = all(isinstance(v, int) for v in (start, end, step))
    kind = as_dtype(dtype) if dtype is not None else int64 if is_whole else default_dtype
    if kind.kind == 1 and not is_whole and int(step):
        start, end, step = int(start), int(end), int(step)  # towards 0 before anything is counted, as in PyTorch
    return _make(Arange(start, end, step, kind), device, requires_grad)


def linspace(start: float, end: float, steps: int, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Returns `steps` values from `start` to `end`, both included."""
    kind = as_dtype(dtype or default_dtype)
    start, end = (float(v) for v in (start, end))
    values = np.linspace(start, end, steps) if kind.kind >= 2 else _whole_line(int(start), int(end), steps)
    return device_as_given(values.astype(kind.numpy), device, requires_grad)


def _whole_line(start: int, end: int, steps: int) -> np.ndarray:
    """Integers between two, each rounded towards 0: the first half counted from the start, the other from the end."""
    step, place = (end - start) / max(steps - 1, 1), np.arange(steps)
    return np.where(place < max(steps // 2, 1), np.trunc(start + step * place), np.trunc(end - step * (steps - 1 - place)))


def eye(n: int, m: int | None = None, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Returns an (n, m) matrix with 1 on the diagonal; m is n by default."""
    kind = as_dtype(dtype or default_dtype)
    return device_as_given(np.eye(n, m, dtype=kind.numpy), device, requires_grad)


def in_format(new: Tensor, format: memory_format, input: Tensor | None = None) -> Tensor:
    """A tensor that nobody else has seen, its memory in the order of `format`, or of `input` for preserve_format."""
    if mode.tracer is not None:
        return new
    dims = None
    if format in RANKS:
        dims = (0, *range(2, new.ndim), 1)
    elif format is preserve_format and input is not None and not input._data.flags.c_contiguous:
        dims = dims_in_memory(input._data)
    if dims is not None:
        new._data = copy_in_order(new._data, dims)
    return new


def zeros_like(input: Tensor, **options: Any) -> Tensor:
    """Returns zeros in the shape, dtype and device of `input`; the options are those of `full_like`."""
    return full_like(input, 0, **options)


def ones_like(input: Tensor, **options: Any) -> Tensor:
    """Returns ones in the shape, dtype and device of `input`; the options are those of `full_like`."""
    return full_like(input, 1, **options)


def full_like(
    input: Tensor,
    fill_value: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    memory_format: memory_format = preserve_format,
) -> Tensor:
    """Returns a number everywhere, in the shape, dtype and device of `input` unless others are given."""
    kind = input.dtype if dtype is None else as_dtype(dtype)
    result = _make(Full(tuple(input.shape), fill_value, kind), input.device if device is None else device, requires_grad)
    return in_format(result, memory_format, input)


def empty_like(input: Tensor, **options: Any) -> Tensor:
    """Returns undefined content (zeros here) in the shape, dtype and device of `input`, with the options of `full_like`."""
    return full_like(input, 0, **options)
