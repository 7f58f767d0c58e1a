# SPDX-License-Identifier: Apache-2.0
"""Cosines and sines as RotaryEmbedding wants them: one column for each pair, (B, T, pairs), or tables with the positions beside."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from penlight_export.graph import (
    Graph,
    Node,
    Shape,
    Value,
    add_constant,
    constant_of,
    find_attribute,
    fresh_name,
    make_node,
    rank_of,
)
from penlight_export.passes.attention import same_size
from penlight_export.passes.formula import scalar_of
from penlight_export.passes.selected_parts import Part, last_size

_SPLIT = (0, 2, 1, 3)
_DEEPEST = 16
_ELEMENTWISE = frozenset({"Cos", "Sin", "Cast", "Neg", "Identity", "Mul", "Div", "Add", "Sub", "Exp", "Reciprocal", "Pow"})
_MOVES = frozenset({"Unsqueeze", "Squeeze", "Reshape", "Transpose", "Expand", "Slice", "Gather", "Tile"})


@dataclass(frozen=True)
class Layout:
    """Where the heads of x are, and which value the new node reads."""

    heads_first: bool  # the node reads and writes (B, H, T, D); else (B, T, H * D)
    value: Value  # (B, T, H, D), or (B, T, H * D) itself, when not heads_first
    transposed: bool  # the result is (B, H, T, D) although `value` is not
    heads: int
    size: int
    head_axis: int | None  # of the caches, when they are aligned with x
    batch: Any
    rank: int  # of x, with its heads apart


def cache_layout(x: Part, cosines: Value, sines: Value) -> Layout | None:
    """Reads from the shape of the caches which axis of x counts the heads; None when that or the sizes do not fit."""
    shape = x.value.shape
    if shape is None or cosines.shape is None or sines.shape is None or list(cosines.shape) != list(sines.shape):
        return None
    given = list(shape) if x.heads is None else [shape[0], shape[1], x.heads, x.size]
    sizes = given if x.order is None else [given[axis] for axis in x.order]
    rank, width = len(sizes), given[-1]
    if rank not in (3, 4) or not 2 <= len(cosines.shape) <= rank or not isinstance(width, int):
        return None
    aligned = [1] * (rank - len(cosines.shape)) + list(cosines.shape)
    axis = _head_axis(sizes, aligned)
    if axis is None:
        return None
    if rank == 3:
        return Layout(False, x.value, False, 1, width, None, sizes[0], 3) if x.order is None else None
    heads = sizes[axis]
    if axis == 2:
        if x.order is not None or not isinstance(heads, int):
            return None
        return Layout(False, x.value, False, heads, width, 2, sizes[0], 4)
    if x.order == _SPLIT and isinstance(heads, int):
        return Layout(False, x.value, True, heads, width, 1, sizes[0], 4)
    return None if x.heads is not None else Layout(True, x.value, False, 0, width, 1, sizes[0], 4)


def _head_axis(sizes: list[Any], aligned: list[Any]) -> int | None:
    """1 or 2; 0 stands for none, of x without heads."""
    # The operator broadcasts nothing, as Mul does: sizes that have two names may be a number and 1 in some run.
    if not (aligned[0] == 1 or same_size(aligned[0], sizes[0])):
        return None
    if len(sizes) == 3:
        return 0 if same_size(aligned[1], sizes[1]) else None
    for heads, positions in ((1, 2), (2, 1)):
        if aligned[heads] == 1 and same_size(aligned[positions], sizes[positions]):
            return heads
    return None


class Caches:
    """Makes the operands, once for all places of a graph that read the same cosines and sines."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.made: dict[Hashable, tuple[Value, Value]] = {}  # with the source, which must live as long as its id counts
        self.twins: dict[tuple[int, bool], tuple[bool, Value]] = {}

    def operands(
        self, before: Node, layout: Layout, cosines: Value, sines: Value, turned: int, in_turns: bool, wide: bool
    ) -> list[Value] | None:
        """cos_cache and sin_cache, and position_ids where they choose rows of a constant table; None when they cannot be had."""
        both = (cosines, sines)
        if any(last_size(value) != (turned if wide else turned // 2) for value in both):
            return None
        if wide and not all(self._is_twice(value, in_turns, _DEEPEST) for value in both):
            return None
        make = _Maker(self, before, layout, in_turns, wide)
        plain = [make.without_heads(value) for value in both]
        tables = [_gathered(value, layout) for value in plain]
        first, second = tables
        if first is not None and second is not None and first[1] is second[1]:
            return [make.narrow(first[0]), make.narrow(second[0]), first[1]]
        return [make.whole_batch(make.narrow(make.with_batch(value))) for value in plain]

    def _is_twice(self, value: Value | None, in_turns: bool, depth: int) -> bool:
        """Both features of every pair have the same number: halves that are equal, or neighbours."""
        if value is None or not last_size(value):
            return False
        key = (id(value), in_turns)
        if key not in self.twins:
            self.twins[key] = (self._find_twice(value, in_turns, depth), value)
        return self.twins[key][0]

    def _find_twice(self, value: Value, in_turns: bool, depth: int) -> bool:
        array = constant_of(value)
        if array is not None:
            half = array.shape[-1] // 2
            first, second = (array[..., ::2], array[..., 1::2]) if in_turns else (array[..., :half], array[..., half:])
            return first.shape == second.shape and bool(np.array_equal(first, second))
        node = value.producer()
        if node is None or node.domain != "" or depth == 0:
            return False
        if node.op_type in _ELEMENTWISE:
            return all(_is_same_everywhere(each) or self._is_twice(each, in_turns, depth - 1) for each in node.inputs)
        if node.op_type == "Concat":
            rank = rank_of(value) or 1
            last = find_attribute(node, "axis", 0) % rank == rank - 1
            if last:
                return not in_turns and len(node.inputs) == 2 and node.inputs[0] is node.inputs[1]
            return all(self._is_twice(each, in_turns, depth - 1) for each in node.inputs)
        if in_turns and node.op_type == "Reshape" and _repeats_last(node):
            return True
        if node.op_type not in _MOVES or last_size(node.inputs[0]) != last_size(value):
            return False
        return _keeps_last(node) and self._is_twice(node.inputs[0], in_turns, depth - 1)


def _is_same_everywhere(value: Value | None) -> bool:
    return last_size(value) == 1 or scalar_of(value) is not None


def _keeps_last(node: Node) -> bool:
    """The last axis, whose size is the same before and behind the node, is the same one."""
    rank = rank_of(node.inputs[0]) or 1
    if node.op_type == "Transpose":
        order = find_attribute(node, "perm")
        return order is not None and order[-1] == rank - 1
    if node.op_type == "Gather":
        return bool(find_attribute(node, "axis", 0) % rank != rank - 1)
    if node.op_type == "Slice":
        axes = constant_of(node.inputs[3]) if len(node.inputs) > 3 else None
        return axes is not None and all(int(axis) % rank != rank - 1 for axis in axes.reshape(-1))
    if node.op_type in ("Unsqueeze", "Squeeze"):
        wide = max(rank, rank_of(node.outputs[0]) or 1)
        axes = constant_of(node.inputs[1]) if len(node.inputs) > 1 else None
        return axes is not None and all(int(axis) % wide != wide - 1 for axis in axes.reshape(-1))
    return True  # Reshape, Expand and Tile count from the last axis


def _repeats_last(reshape: Node) -> bool:
    """(..., n) with a new axis that repeats each element, joined to (..., 2 n)."""
    pairs = reshape.inputs[0]
    node = pairs.producer() if pairs is not None else None
    if node is None or last_size(pairs) != 2 or (rank_of(pairs) or 0) < 2 or pairs is None or pairs.shape is None:
        return False
    if pairs.shape[-2] * 2 != last_size(reshape.outputs[0]):
        return False
    if node.op_type in ("Expand", "Tile"):
        return last_size(node.inputs[0]) == 1
    if node.op_type != "Concat" or find_attribute(node, "axis", 0) not in (-1, len(pairs.shape) - 1) or len(node.inputs) != 2:
        return False
    makers = [value.producer() if value is not None else None for value in node.inputs]
    sources = [maker.inputs[0] if maker is not None and maker.op_type == "Unsqueeze" else None for maker in makers]
    return last_size(node.inputs[0]) == 1 and (
        node.inputs[0] is node.inputs[1] or (sources[0] is not None and sources[0] is sources[1])
    )


def _gathered(value: Value, layout: Layout) -> tuple[Value, Value] | None:
    """A constant table and the positions, (B, T), whose rows a value is."""
    node = value.producer()
    if node is None or node.op_type != "Gather" or find_attribute(node, "axis", 0) != 0:
        return None
    table, places = node.inputs
    if rank_of(table) != 2 or constant_of(table) is None or table is None or places is None or places.shape is None:
        return None
    fits = len(places.shape) == 2 and same_size(places.shape[0], layout.batch)
    return (table, places) if fits and places.dtype is not None and places.dtype.name == "INT64" else None


class _Maker:
    """One place's operands."""

    def __init__(self, caches: Caches, before: Node, layout: Layout, in_turns: bool, wide: bool) -> None:
        self.caches, self.before, self.layout, self.in_turns, self.wide = caches, before, layout, in_turns, wide

    def without_heads(self, value: Value) -> Value:
        """(B or 1, T, n) or (T, n): without the axis that stands where x has heads."""
        rank, axis = rank_of(value) or 0, self.layout.head_axis
        place = None if axis is None else axis - (self.layout.rank - rank)
        if place is None or place < 0 or (place == 0 and rank == 3):
            return value
        node = value.producer()
        axes = constant_of(node.inputs[1]) if node is not None and node.op_type == "Unsqueeze" else None
        if (
            node is not None
            and axes is not None
            and node.inputs[0] is not None
            and [int(a) % rank for a in axes.reshape(-1)] == [place]
        ):
            return node.inputs[0]
        return self._once(value, ("squeezed", place), lambda: self._squeezed(value, place))

    def with_batch(self, value: Value) -> Value:
        """(T, n) as (1, T, n)."""
        if rank_of(value) != 2:
            return value
        return self._once(
            value, ("batch",), lambda: self._apply("Unsqueeze", value, [1, *_sizes(value)], [0], fold=lambda a: a[None])
        )

    def narrow(self, value: Value) -> Value:
        """One column for each pair."""
        if not self.wide:
            return value
        size = last_size(value)
        assert size is not None
        bounds = ([0], [size], [-1], [2]) if self.in_turns else ([0], [size // 2], [-1], [1])
        taken = slice(0, size, 2) if self.in_turns else slice(0, size // 2)
        sizes = [*_sizes(value)[:-1], size // 2]
        return self._once(value, ("narrow",), lambda: self._apply("Slice", value, sizes, *bounds, fold=lambda a: a[..., taken]))

    def whole_batch(self, value: Value) -> Value:
        """The same rows for every image of the batch of x, written out: the operator does not broadcast."""
        batch, sizes = self.layout.batch, _sizes(value)
        if sizes[0] != 1 or batch == 1:
            return value
        wanted = [batch, *sizes[1:]]
        if isinstance(batch, int):
            return self._once(
                value,
                ("whole", batch),
                lambda: self._apply("Expand", value, wanted, [batch, 1, 1], fold=lambda a: np.repeat(a, batch, 0)),
            )
        name = getattr(batch, "value", None) or id(self.layout.value)
        return self._once(value, ("whole", name), lambda: self._expanded(value, wanted))

    def _squeezed(self, value: Value, place: int) -> Value:
        sizes = _sizes(value)
        del sizes[place]
        return self._apply("Squeeze", value, sizes, [place], fold=lambda a: a.squeeze(place))

    def _expanded(self, value: Value, wanted: list[Any]) -> Value:
        counted = self._add("Shape", [self.layout.value], [1], "rows", {"start": 0, "end": 1})
        counted.type = None
        ones = add_constant(self.caches.graph, np.asarray([1, 1], np.int64), f"{value.name}.ones")
        shape = self._add("Concat", [counted, ones], [3], "shape", {"axis": 0})
        counted.type = shape.type = ones.type
        expanded = self._add("Expand", [value, shape], wanted, "rows")
        expanded.type = value.type
        return expanded

    def _apply(self, operator: str, value: Value, sizes: list[Any], *numbers: list[int], fold: Any = None) -> Value:
        """A node whose other operands are vectors of numbers, or its result where the value is a constant."""
        array = constant_of(value)
        if array is not None and fold is not None:
            return add_constant(self.caches.graph, fold(array), f"{value.name}.{operator.lower()}")
        operands = [add_constant(self.caches.graph, np.asarray(each, np.int64), f"{value.name}.numbers") for each in numbers]
        result = self._add(operator, [value, *operands], sizes, operator.lower())
        result.type = value.type
        return result

    def _add(
        self, operator: str, inputs: list[Value], sizes: list[Any], what: str, attributes: dict[str, Any] | None = None
    ) -> Value:
        name = fresh_name(self.caches.graph, f"{inputs[0].name}.{what}")
        node = make_node(operator, inputs, attributes, output_names=[name], like=self.before)
        node.outputs[0].shape = Shape(sizes)
        self.caches.graph.insert_before(self.before, node)
        return node.outputs[0]

    def _once(self, value: Value, what: tuple[Hashable, ...], make: Any) -> Value:
        key = (id(value), self.in_turns, self.wide, *what)
        if key not in self.caches.made:
            self.caches.made[key] = (make(), value)
        return self.caches.made[key][0]


def _sizes(value: Value) -> list[Any]:
    assert value.shape is not None
    return list(value.shape)
