# SPDX-License-Identifier: Apache-2.0
"""Views of memory by explicit sizes and strides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from penlight.errors import ArgumentError
from penlight.ops.dispatch import apply
from penlight.ops.operator import Operator, Shape, Spec
from penlight.ops.registry import register
from penlight.ops.samples import shapes
from penlight.ops.scatter import index_add
from penlight.tensor import Tensor, from_numpy


@register
class AsStrided(Operator):
    """The elements at start + sum(index * stride), counted from the first element of the input in its memory: a view"""

    name = "as_strided"
    saves_inputs = False  # what is written into the view must not make its own gradient impossible
    is_view = True
    samples = (shapes(3, 4, size=(2, 2), stride=(4, 1), start=1), shapes(7, size=(3, 3), stride=(2, 1), start=0))

    size: Shape
    stride: Shape
    start: int
    held: Shape | None = None  # strides of the input in elements; None for row-major order

    def infer(self, x: Spec) -> Spec:
        return Spec(self.size, x.dtype)

    def forward(self, xp, x):
        memory, first = _memory(x)
        places = _span(self.size, self.stride, first + self.start)
        if places[0] < 0 or places[1] >= memory.size:
            raise ArgumentError(
                f"as_strided: size {self.size}, stride {self.stride} leave the {memory.size} elements of the memory"
            )
        steps = tuple(s * x.itemsize for s in self.stride)
        return np.ndarray(self.size, x.dtype, memory, max(first + self.start, 0) * x.itemsize if x.size else 0, steps)

    def vjp(self, grad, output, x):
        shape = tuple(x.shape)
        read, held = _places(self.size, self.stride, self.start), _places(shape, self.held or _row_major(shape), 0)
        low = min(read.min(initial=0), held.min(initial=0))
        span = int(max(read.max(initial=0), held.max(initial=0)) - low) + 1
        blank = from_numpy(np.zeros(span, grad.dtype.numpy))
        total = index_add(blank, 0, from_numpy((read - low).reshape(-1)), grad.reshape(-1))
        result = total[from_numpy(held - low)]
        shared = np.bincount((held - low).reshape(-1), minlength=span)[held - low]
        # Where several elements of the input are one number in memory, each gets its part, as in PyTorch.
        return (result if (shared <= 1).all() else result / from_numpy(shared.astype(grad.dtype.numpy)),)


def _memory(x: Any) -> tuple[Any, int]:
    """The flat memory that a view looks into, and where in it the view begins."""
    whole, owner = x, x
    while owner is not None:
        if isinstance(owner, np.ndarray) and owner.dtype == x.dtype and (owner.flags.c_contiguous or owner.flags.f_contiguous):
            whole = owner
        owner = getattr(owner, "base", None)
    if not (whole.flags.c_contiguous or whole.flags.f_contiguous):
        raise ArgumentError("as_strided: the memory of the tensor has gaps; call .contiguous() first")
    flat = whole.reshape(-1) if whole.flags.c_contiguous else whole.T.reshape(-1)
    return flat, (x.ctypes.data - flat.ctypes.data) // x.itemsize


def _row_major(shape: Shape) -> Shape:
    return tuple(math.prod(shape[d + 1 :]) for d in range(len(shape)))


def _span(size: Shape, stride: Shape, start: int) -> tuple[int, int]:
    """The first and the last place that is read; none for no elements."""
    if 0 in size:
        return 0, -1
    ends = [(n - 1) * s for n, s in zip(size, stride, strict=True)]
    return start + sum(min(e, 0) for e in ends), start + sum(max(e, 0) for e in ends)


def as_strided(input: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None) -> Tensor:
    """Returns a view of the elements at storage_offset + sum(index * stride) in the memory of the input.

    Args:
        size, stride: of the result, the stride in elements.
        storage_offset: counted from the beginning of the memory; where the input begins by default.

    Raises:
        ArgumentError: the view would leave the memory, or there are not as many strides as sizes.
    """
    size, stride = tuple(size), tuple(stride)
    if len(size) != len(stride) or any(n < 0 for n in size):
        raise ArgumentError(f"as_strided: expected as many strides as sizes, came size {size} and stride {stride}")
    if input._traced is not None or not isinstance(input._data, np.ndarray):
        return input.reshape(-1)[from_numpy(_places(size, stride, storage_offset or 0))]
    start = 0 if storage_offset is None else storage_offset - _memory(input._data)[1]
    held = None if input.is_contiguous() else input.stride()
    return apply(AsStrided(size, stride, start, held), input)


def as_strided_scatter(
    input: Tensor, src: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
) -> Tensor:
    """Returns a copy of `input` with `src` where `as_strided` would read."""
    result = input.reshape(-1).clone()
    result[from_numpy(_places(size, stride, storage_offset or 0))] = src
    return result.reshape(tuple(input.shape))


def _places(size: Sequence[int], stride: Sequence[int], offset: int) -> np.ndarray:
    places = np.full(tuple(size), offset, dtype=np.int64)
    for d, (count, step) in enumerate(zip(size, stride, strict=True)):
        places += (np.arange(count) * step).reshape((-1,) + (1,) * (len(size) - 1 - d))
    return places
