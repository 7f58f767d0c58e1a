# SPDX-License-Identifier: Apache-2.0
"""Reading and writing by `x[key]`: slices, integer and bool arrays."""

from __future__ import annotations

import operator as _operator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from penlight.backends.backend import visiting
from penlight.dtype import bool_, int64
from penlight.errors import ArgumentError, DTypeError, IndexShapeError
from penlight.ops.broadcast import broadcast_shapes, operand
from penlight.ops.dispatch import apply, write
from penlight.ops.gather import Take
from penlight.ops.operator import Operator, Shape, Spec
from penlight.ops.registry import register
from penlight.ops.samples import index, of, sample, shapes
from penlight.tape import mode
from penlight.tensor import Tensor, from_array


@dataclass(frozen=True)
class Range:
    """A slice whose bounds are resolved: elements start, start + step, ..., `length` of them."""

    start: int
    length: int
    step: int = 1

    def slice(self) -> slice:
        """The NumPy slice."""
        stop = self.start + self.step * self.length
        return slice(self.start, None if stop < 0 else stop, self.step)


Item = int | Range | None  # None is a new dimension of size 1


def _numpy_items(items: tuple[Item, ...]) -> tuple[Any, ...]:
    parts = (item.slice() if isinstance(item, Range) else item for item in items)
    return (*parts, ...)  # the Ellipsis makes NumPy return a 0-dim view, not a scalar, where all items are integers


def _sliced_shape(items: tuple[Item, ...]) -> Shape:
    return tuple(1 if item is None else item.length for item in items if not isinstance(item, int))


_SLICES = (
    shapes(5, 4, items=(Range(1, 3), Range(0, 4))),
    shapes(5, 4, items=(2, Range(0, 4))),
    shapes(5, 4, items=(None, Range(0, 2, 2), 1)),
    shapes(5, 4, items=(Range(4, 5, -1), Range(0, 4))),
    shapes(0, 4, items=(Range(0, 0), Range(1, 2))),
    sample(of(5, 3, strided=True), items=(Range(1, 2), 0)),
)


@register
class Slice(Operator):
    """x[items] with integers, ranges and new dimensions: a view"""

    name = "slice"
    complex_gradient = True
    saves_inputs = False
    is_view = True
    samples = _SLICES

    items: tuple[Item, ...]

    def infer(self, x: Spec) -> Spec:
        return Spec(_sliced_shape(self.items), x.dtype)

    def forward(self, xp, x):
        return x[_numpy_items(self.items)]

    def vjp(self, grad, output, x):
        return (apply(SliceScatter(self.items, tuple(x.shape)), grad),)

    def backward(self, xp, needs, grad, output, x):
        return (SliceScatter(self.items, x.shape).forward(xp, grad),)


@register
class SliceScatter(Operator):
    """Zeros of `shape` with x at the place `items`"""

    name = "slice_scatter"
    complex_gradient = True
    saves_inputs = False
    samples = tuple(shapes(*_sliced_shape(s.fields["items"]), shape=s.inputs[0].shape, **s.fields) for s in _SLICES if s.inputs[0])

    items: tuple[Item, ...]
    shape: Shape

    def infer(self, x: Spec) -> Spec:
        return Spec(self.shape, x.dtype)

    def forward(self, xp, x):
        result = xp.zeros(self.shape, dtype=x.dtype)
        result[_numpy_items(self.items)] = x
        return result

    def vjp(self, grad, output, x):
        return (apply(Slice(self.items), grad),)


@register
class SliceWrite(Operator):
    """A copy of x with `value` at the place `items`: x[items] = value under a trace"""

    name = "slice_write"
    saves_inputs = False
    samples = (
        sample(of(5, 4), of(3, 4), items=(Range(1, 3), Range(0, 4))),
        sample(of(5, 4), of(4), items=(2, Range(0, 4))),
        sample(of(0, 4), of(0, 2), items=(Range(0, 0), Range(1, 2))),
    )

    items: tuple[Item, ...]

    def infer(self, x: Spec, value: Spec) -> Spec:
        broadcast_shapes("slice_write", _sliced_shape(self.items), value.shape)
        return x

    def forward(self, xp, x, value):
        result = x.copy()
        result[_numpy_items(self.items)] = value
        return result

    def vjp(self, grad, output, x, value):
        region = apply(Slice(self.items), grad)
        return apply(self, grad, region * 0.0), region.sum_to(value.shape)


@register
class AdvancedIndex(Operator):
    """x[i, j, ...] with integer arrays for the dimensions `dims`, which broadcast together, as in NumPy"""

    name = "advanced_index"
    saves_inputs = (False, True)
    samples = (
        sample(of(5, 4), index(3, high=5), index(3, high=4), dims=(0, 1)),
        sample(of(5, 4, 3), index(2, 1, high=4), index(3, high=3), dims=(1, 2)),
        sample(of(5, 4, 3), index(2, high=5), index(2, high=3), dims=(0, 2)),
        sample(of(5, 4), index(0, high=5), index(0, high=4), dims=(0, 1)),
    )

    dims: tuple[int, ...]

    def infer(self, x: Spec, *indices: Spec) -> Spec:
        common = broadcast_shapes("index", *(i.shape for i in indices))
        rest = [size for d, size in enumerate(x.shape) if d not in self.dims]
        adjacent = self.dims == tuple(range(self.dims[0], self.dims[-1] + 1))
        place = self.dims[0] if adjacent else 0  # separated index arrays put their dimensions first
        return Spec((*rest[:place], *common, *rest[place:]), x.dtype)

    def key(self, arrays: Any) -> tuple[Any, ...]:
        found = dict(zip(self.dims, arrays, strict=True))
        return tuple(found.get(d, slice(None)) for d in range(self.dims[-1] + 1))

    def forward(self, xp, x, *indices):
        return x[self.key(indices)]

    def vjp(self, grad, output, x, *indices):
        return (apply(AdvancedIndexAdd(self.dims, tuple(x.shape)), grad, *indices), *(None for _ in indices))


@register
class AdvancedIndexAdd(Operator):
    """Zeros of `shape` with x added at the integer arrays: the gradient of AdvancedIndex"""

    name = "advanced_index_add"
    saves_inputs = (False, True)
    samples = (sample(of(3), index(3, high=5), index(3, high=4), dims=(0, 1), shape=(5, 4)),)

    dims: tuple[int, ...]
    shape: Shape

    def infer(self, x: Spec, *indices: Spec) -> Spec:
        return Spec(self.shape, x.dtype)

    def forward(self, xp, x, *indices):
        result = xp.zeros(self.shape, dtype=x.dtype)
        xp.add.at(result, AdvancedIndex(self.dims).key(indices), x)
        return result

    def vjp(self, grad, output, x, *indices):
        return (apply(AdvancedIndex(self.dims), grad, *indices), *(None for _ in indices))


@register
class AdvancedIndexPut(Operator):
    """A copy of x with `value` at (or added at, if `accumulate`) the integer arrays for `dims`"""

    name = "advanced_index_put"
    saves_inputs = (False, False, True)
    samples = (
        sample(of(5, 4), of(1), of(1, dtype="int64", low=1, high=2), index(1, high=4), dims=(0, 1)),
        sample(of(5, 4), of(3, 4), index(3, high=5), dims=(0,), accumulate=True),
    )

    dims: tuple[int, ...]
    accumulate: bool = False

    def infer(self, x: Spec, value: Spec, *indices: Spec) -> Spec:
        target = AdvancedIndex(self.dims).infer(x, *indices)
        broadcast_shapes("index_put", target.shape, value.shape)
        return x

    def forward(self, xp, x, value, *indices):
        result = x.copy()
        key = AdvancedIndex(self.dims).key(indices)
        if self.accumulate:
            xp.add.at(result, key, value)
        else:
            result[key] = value
        return result

    def vjp(self, grad, output, x, value, *indices):
        region = apply(AdvancedIndex(self.dims), grad, *indices)
        gx = grad if self.accumulate else apply(AdvancedIndexPut(self.dims), grad, region * 0.0, *indices)
        return (gx, region.sum_to(value.shape), *(None for _ in indices))


def getitem(input: Tensor, key: Any) -> Tensor:
    """Returns `input[key]`: a view for integers, slices, None and Ellipsis; a copy for integer or bool arrays."""
    plain = _plain_key(key) if input._traced is None else None
    if plain is not None:
        return apply(_slice_operator(plain, input._data.shape), input)
    if _is_scalar_mask(key):
        return getitem(getitem(input, None), from_array(key._data.reshape(1)))
    shape = input.shape
    items, arrays = _parse(shape, key)
    if not arrays:
        return apply(Slice(items), input)
    result = input if _is_whole(items, shape) else apply(Slice(items), input)
    dims = tuple(sorted(arrays))
    if len(dims) == 1:
        return apply(Take(dims[0]), result, arrays[dims[0]])
    return apply(AdvancedIndex(dims), result, *(arrays[d] for d in dims))


def _is_scalar_mask(key: Any) -> bool:
    """A 0-dim bool tensor takes all or nothing, as one element of a new first dimension."""
    return isinstance(key, Tensor) and key._data.ndim == 0 and key.dtype is bool_ and key._traced is None


def setitem(input: Tensor, key: Any, value: Any) -> None:
    """Writes `value`, broadcast, into the elements that `key` selects."""
    value = operand(value).to(input.dtype)
    if _is_scalar_mask(key):
        setitem(getitem(input, None), from_array(key._data.reshape(1)), value)
        return
    items, arrays = _parse(input.shape, key)
    if not arrays and mode.tracer is None:
        apply(Slice(items), input).copy_(value)
    elif not arrays:
        write(input, apply(SliceWrite(items), input, value), "setitem")
    elif not _is_whole(items, input.shape):
        target = apply(Slice(items), input)  # a view: the write below reaches the input
        setitem(target, tuple(arrays.get(d, slice(None)) for d in range(target.ndim)), value)
    else:
        dims = tuple(sorted(arrays))
        write(input, apply(AdvancedIndexPut(dims), input, value, *(arrays[d] for d in dims)), "setitem")


def _is_whole(items: tuple[Item, ...], shape: Shape) -> bool:
    """Whether basic items select everything as it is."""
    return len(items) == len(shape) and all(item == Range(0, n) for item, n in zip(items, shape, strict=True))


def _plain_key(key: Any) -> tuple[Any, ...] | None:
    """A key of integers, slices, None and Ellipsis in a form that can be looked up; None for any other key."""
    parts: list[Any] = []
    for k in key if type(key) is tuple else (key,):
        if type(k) is slice:
            parts.append((k.start, k.stop, k.step))
            if not all(bound is None or type(bound) is int for bound in parts[-1]):
                return None
        elif type(k) is int or k is None or k is Ellipsis:
            parts.append(k)
        else:
            return None
    return tuple(parts)


@lru_cache(maxsize=4096)
def _slice_operator(plain: tuple[Any, ...], shape: Shape) -> Slice:
    """The operator of a plain key; resolving one costs more than the rest of the call."""
    key = tuple(slice(*k) if type(k) is tuple else k for k in plain)
    return Slice(_parse(shape, key)[0])


def _parse(shape: Shape, key: Any) -> tuple[tuple[Item, ...], dict[int, Tensor]]:
    """Splits a key into basic items and the index arrays, by dimension of the result of the basic part."""
    keys = _expand_ellipsis(shape, key if isinstance(key, tuple) else (key,))
    items: list[Item] = []
    arrays: dict[int, Tensor] = {}
    source, place = 0, 0
    for k in keys:
        if k is None:
            items.append(None)
            place += 1
        elif isinstance(k, slice):
            items.append(_range(k, shape[source]))
            source, place = source + 1, place + 1
        elif isinstance(k, (list, np.ndarray, Tensor)) and not _is_scalar(k):
            for t in _index_arrays(k, shape, source):
                arrays[place] = t
                items.append(Range(0, shape[source]))
                source, place = source + 1, place + 1
        else:
            items.append(_position(k, shape[source], source))
            source += 1
    return tuple(items), arrays


def _is_scalar(k: Any) -> bool:
    return isinstance(k, Tensor) and k._data.ndim == 0 and k.dtype is not bool_ and k._traced is None


def _consumed(k: Any) -> int:
    """How many dimensions of the input one part of a key uses up."""
    if k is None or k is Ellipsis:
        return 0
    is_mask = (isinstance(k, Tensor) and k.dtype is bool_) or (isinstance(k, np.ndarray) and k.dtype == bool)
    return k.ndim if is_mask else 1


def _expand_ellipsis(shape: Shape, keys: tuple[Any, ...]) -> list[Any]:
    missing = len(shape) - sum(_consumed(k) for k in keys)
    if missing < 0:
        raise IndexShapeError(f"index: {len(keys)} indices are too many for shape {tuple(map(int, shape))}")
    places = [p for p, k in enumerate(keys) if k is Ellipsis]
    if len(places) > 1:
        raise ArgumentError("index: only one Ellipsis is allowed")
    place = places[0] if places else len(keys)
    return [*keys[:place], *[slice(None)] * missing, *keys[place + 1 :]]


def _range(key: slice, size: int) -> Range:
    """Resolves a slice; in arithmetic that keeps symbolic sizes where it can."""
    if key.start is None and key.stop is None and key.step in (None, 1):
        return Range(0, size)
    step = 1 if key.step is None else _operator.index(key.step)
    if step != 1:
        start, stop, step = slice(key.start, key.stop, step).indices(size)
        return Range(start, len(range(start, stop, step)), step)
    start = _bound(key.start, 0, size)
    stop = _bound(key.stop, size, size)
    return Range(start, stop - start if stop > start else 0)


def _bound(bound: Any, default: int, size: int) -> int:
    if bound is None:
        return default
    value = bound if isinstance(bound, int) else _operator.index(bound)
    if value < 0:
        return size + value if size + value > 0 else 0
    return value if value <= size else size


def _position(k: Any, size: int, dim: int) -> int:
    if isinstance(k, bool):
        raise DTypeError("index: a Python bool is not an index; use a bool tensor, or None for a new dimension")
    try:
        value = k if isinstance(k, int) else _operator.index(k)
    except TypeError as error:
        raise DTypeError(f"index: expected integers, slices, None, Ellipsis or arrays, came {type(k).__name__}") from error
    if not -size <= value < size:
        raise IndexError(f"index: {value} is out of range for dimension {dim} of size {size}")
    return size + value if value < 0 else value


def _index_arrays(k: Any, shape: Shape, dim: int) -> list[Tensor]:
    t = k if isinstance(k, Tensor) else from_array(np.asarray(k if len(k) else np.zeros(0, np.int64)))
    if t.dtype is bool_:
        if t._traced is not None:
            mode.tracer.refuse_data_shape("indexing with a bool tensor")
        selected = tuple(shape[dim : dim + t.ndim])
        if not all(m in (n, 0) for m, n in zip(t._data.shape, selected, strict=True)):  # size 0 selects nothing anywhere
            raise IndexShapeError(f"index: mask of shape {tuple(t.shape)} does not fit {selected}")
        with visiting(t._data):
            return [from_array(i) for i in t._data.nonzero()]
    if t.dtype.kind != 1:
        raise DTypeError(f"index: expected integer or bool arrays, came {t.dtype}")
    if t._traced is None:
        _check_bounds(t._data, shape[dim], dim)
    return [t.to(int64)]


def _check_bounds(array: Any, size: int, dim: int) -> None:
    if isinstance(array, np.ndarray) and array.size and not (-size <= array.min() and array.max() < size):
        raise IndexError(f"index: values {array.min()}..{array.max()} are out of range for dimension {dim} of size {size}")
