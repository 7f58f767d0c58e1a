# SPDX-License-Identifier: Apache-2.0
"""Lowerings of reading and writing by index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from penlight_export.graph import Value
from penlight_export.onnx.builder import Builder, onnx_dtype, symbol_text
from penlight_export.onnx.lowerings.registry import lowering
from penlight_export.onnx.lowerings.shape import INT64_MAX, INT64_MIN


@lowering("slice")
def slice_items(b: Builder, operator: Any, x: Value) -> Value:
    """One Slice over all dimensions that are cut, then the integers' dimensions go and new ones come."""
    shape = b.specs[x].shape
    ranges = [item for item in operator.items if item is not None]
    dims = [d for d, item in enumerate(ranges) if isinstance(item, int) or not _is_whole(item, shape[d])]
    if dims:
        bounds = [_bounds(ranges[d], shape[d]) for d in dims]
        starts, ends = (b.sizes([bound[k] for bound in bounds]) for k in (0, 1))
        steps = [bound[2] for bound in bounds]
        extra = (b.integers(steps),) if any(step != 1 for step in steps) else ()
        x = b.op("Slice", x, starts, ends, b.integers(dims), *extra)
    gone = [d for d, item in enumerate(ranges) if isinstance(item, int)]
    if gone:
        x = b.op("Squeeze", x, b.integers(gone))
    new = [d for d, item in enumerate(item for item in operator.items if not isinstance(item, int)) if item is None]
    if new:
        x = b.op("Unsqueeze", x, b.integers(new))
    return x if dims or gone or new else b.op("Identity", x)


def _is_whole(item: Any, size: int) -> bool:
    return item.step == 1 and symbol_text(item.start) is None and item.start == 0 and _equal(item.length, size)


def _equal(a: int, b: int) -> bool:
    return symbol_text(a) == symbol_text(b) and int(a) == int(b)


def _bounds(item: Any, size: int) -> tuple[int, int, int]:
    """Start, end and step of ONNX's Slice. An end behind the last element needs no number, an end before the first has none."""
    if isinstance(item, int):
        return item, item + 1, 1
    end = item.start + item.step * item.length
    if item.step > 0 and _equal(end, size):
        end = INT64_MAX
    elif item.step < 0 and int(end) < 0:
        end = INT64_MIN
    return item.start, end, item.step


@lowering("slice_write")
def slice_write(b: Builder, operator: Any, x: Value, value: Value) -> Value:
    """ScatterND at the grid of all written positions of the leading dimensions; trailing whole dimensions go as slices."""
    shape = b.specs[x].shape
    items = [item for item in operator.items if item is not None]
    spans = [(item, 1, 1) if isinstance(item, int) else (item.start, item.length, item.step) for item in items]
    cut = [d for d, item in enumerate(items) if isinstance(item, int) or not _is_whole(item, shape[d])]
    depth = max(cut) + 1 if cut else 1
    lengths = [span[1] for span in spans[:depth]]
    grid = [_positions(b, span, d, depth) for d, span in enumerate(spans[:depth])]
    indices = _stack_indices(b, grid, b.sizes(lengths))
    region = [1 if item is None else item.length for item in operator.items if not isinstance(item, int)]
    # Integer items have no dimension in the region and None items have one too many; the order of elements is the same.
    updates = b.op("Reshape", b.op("Expand", value, b.sizes(region)), b.sizes([*lengths, *shape[depth:]]))
    return b.op("ScatterND", x, indices, updates)


def _positions(b: Builder, span: tuple[int, int, int], dim: int, depth: int) -> Value:
    """start, start + step, ... as a vector that stands in dimension `dim` of `depth`."""
    start, length, step = span
    shape = [-1 if d == dim else 1 for d in range(depth)]
    if symbol_text(start) is None and symbol_text(length) is None:
        return b.constant((start + step * np.arange(length)).reshape([length if d == dim else 1 for d in range(depth)]), np.int64)
    numbers = b.op("Range", b.size(start), b.size(start + step * length), b.integers(step))
    return b.op("Reshape", numbers, b.integers(shape))


def _stack_indices(b: Builder, indices: Sequence[Value], shape: Value) -> Value:
    """Index arrays broadcast to one shape and joined along a new last dimension, as GatherND and ScatterND want them."""
    columns = [b.op("Unsqueeze", b.op("Expand", index, shape), b.integers([-1])) for index in indices]
    return b.op("Concat", *columns, axis=-1) if len(columns) > 1 else columns[0]


@lowering("advanced_index")
def advanced_index(b: Builder, operator: Any, x: Value, *indices: Value) -> Value:
    """Gather for one array; else GatherND on the indexed dimensions in front, moved back when they were neighbours."""
    dims = operator.dims
    if len(dims) == 1:
        return b.op("Gather", x, indices[0], axis=dims[0])
    rank = len(b.specs[x].shape)
    order, common = _to_front(b, rank, dims, indices)
    front = b.op("Transpose", x, perm=order) if order != list(range(rank)) else x
    result = b.op("GatherND", front, _index_grid(b, indices))
    place = dims[0] if dims == tuple(range(dims[0], dims[-1] + 1)) else 0
    if place == 0:
        return result
    # (common..., rest...) -> rest before `place`, common, rest behind
    total = common + rank - len(dims)
    back = [*range(common, common + place), *range(common), *range(common + place, total)]
    return b.op("Transpose", result, perm=back)


@lowering("advanced_index_put")
def advanced_index_put(b: Builder, operator: Any, x: Value, value: Value, *indices: Value) -> Value:
    """ScatterND on the indexed dimensions in front, then they go back; ScatterElements for one list in another dimension."""
    dims = operator.dims
    shape = b.specs[x].shape
    if len(dims) == 1 and dims[0] > 0 and len(b.specs[indices[0]].shape) < 2:
        return _put_along(b, operator, x, value, indices[0])
    order, common = _to_front(b, len(shape), dims, indices)
    moved = order != list(range(len(shape)))
    front = b.op("Transpose", x, perm=order) if moved else x
    rest = [shape[d] for d in order[len(dims) :]]
    grid_shape = _common_shape(b, indices)
    place = dims[0] if dims == tuple(range(dims[0], dims[-1] + 1)) else 0
    wanted = [*rest[:place], *grid_shape, *rest[place:]]
    updates = b.op("Expand", value, b.sizes(wanted))
    if place:
        updates = b.op(
            "Transpose", updates, perm=[*range(place, place + common), *range(place), *range(place + common, common + len(rest))]
        )
    result = b.op("ScatterND", front, _index_grid(b, indices), updates, reduction="add" if operator.accumulate else None)
    return b.op("Transpose", result, perm=[order.index(d) for d in range(len(order))]) if moved else result


def _put_along(b: Builder, operator: Any, x: Value, value: Value, index: Value) -> Value:
    """x[:, :, index] = value without moving x, which may be a large cache; the index is a number or a list."""
    (dim,), shape, single = operator.dims, b.specs[x].shape, not b.specs[index].shape
    count = 1 if single else b.specs[index].shape[0]
    if single:
        value = b.op("Unsqueeze", b.op("Expand", value, b.sizes([*shape[:dim], *shape[dim + 1 :]])), b.integers([dim]))
    wanted = b.sizes([*shape[:dim], count, *shape[dim + 1 :]])
    places = b.op("Reshape", index, b.integers([1] * dim + [-1] + [1] * (len(shape) - dim - 1)))
    updates = value if single else b.op("Expand", value, wanted)
    reduction = "add" if operator.accumulate else None
    return b.op("ScatterElements", x, b.op("Expand", places, wanted), updates, axis=dim, reduction=reduction)


def _to_front(b: Builder, rank: int, dims: Sequence[int], indices: Sequence[Value]) -> tuple[list[int], int]:
    """The order of dimensions that puts `dims` first, and the rank of the index arrays broadcast together."""
    order = [*dims, *(d for d in range(rank) if d not in dims)]
    return order, max(len(b.specs[index].shape) for index in indices)


def _common_shape(b: Builder, indices: Sequence[Value]) -> list[int]:
    shapes = [list(b.specs[index].shape) for index in indices]
    rank = max(len(shape) for shape in shapes)
    padded = [[1] * (rank - len(shape)) + shape for shape in shapes]
    return [next((s for s in sizes if symbol_text(s) is not None or s != 1), 1) for sizes in zip(*padded, strict=True)]


def _index_grid(b: Builder, indices: Sequence[Value]) -> Value:
    return _stack_indices(b, indices, b.sizes(_common_shape(b, indices)))


@lowering("scatter_add")
def scatter_add(b: Builder, operator: Any, x: Value, index: Value, source: Value) -> Value:
    """ScatterElements wants updates of the index's shape; a larger source is cut."""
    sizes, given = b.specs[index].shape, b.specs[source].shape
    dims = [d for d, (a, c) in enumerate(zip(sizes, given, strict=True)) if not _equal(a, c)]
    if dims:
        source = b.op("Slice", source, b.integers([0] * len(dims)), b.sizes([sizes[d] for d in dims]), b.integers(dims))
    return b.op("ScatterElements", x, index, source, axis=operator.dim, reduction="add")


@lowering("tril", "triu")
def triangle(b: Builder, operator: Any, x: Value) -> Value:
    """Trilu with the diagonal as input."""
    return b.op("Trilu", x, b.integers(operator.diagonal), upper=int(operator.name == "triu"))


@lowering("one_hot")
def one_hot(b: Builder, operator: Any, x: Value) -> Value:
    """OneHot with values 0 and 1 in the dtype of the output."""
    values = b.constant([0, 1], b.outputs[0].dtype.numpy)
    return b.op("OneHot", x, b.sizes([operator.num_classes]), values, axis=-1)


@lowering("argsort")
def argsort(b: Builder, operator: Any, x: Value) -> Value:
    """The indices of a TopK over the whole dimension; equal elements keep their order in both."""
    size = b.specs[x].shape[operator.dim]
    return b.op("TopK", x, b.sizes([size]), count=2, axis=operator.dim, largest=int(operator.descending), sorted=1)[1]


@lowering("topk")
def topk(b: Builder, operator: Any, x: Value) -> tuple[Value, Value]:
    """TopK with k as input."""
    return b.op("TopK", x, b.sizes([operator.k]), count=2, axis=operator.dim, largest=int(operator.largest), sorted=1)


@lowering("cast")
def cast(b: Builder, operator: Any, x: Value) -> Value:
    """Cast to the dtype of the output."""
    return b.op("Cast", x, to=onnx_dtype(b.outputs[0]))


@lowering("scatter_reduce")
def scatter_reduce(b: Builder, operator: Any, x: Value, index: Value, source: Value) -> Value:
    """ScatterElements with a reduction."""
    reduction = {"prod": "mul", "amax": "max", "amin": "min"}[operator.reduce]
    return b.op("ScatterElements", x, index, source, axis=operator.dim, reduction=reduction)
