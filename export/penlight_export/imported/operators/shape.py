# SPDX-License-Identifier: Apache-2.0
"""Operators that make tensors, or change their shape and not their content."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx.helper import tensor_dtype_to_np_dtype

import penlight as pl
from penlight.nn import functional as F
from penlight_export.imported.registry import operator
from penlight_export.imported.values import DTYPES, Sizes, as_tensor, numbers, shape_value, sizes_value

Tensor = pl.Tensor


@operator("Shape", raw=True)
def shape_of(x: Any, *, start: int = 0, end: int | None = None) -> Any:
    """Sizes, known without running."""
    shape = x.array.shape if isinstance(x, Sizes) else x.shape
    return shape_value(tuple(shape)[start:end])


@operator("Size", raw=True)
def size_of(x: Any) -> Any:
    """The number of elements."""
    count: Any = 1
    for size in x.array.shape if isinstance(x, Sizes) else x.shape:
        count = count * size
    return sizes_value(count)


@operator("Constant", raw=True)
def constant(
    *,
    value: Any = None,
    value_float: float | None = None,
    value_floats: Any = None,
    value_int: int | None = None,
    value_ints: Any = None,
) -> Any:
    """A constant that was not lifted: those in bodies of functions."""
    for given, dtype in ((value_float, np.float32), (value_floats, np.float32), (value_int, np.int64), (value_ints, np.int64)):
        if given is not None:
            return np.asarray(given, dtype)
    return value


@operator("ConstantOfShape", known=(0,))
def constant_of_shape(shape: Any, *, value: Any = None) -> Tensor:
    """One number everywhere."""
    number = np.zeros(1, np.float32) if value is None else np.asarray(value).reshape(-1)
    return pl.full(tuple(numbers(shape)), number[0].item(), dtype=DTYPES[number.dtype])


@operator("Range", known=(0, 1, 2))
def value_range(start: Any, limit: Any, delta: Any) -> Tensor:
    """From start to limit, which is left out."""
    dtype = next((DTYPES[each.dtype] for each in (start, limit, delta) if each.dtype in DTYPES), pl.int64)
    return pl.arange(numbers(start)[0], numbers(limit)[0], numbers(delta)[0], dtype=dtype)


@operator("EyeLike")
def eye_like(x: Tensor, *, dtype: int | None = None, k: int = 0) -> Tensor:
    """Ones on a diagonal."""
    rows, columns = x.shape
    kind = x.dtype if dtype is None else DTYPES[np.dtype(tensor_dtype_to_np_dtype(dtype))]
    return (pl.arange(rows).reshape(-1, 1) + k == pl.arange(columns)).to(kind)


@operator("Reshape", known=(1,))
def reshape(x: Tensor, shape: Any, *, allowzero: int = 0) -> Tensor:
    """0 keeps a size, unless allowzero."""
    sizes = numbers(shape)
    if not allowzero:
        sizes = [x.shape[place] if isinstance(size, int) and size == 0 else size for place, size in enumerate(sizes)]
    return x.reshape(tuple(sizes))


@operator("Flatten")
def flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    """To two dimensions."""
    axis = axis + x.ndim if axis < 0 else axis
    rows: Any = 1
    columns: Any = 1
    for size in x.shape[:axis]:
        rows = rows * size
    for size in x.shape[axis:]:
        columns = columns * size
    return x.reshape(rows, columns)


@operator("Squeeze", known=(1,))
def squeeze(x: Tensor, axes: Any = None) -> Tensor:
    """Without dimensions of one element."""
    places = [axis for axis in range(x.ndim) if x.shape[axis] == 1] if axes is None else numbers(axes)
    gone = {axis % x.ndim for axis in places}
    wrong = [axis for axis in gone if x.shape[axis] != 1]
    if wrong:
        raise ValueError(f"dimension {wrong[0]} of shape {tuple(x.shape)} has not one element")
    return x.squeeze(tuple(sorted(gone))) if gone else x


@operator("Unsqueeze", known=(1,))
def unsqueeze(x: Tensor, axes: Any) -> Tensor:
    """With new dimensions, counted in the result."""
    rank = x.ndim + len(numbers(axes))
    for axis in sorted(axis % rank for axis in numbers(axes)):
        x = x.unsqueeze(axis)
    return x


@operator("Transpose")
def transpose(x: Tensor, *, perm: Any = None) -> Tensor:
    """Dimensions in another order, reversed by default."""
    return x.permute(tuple(range(x.ndim))[::-1] if perm is None else tuple(perm))


@operator("Expand", known=(1,))
def expand(x: Tensor, shape: Any) -> Tensor:
    """Broadcasts both ways."""
    sizes = numbers(shape)
    own = [1] * (len(sizes) - x.ndim) + list(x.shape)
    sizes = [1] * (x.ndim - len(sizes)) + sizes
    return pl.broadcast_to(x, tuple(mine if size == 1 else size for mine, size in zip(own, sizes, strict=True)))


@operator("Tile", known=(1,))
def tile(x: Tensor, repeats: Any) -> Tensor:
    """Copies side by side."""
    return x.repeat(*numbers(repeats)) if x.ndim else x


@operator("Concat", raw=True)
def concat(*inputs: Any, axis: int) -> Any:
    """One behind the other."""
    if all(isinstance(value, np.ndarray) for value in inputs):
        return np.concatenate(inputs, axis)
    return pl.cat([as_tensor(value) for value in inputs], axis)


@operator("Split", known=(1,))
def split(x: Tensor, sizes: Any = None, *, axis: int = 0, num_outputs: int | None = None, node: Any = None) -> tuple[Tensor, ...]:
    """Into parts of given sizes, or into equal ones of which the last may be smaller."""
    if sizes is not None:
        return tuple(pl.split(x, numbers(sizes), axis))
    count, size = num_outputs or node.count, x.shape[axis]
    step = (size + count - 1) // count
    return tuple(x.narrow(axis, k * step, step if k < count - 1 else size - k * step) for k in range(count))


@operator("Slice", known=(1, 2, 3, 4))
def slice_of(x: Tensor, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Tensor:
    """As Python slices, of both directions."""
    bounds = list(zip(numbers(starts), numbers(ends), strict=True))
    places = range(len(bounds)) if axes is None else [axis % x.ndim for axis in numbers(axes)]
    strides = [1] * len(bounds) if steps is None else numbers(steps)
    cuts: list[Any] = [slice(None)] * x.ndim
    backward = []
    for (start, end), axis, step in zip(bounds, places, strides, strict=True):
        if step < 0:
            start, end, step = _mirrored(start, end, step, x.shape[axis])
            backward.append(axis)
        cuts[axis] = slice(start, None if isinstance(end, int) and end >= 2**31 - 1 else end, step)
    return (pl.flip(x, dims=backward) if backward else x)[tuple(cuts)]


def _mirrored(start: Any, end: Any, step: int, size: int) -> tuple[Any, Any, int]:
    """The bounds of a slice that goes back, in the tensor turned around."""
    first, last, _ = slice(start, end, step).indices(int(size))
    return size - 1 - first, size - 1 - last, -step


@operator("Pad", known=(1, 3))
def pad(x: Tensor, pads: Any, value: Tensor | None = None, axes: Any = None, *, mode: str = "constant") -> Tensor:
    """Around the edges: a number, or the content mirrored, repeated or going round; negative pads crop."""
    amounts = numbers(pads)
    places = list(range(x.ndim)) if axes is None else [axis % x.ndim for axis in numbers(axes)]
    around = list(zip(places, amounts[: len(places)], amounts[len(places) :], strict=True))
    if mode == "constant":
        by_axis = {axis: (before, after) for axis, before, after in around}
        amounts = [amount for axis in reversed(range(x.ndim)) for amount in by_axis.get(axis, (0, 0))]
        return F.pad(x, amounts, value=0 if value is None else value.item())
    for axis, before, after in around:
        if before or after:
            x = _pad_axis(x, axis, before, after, mode)
    return x


def _pad_axis(x: Tensor, axis: int, before: int, after: int, mode: str) -> Tensor:
    size = x.shape[axis]
    places = pl.arange(-before, size + after)
    if mode == "edge":
        places = pl.clamp(places, 0, size - 1)
    elif mode == "wrap":
        places = pl.remainder(places, size)
    elif size == 1:
        places = places * 0
    else:
        turn = 2 * (size - 1)
        places = pl.remainder(places, turn)
        places = pl.minimum(places, turn - places)
    return pl.index_select(x, axis, places)


@operator("Trilu", known=(1,))
def trilu(x: Tensor, k: Any = None, *, upper: int = 1) -> Tensor:
    """The triangle above or below a diagonal."""
    diagonal = 0 if k is None else numbers(k)[0]
    rows, columns = x.shape[-2], x.shape[-1]
    distance = pl.arange(columns) - pl.arange(rows).reshape(-1, 1)
    if x.dtype is pl.bool or not x.dtype.is_floating_point:
        return pl.where(distance >= diagonal if upper else distance <= diagonal, x, pl.zeros_like(x))
    return pl.triu(x, diagonal) if upper else pl.tril(x, diagonal)
