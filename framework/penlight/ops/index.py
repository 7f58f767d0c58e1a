# SPDX-License-Identifier: Apache-2.0
"""Reading and writing by index: slices, integer and bool arrays, gather and scatter."""

from __future__ import annotations

import operator as _operator
from dataclasses import dataclass
from typing import Any

import numpy as np

from penlight.dtype import bool_, int64
from penlight.errors import ArgumentError, DTypeError, ShapeError
from penlight.ops import dims as _dims
from penlight.ops.broadcast import broadcast_shapes, operand
from penlight.ops.dispatch import apply, write
from penlight.ops.elementwise import where
from penlight.ops.operator import NotDifferentiable, NotExported, Operator, Shape, Spec
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
    return tuple(item.slice() if isinstance(item, Range) else item for item in items)


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
@dataclass(frozen=True)
class Slice(Operator):
    """x[items] with integers, ranges and new dimensions: a view"""

    name = "slice"
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
@dataclass(frozen=True)
class SliceScatter(Operator):
    """Zeros of `shape` with x at the place `items`"""

    name = "slice_scatter"
    saves_inputs = False
    onnx = NotExported("it occurs in gradients only")
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
@dataclass(frozen=True)
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
@dataclass(frozen=True)
class Take(Operator):
    """The elements of x at `index` along `dim`; an index of any rank replaces the dimension"""

    name = "take"
    onnx = "Gather(axis=dim)"
    samples = (
        sample(of(5, 3), index(4, high=5), dim=0),
        sample(of(5, 3), index(2, 2, high=3), dim=1),
        sample(of(5, 3), index(0, high=5), dim=0),
        sample(of(5, 3, strided=True), index(7, high=5), dim=0),
    )

    dim: int = 0

    def infer(self, x: Spec, index: Spec) -> Spec:
        if index.dtype.kind != 1:
            raise DTypeError(f"take: expected integer indices, came {index.dtype}; convert with .to(penlight.int64)")
        return Spec((*x.shape[: self.dim], *index.shape, *x.shape[self.dim + 1 :]), x.dtype)

    def forward(self, xp, x, index):
        if index.dtype.kind not in "iu":
            raise TypeError("integer indices expected")
        return x.take(index, axis=self.dim) if xp is not np else np.take(x, index, axis=self.dim)

    def vjp(self, grad, output, x, index):
        return apply(TakeAdd(self.dim, x.shape[self.dim]), grad, index), None


@register
@dataclass(frozen=True)
class TakeAdd(Operator):
    """Zeros with `size` along `dim`, and x added at `index`: the gradient of Take"""

    name = "take_add"
    saves_inputs = True
    onnx = NotExported("it occurs in gradients only")
    samples = (sample(of(4, 3), index(4, high=5), dim=0, size=5), sample(of(5, 2, 2), index(2, 2, high=3), dim=1, size=3))

    dim: int
    size: int

    def infer(self, x: Spec, index: Spec) -> Spec:
        return Spec((*x.shape[: self.dim], self.size, *x.shape[self.dim + len(index.shape) :]), x.dtype)

    def forward(self, xp, x, index):
        lead = x.shape[: self.dim]
        tail = x.shape[self.dim + index.ndim :]
        rows = xp.moveaxis(x.reshape(*lead, index.size, *tail), self.dim, 0)
        flat = index.reshape(-1) % max(self.size, 1)
        result = xp.zeros((self.size, *lead, *tail), dtype=x.dtype)
        if xp is np:
            _add_rows(result, flat, rows)
        else:
            xp.add.at(result, flat, rows)
        return xp.moveaxis(result, 0, self.dim)

    def vjp(self, grad, output, x, index):
        return apply(Take(self.dim), grad, index), None


def _add_rows(result: np.ndarray, flat: np.ndarray, rows: np.ndarray) -> None:
    """result[flat] += rows with repeats: sorted and summed in runs, which is ten times faster than np.add.at."""
    if not flat.size:
        return
    order = np.argsort(flat, kind="stable")
    sorted_index = flat[order]
    starts = np.flatnonzero(np.r_[True, sorted_index[1:] != sorted_index[:-1]])
    result[sorted_index[starts]] = np.add.reduceat(rows[order], starts, axis=0)


@register
@dataclass(frozen=True)
class AdvancedIndex(Operator):
    """x[i, j, ...] with integer arrays for the dimensions `dims`, which broadcast together, as in NumPy"""

    name = "advanced_index"
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
@dataclass(frozen=True)
class AdvancedIndexAdd(Operator):
    """Zeros of `shape` with x added at the integer arrays: the gradient of AdvancedIndex"""

    name = "advanced_index_add"
    onnx = NotExported("it occurs in gradients only")
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
@dataclass(frozen=True)
class AdvancedIndexPut(Operator):
    """A copy of x with `value` at (or added at, if `accumulate`) the integer arrays for `dims`"""

    name = "advanced_index_put"
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


@register
@dataclass(frozen=True)
class Gather(Operator):
    """out[i][j] = x[index[i][j]][j] along `dim` 0, and so on"""

    name = "gather"
    onnx = "GatherElements(axis=dim)"
    samples = (
        sample(of(5, 3), index(2, 3, high=5), dim=0),
        sample(of(5, 3), index(5, 4, high=3), dim=1),
        sample(of(5, 3), index(0, 3, high=5), dim=0),
    )

    dim: int

    def infer(self, x: Spec, index: Spec) -> Spec:
        _check_index("gather", index)
        if len(index.shape) != len(x.shape):
            raise ShapeError(f"gather: index has {len(index.shape)} dimensions, input has {len(x.shape)}; they must agree")
        return Spec(index.shape, x.dtype)

    def forward(self, xp, x, index):
        window = tuple(slice(None) if d == self.dim else slice(n) for d, n in enumerate(index.shape))
        return xp.take_along_axis(x[window], index, axis=self.dim)

    def vjp(self, grad, output, x, index):
        return apply(GatherAdd(self.dim, tuple(x.shape)), grad, index), None


@register
@dataclass(frozen=True)
class GatherAdd(Operator):
    """Zeros of `shape` with x added where Gather along `dim` would read: the gradient of Gather"""

    name = "gather_add"
    onnx = NotExported("it occurs in gradients only")
    samples = (sample(of(2, 3), index(2, 3, high=5), dim=0, shape=(5, 3)),)

    dim: int
    shape: Shape

    def infer(self, x: Spec, index: Spec) -> Spec:
        return Spec(self.shape, x.dtype)

    def forward(self, xp, x, index):
        result = xp.zeros(self.shape, dtype=x.dtype)
        xp.add.at(result, _along(xp, index, self.dim), x)
        return result

    def vjp(self, grad, output, x, index):
        return apply(Gather(self.dim), grad, index), None


@register
@dataclass(frozen=True)
class ScatterAdd(Operator):
    """A copy of x with `source` added where `index` says along `dim`; repeated indices add up"""

    name = "scatter_add"
    samples = (
        sample(of(5, 3), index(2, 3, high=5), of(2, 3), dim=0),
        sample(of(5, 3), index(5, 4, high=3), of(5, 4), dim=1),
        sample(of(5, 3), index(0, 3, high=5), of(0, 3), dim=0),
    )

    dim: int

    def infer(self, x: Spec, index: Spec, source: Spec) -> Spec:
        _check_index("scatter_add", index)
        return x

    def forward(self, xp, x, index, source):
        result = x.copy()
        source = source[tuple(slice(n) for n in index.shape)]
        xp.add.at(result, _along(xp, index, self.dim), source)
        return result

    def vjp(self, grad, output, x, index, source):
        return grad, None, apply(Gather(self.dim), grad, index)


def _along(xp: Any, index: Any, dim: int) -> tuple[Any, ...]:
    grids = xp.ogrid[tuple(slice(n) for n in index.shape)]
    return tuple(index if d == dim else grid for d, grid in enumerate(grids))


def _check_index(operator: str, spec: Spec) -> None:
    if spec.dtype.kind != 1:
        raise DTypeError(f"{operator}: expected integer indices, came {spec.dtype}; convert with .to(penlight.int64)")


@register
@dataclass(frozen=True)
class Tril(Operator):
    """The lower triangle of the last two dimensions, up to `diagonal`; zeros elsewhere"""

    name = "tril"
    saves_inputs = False
    samples = (shapes(3, 4, diagonal=0), shapes(2, 3, 3, diagonal=-1), shapes(0, 3))

    diagonal: int = 0

    def infer(self, x: Spec) -> Spec:
        return x

    def forward(self, xp, x):
        return xp.tril(x, self.diagonal)

    def vjp(self, grad, output, x):
        return (apply(self, grad),)


@register
@dataclass(frozen=True)
class Triu(Operator):
    """The upper triangle of the last two dimensions, from `diagonal` on; zeros elsewhere"""

    name = "triu"
    saves_inputs = False
    samples = (shapes(3, 4, diagonal=0), shapes(2, 3, 3, diagonal=1), shapes(0, 3))

    diagonal: int = 0

    def infer(self, x: Spec) -> Spec:
        return x

    def forward(self, xp, x):
        return xp.triu(x, self.diagonal)

    def vjp(self, grad, output, x):
        return (apply(self, grad),)


@register
@dataclass(frozen=True)
class OneHot(Operator):
    """1 at the place of the index along a new last dimension of size `num_classes`, int64"""

    name = "one_hot"
    gradient = NotDifferentiable("the input is an index")
    samples = (
        sample(index(4, high=5), num_classes=5),
        sample(index(2, 3, high=4), num_classes=6),
        sample(index(0, high=2), num_classes=2),
    )

    num_classes: int

    def infer(self, x: Spec) -> Spec:
        _check_index("one_hot", x)
        return Spec((*x.shape, self.num_classes), int64)

    def forward(self, xp, x):
        return (x[..., None] == xp.arange(self.num_classes)).astype(np.int64)


@register
@dataclass(frozen=True)
class ArgSort(Operator):
    """The indices that sort along `dim`; equal elements keep their order"""

    name = "argsort"
    gradient = NotDifferentiable("the result is an index")
    samples = (
        sample(of(3, 4, distinct=True), dim=1),
        sample(of(4, 2, distinct=True), dim=0, descending=True),
        shapes(0, 3, dim=0),
    )

    dim: int
    descending: bool = False

    def infer(self, x: Spec) -> Spec:
        return Spec(x.shape, int64)

    def forward(self, xp, x):
        if not self.descending:
            return xp.argsort(x, axis=self.dim, kind="stable")
        # Sorting the reversed input and reversing twice keeps the order of equal elements.
        order = xp.flip(xp.argsort(xp.flip(x, self.dim), axis=self.dim, kind="stable"), self.dim)
        return x.shape[self.dim] - 1 - order


@register
@dataclass(frozen=True)
class TopK(Operator):
    """The k largest (or smallest) elements along `dim` in order, and their indices"""

    name = "topk"
    outputs = 2
    samples = (
        sample(of(3, 5, distinct=True), k=2, dim=1),
        sample(of(5, 2, distinct=True), k=3, dim=0, largest=False),
        sample(of(0, 3), k=1, dim=1),
    )
    saves_output = True

    k: int
    dim: int
    largest: bool = True

    def infer(self, x: Spec) -> tuple[Spec, Spec]:
        shape = (*x.shape[: self.dim], self.k, *x.shape[self.dim + 1 :])
        return Spec(shape, x.dtype), Spec(shape, int64)

    def forward(self, xp, x):
        order = ArgSort(self.dim, self.largest).forward(xp, x)
        order = order[(slice(None),) * self.dim + (slice(self.k),)]
        return xp.take_along_axis(x, order, axis=self.dim), order

    def vjp(self, grad, output, x):
        return (apply(GatherAdd(self.dim, tuple(x.shape)), grad[0], output[1].detach()),)


def getitem(input: Tensor, key: Any) -> Tensor:
    """Returns `input[key]`: a view for integers, slices, None and Ellipsis; a copy for integer or bool arrays."""
    items, arrays = _parse(input, key)
    result = (
        apply(Slice(items), input)
        if any(i != Range(0, n) for i, n in zip(items, input.shape, strict=False))
        or len(items) != input.ndim
        or (input._traced is None and not arrays)
        else input
    )
    if not arrays:
        return result
    dims = tuple(sorted(arrays))
    if len(dims) == 1:
        return apply(Take(dims[0]), result, arrays[dims[0]])
    return apply(AdvancedIndex(dims), result, *(arrays[d] for d in dims))


def setitem(input: Tensor, key: Any, value: Any) -> None:
    """Writes `value`, broadcast, into the elements that `key` selects."""
    value = operand(value).to(input.dtype)
    items, arrays = _parse(input, key)
    if not arrays and mode.tracer is None:
        apply(Slice(items), input).copy_(value)
        return
    if not arrays:
        write(input, apply(SliceWrite(items), input, value), "setitem")
        return
    if any(isinstance(item, int) or item is None or item != Range(0, n) for item, n in zip(items, input.shape, strict=False)):
        target = apply(Slice(items), input)  # a view: the write below reaches the input
        setitem(target, tuple(arrays.get(d, slice(None)) for d in range(target.ndim)), value)
        return
    dims = tuple(sorted(arrays))
    write(input, apply(AdvancedIndexPut(dims), input, value, *(arrays[d] for d in dims)), "setitem")


def _parse(input: Tensor, key: Any) -> tuple[tuple[Item, ...], dict[int, Tensor]]:
    """Splits a key into basic items and the index arrays, by dimension of the result of the basic part."""
    keys = _expand_ellipsis(input, key if isinstance(key, tuple) else (key,))
    items: list[Item] = []
    arrays: dict[int, Tensor] = {}
    shape, source, place = input.shape, 0, 0
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


def _expand_ellipsis(input: Tensor, keys: tuple[Any, ...]) -> list[Any]:
    missing = input.ndim - sum(_consumed(k) for k in keys)
    if missing < 0:
        raise ShapeError(f"index: {len(keys)} indices are too many for shape {tuple(map(int, input.shape))}")
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
            mode.tracer.refuse_value("indexing with a bool tensor")
        if t._data.shape != tuple(shape[dim : dim + t.ndim]):
            raise ShapeError(f"index: mask of shape {tuple(t.shape)} does not fit {tuple(shape[dim : dim + t.ndim])}")
        return [from_array(i) for i in t._data.nonzero()]
    if t.dtype.kind != 1:
        raise DTypeError(f"index: expected integer or bool arrays, came {t.dtype}")
    if t._traced is None:
        _check_bounds(t._data, shape[dim], dim)
    return [t.to(int64)]


def _check_bounds(array: Any, size: int, dim: int) -> None:
    if isinstance(array, np.ndarray) and array.size and not (-size <= array.min() and array.max() < size):
        raise IndexError(f"index: values {array.min()}..{array.max()} are out of range for dimension {dim} of size {size}")


def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """Returns the slices of `input` at the integer `index` (1-D) along `dim`."""
    return apply(Take(_dims.one("index_select", dim, input.ndim)), input, index)


def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """Returns `out[i][j] = input[index[i][j]][j]` for dim 0, and so on, in the shape of `index` (int64)."""
    return apply(Gather(_dims.one("gather", dim, input.ndim)), input, index)


def take_along_dim(input: Tensor, indices: Tensor, dim: int) -> Tensor:
    """Returns `gather`, with the other dimensions broadcast."""
    d = _dims.one("take_along_dim", dim, input.ndim)
    rest = broadcast_shapes("take_along_dim", *((*t.shape[:d], 1, *t.shape[d + 1 :]) for t in (input, indices)))
    full = input.expand(*rest[:d], input.shape[d], *rest[d + 1 :])
    return apply(Gather(d), full, indices.expand(*rest[:d], indices.shape[d], *rest[d + 1 :]))


def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """Returns a copy of `input` with `src` added where `index` (int64) says along `dim`."""
    return apply(ScatterAdd(_dims.one("scatter_add", dim, input.ndim)), input, index, src)


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """Returns `value` where `mask` (bool, broadcast) holds, else `input`."""
    if mask.dtype is not bool_:
        raise DTypeError(f"masked_fill: expected a bool mask, came {mask.dtype}; use mask != 0")
    return where(mask, value if isinstance(value, Tensor) else float(value) if input.dtype.is_floating_point else value, input)


def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """Returns the elements where `mask` (bool, broadcast) holds, 1-D."""
    return getitem(input.expand(broadcast_shapes("masked_select", input.shape, mask.shape)), mask.expand(input.shape))


def nonzero(input: Tensor) -> Tensor:
    """Returns the indices of the elements that are not 0, (count, ndim) int64."""
    if input._traced is not None:
        mode.tracer.refuse_value("nonzero()")
    return from_array(np.stack(input._data.nonzero(), axis=1).astype(np.int64))


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """Returns the lower triangle of the last two dimensions, zeros above `diagonal`."""
    return apply(Tril(diagonal), input)


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """Returns the upper triangle of the last two dimensions, zeros below `diagonal`."""
    return apply(Triu(diagonal), input)


def one_hot(input: Tensor, num_classes: int = -1) -> Tensor:
    """Returns int64 zeros with a 1 at each index along a new last dimension; -1 takes the largest index plus one."""
    if num_classes < 0:
        num_classes = int(input.max().item()) + 1
    return apply(OneHot(num_classes), input)


def argsort(input: Tensor, dim: int = -1, descending: bool = False) -> Tensor:
    """Returns the indices (int64) that sort along `dim`; the order of equal elements is kept."""
    return apply(ArgSort(_dims.one("argsort", dim, input.ndim), descending), input)


def sort(input: Tensor, dim: int = -1, descending: bool = False) -> tuple[Tensor, Tensor]:
    """Returns the sorted values along `dim` and their indices; the order of equal elements is kept."""
    order = argsort(input, dim, descending)
    return gather(input, dim, order), order


def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True) -> tuple[Tensor, Tensor]:
    """Returns the k largest (or smallest) values along `dim`, in order, and their indices (int64)."""
    d = _dims.one("topk", dim, input.ndim)
    if not 0 <= k <= input.shape[d]:
        raise ArgumentError(f"topk: k={k} is out of range for dim {dim} of size {input.shape[d]}")
    return apply(TopK(k, d, largest), input)
