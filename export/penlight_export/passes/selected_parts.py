# SPDX-License-Identifier: Apache-2.0
"""Halves, or every second element, of the last axis, in the ways in which exporters write that they are taken and put back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from penlight_export.graph import (
    Node,
    Shape,
    Value,
    constant_of,
    find_attribute,
    fresh_name,
    graph_of,
    make_node,
    rank_of,
    single_consumer,
)
from penlight_export.passes.formula import scalar_of
from penlight_export.passes.transposes import Permutation, permutation_of


@dataclass(frozen=True)
class Part:
    """The first `size` features of a value's last axis, behind a Transpose that keeps the first and the last axis; or one part of
    two of them.
    """

    value: Value
    order: Permutation | None  # of the Transpose
    size: int | None
    number: int | None = None  # 0 or 1; None is the whole
    heads: int | None = None  # the value is (B, T, heads * size), read as (B, T, heads, size)

    def beside(self, other: Part) -> bool:
        """Both are parts of one whole."""
        return replace(self, number=None) == replace(other, number=None)

    def as_value(self, before: Node) -> Value:
        """The value with its axes in order; a new Transpose stands in front of a node."""
        if self.order is None:
            return self.value
        graph = graph_of(before)
        name = fresh_name(graph, f"{self.value.name}.turned")
        node = make_node("Transpose", [self.value], {"perm": list(self.order)}, output_names=[name], like=before)
        node.outputs[0].type = self.value.type
        if self.value.shape is not None:
            node.outputs[0].shape = Shape([self.value.shape[axis] for axis in self.order])
        graph.insert_before(before, node)
        return node.outputs[0]


def whole_of(part: Part) -> Part:
    """What a part is taken from."""
    return replace(part, number=None)


def part_of(value: Value, in_turns: bool, whole: bool = False) -> Part | None:
    """A value as a part of another one, or as a whole."""
    if whole:
        source, order = _in_front(value)
        return Part(source, order, last_size(source))
    inner, order = _in_front(value)
    found = _selection(inner, in_turns)
    if found is None:
        return None
    source, number, heads = found
    if order is None and heads is None:
        source, order = _in_front(source)
    size = last_size(source)
    return Part(source, order, size if heads is None or size is None else size // heads, number, heads)


def same_part(found: Part | None, wanted: Part) -> bool:
    """Also where the heads are split on one side alone."""
    if found == wanted:
        return True
    if found is None or wanted.heads is None or found.order is not None or found.number != wanted.number:
        return False
    node = found.value.producer()
    return node is not None and node.op_type == "Reshape" and node.inputs[0] is wanted.value and found.size == wanted.size


def splits_last(part: Part, rest: Value | None) -> Part | None:
    """The whole of which `part` is the first features and `rest` the others; None when they are not."""
    if rest is None or part.size is None:
        return None
    first, (others, order) = part.value.producer(), _in_front(rest)
    second = others.producer()
    if first is None or second is None or order != part.order or first.inputs[0] is not second.inputs[0]:
        return None
    source = first.inputs[0]
    size = last_size(source)
    if source is None or size is None or part.size + (last_size(others) or size) != size:
        return None
    if first is second and first.op_type == "Split":
        fits = _is_last_axis(first, source) and [part.value, others] == list(first.outputs)
    else:
        fits = _slice_of(first) == (0, part.size, 1) and _slice_of(second) == (part.size, size, 1)
    return Part(source, part.order, part.size) if fits else None


def flattened_pairs(join: Node) -> tuple[Node, list[Value | None]] | None:
    """The Reshape behind a Concat of two values with a new last axis, and the two values: elements of the two take turns."""
    values: list[Value | None] = []
    for value in join.inputs:
        node = value.producer() if value is not None else None
        if node is None or node.op_type not in ("Unsqueeze", "Reshape") or not _adds_last(node):
            return None
        values.append(node.inputs[0])
    end = single_consumer(join.outputs[0])
    if end is None or end.op_type != "Reshape" or rank_of(end.outputs[0]) != (rank_of(join.outputs[0]) or 0) - 1:
        return None
    size = last_size(values[0])
    if size is None or last_size(end.outputs[0]) != 2 * size or not _keeps_sizes(values[0], end.outputs[0]):
        return None
    return end, values


def _keeps_sizes(before: Value | None, after: Value) -> bool:
    """All axes but the last one have as many elements as before, as far as numbers are known: the Reshape mixes nothing."""
    if before is None or before.shape is None or after.shape is None:
        return False
    both = zip(list(before.shape)[:-1], list(after.shape)[:-1], strict=True)
    return all(a == b for a, b in both if isinstance(a, int) and isinstance(b, int))


def last_size(value: Value | None) -> int | None:
    """The number of elements along the last axis."""
    size = None if value is None or not value.shape else value.shape[-1]
    return size if isinstance(size, int) else None


def _adds_last(node: Node) -> bool:
    before, after = rank_of(node.inputs[0]), rank_of(node.outputs[0])
    if before is None or after != before + 1 or last_size(node.outputs[0]) != 1:
        return False
    if node.op_type == "Unsqueeze":
        axis = scalar_of(node.inputs[1])
        return axis in (-1, before)
    shape, source = node.outputs[0].shape, node.inputs[0]
    return shape is not None and source is not None and source.shape is not None and list(shape)[:-1] == list(source.shape)


def _in_front(value: Value) -> tuple[Value, Permutation | None]:
    """What a Transpose that keeps the first and the last axis reads."""
    order = permutation_of(value)
    if order is None or len(order) < 3 or order[0] != 0 or order[-1] != len(order) - 1:
        return value, None
    producer = value.producer()
    assert producer is not None and producer.inputs[0] is not None
    return producer.inputs[0], order


def _selection(value: Value, in_turns: bool) -> tuple[Value, int, int | None] | None:
    """The value whose half this is, which half, and into how many heads a Reshape has split it on the way."""
    node = value.producer()
    if node is None or node.domain != "" or not node.inputs or node.inputs[0] is None:
        return None
    source, size = node.inputs[0], last_size(node.inputs[0])
    if node.op_type == "Slice" and size is not None and size % 2 == 0:
        wanted = [(0, size, 2), (1, size, 2)] if in_turns else [(0, size // 2, 1), (size // 2, size, 1)]
        found = _slice_of(node)
        return (source, wanted.index(found), None) if found in wanted else None
    if node.op_type == "Split" and not in_turns and len(node.outputs) == 2 and _is_last_axis(node, source):
        halves = {last_size(output) for output in node.outputs}
        return (source, list(node.outputs).index(value), None) if size is not None and halves == {size // 2} else None
    return _taken_from_pairs(node, value, in_turns)


def _taken_from_pairs(node: Node, value: Value, in_turns: bool) -> tuple[Value, int, int | None] | None:
    """Number 0 or 1 of a new axis of size 2, by Gather, or Squeeze behind Slice or Split."""
    taken = _taken(node, value)
    if taken is None:
        return None
    pairs, axis, number = taken
    reshape, rank = pairs.producer(), rank_of(pairs)
    if reshape is None or reshape.op_type != "Reshape" or reshape.inputs[0] is None or rank is None or not pairs.shape:
        return None
    source, sizes = reshape.inputs[0], list(pairs.shape)
    if axis % rank != rank - (1 if in_turns else 2) or sizes[axis] != 2 or number not in (0, 1):
        return None
    width = sizes[-1] if not in_turns else sizes[-2]
    before = rank_of(source)
    if not isinstance(width, int) or before is None or source.shape is None:
        return None
    if before == rank - 1 and last_size(source) == 2 * width:
        return source, number, None
    heads = sizes[2] if rank == 5 and before == 3 else None
    if isinstance(heads, int) and last_size(source) == heads * width * 2:
        return source, number, heads
    return None


def _taken(node: Node, value: Value) -> tuple[Value, int, int] | None:
    """Of what, along which axis and at which place a value is taken, with the axis dropped."""
    if node.op_type == "Gather" and node.inputs[0] is not None:
        index = constant_of(node.inputs[1])
        if index is None or index.ndim != 0:
            return None
        return node.inputs[0], find_attribute(node, "axis", 0), int(index) % 2
    if node.op_type != "Squeeze" or len(node.inputs) < 2 or node.inputs[0] is None:
        return None
    inner, axis = node.inputs[0].producer(), scalar_of(node.inputs[1])
    if inner is None or axis is None or inner.inputs[0] is None:
        return None
    rank = rank_of(inner.inputs[0]) or 1
    if inner.op_type == "Split" and find_attribute(inner, "axis", 0) % rank == axis % rank and len(inner.outputs) == 2:
        return inner.inputs[0], int(axis), list(inner.outputs).index(node.inputs[0])
    found = _slice_of(inner, int(axis)) if inner.op_type == "Slice" else None
    return (inner.inputs[0], int(axis), found[0]) if found is not None and found in ((0, 1, 1), (1, 2, 1)) else None


def _is_last_axis(split: Node, source: Value) -> bool:
    rank = rank_of(source)
    return rank is not None and find_attribute(split, "axis", 0) % rank == rank - 1


def _slice_of(node: Node, axis: int = -1) -> tuple[int, int, int] | None:
    """Start, end and step of a Slice along one axis alone, the end within the size."""
    source = node.inputs[0] if node.op_type == "Slice" else None
    rank = rank_of(source)
    size = source.shape[axis] if source is not None and source.shape is not None and rank else None
    numbers = [_single(value) for value in node.inputs[1:]] if isinstance(size, int) else []
    if len(numbers) < 3 or None in numbers:
        return None
    start, end, place, step = _four(numbers)
    if place % (rank or 1) != axis % (rank or 1) or step < 1:
        return None
    assert isinstance(size, int)
    begin, stop, _ = slice(start, end).indices(size)
    return begin, stop, step


def _four(numbers: Sequence[int | None]) -> tuple[int, int, int, int]:
    start, end, place, step = [*numbers, 1][:4]
    assert start is not None and end is not None and place is not None and step is not None
    return start, end, place, step


def _single(value: Value | None) -> int | None:
    array = constant_of(value)
    return None if array is None or array.size != 1 else int(np.reshape(array, -1)[0])
