# SPDX-License-Identifier: Apache-2.0
"""Follows sizes through Shape, Gather, Concat and the like, and writes down what is known before the model runs.

A chain whose result is known becomes a constant; a Reshape to sizes of which all but one are known gets 0 (copy) and -1 (the rest).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from penlight_export.graph import (
    Model,
    Node,
    Shape,
    SymbolicDim,
    Value,
    add_constant,
    all_nodes,
    constant_of,
    find_attribute,
    graph_of,
)
from penlight_export.passes.base import Pass, require_opset
from penlight_export.passes.fold_constants import replace_by_constants

Size = int | SymbolicDim | None
Sizes = dict[Value, list[Size]]

_LONGEST = 64  # entries; shapes have at most 8, lists of axes or pads a few more


class FoldShapes(Pass):
    """One walk over the nodes. Needs inferred shapes; without them it changes nothing."""

    name = "shape folding"

    def requires(self, model: Model) -> None:
        """Axes, bounds and the like are inputs, not attributes."""
        require_opset(model, 13, self.name)

    def run(self, model: Model) -> int:
        """Returns the number of nodes that became constant or got a constant shape."""
        known: Sizes = {}
        changes = 0
        for node in tuple(all_nodes(model.graph)):
            if node.domain != "":
                continue
            if node.op_type == "Reshape":
                changes += _fix_reshape(node, known)
                _refine_reshape(node)
            elif node.op_type == "Transpose":
                _refine_transpose(node)
            rule = _RULES.get(node.op_type)
            sizes = rule(node, known) if rule is not None else None
            if sizes is None or len(sizes) > _LONGEST:
                continue
            if all(isinstance(size, int) for size in sizes) and _is_integer_list(node.outputs[0]):
                changes += _make_constant(node, sizes)
            else:
                known[node.outputs[0]] = sizes
        return changes


def _is_integer_list(value: Value) -> bool:
    return value.dtype is not None and value.dtype.name == "INT64" and value.shape is not None and len(value.shape) <= 1


def _make_constant(node: Node, sizes: Sequence[Size]) -> int:
    rank = len(node.outputs[0].shape or ())
    array = np.asarray(sizes, np.int64)
    replace_by_constants(node, [array if rank else array.reshape(())])
    return 1


def _sizes_of(value: Value | None, known: Sizes) -> list[Size] | None:
    """Entries of an integer vector or scalar, each a number, a named size or None."""
    if value is None:
        return None
    if value in known:
        return known[value]
    if value.const_value is None or value.const_value.size > _LONGEST or value.dtype is None or not value.dtype.is_integer():
        return None
    array = constant_of(value)
    return None if array is None or array.ndim > 1 else [int(entry) for entry in array.reshape(-1)]


def _shape(node: Node, known: Sizes) -> list[Size] | None:
    x = node.inputs[0]
    if x is None or x.shape is None:
        return None
    end = find_attribute(node, "end")
    return [_size(dim) for dim in x.shape][find_attribute(node, "start", 0) : end]


def _size(dim: int | SymbolicDim) -> Size:
    if isinstance(dim, int):
        return dim
    return dim if dim.value is not None else None  # a nameless size equals nothing


def _gather(node: Node, known: Sizes) -> list[Size] | None:
    sizes = _sizes_of(node.inputs[0], known)
    indices = constant_of(node.inputs[1])
    if sizes is None or indices is None or indices.ndim > 1 or find_attribute(node, "axis", 0) not in (0, -1):
        return None
    flat = [int(index) for index in indices.reshape(-1)]
    return [sizes[index] for index in flat] if all(-len(sizes) <= index < len(sizes) for index in flat) else None


def _slice(node: Node, known: Sizes) -> list[Size] | None:
    sizes = _sizes_of(node.inputs[0], known)
    bounds = [constant_of(value) for value in node.inputs[1:]]
    if sizes is None or any(bound is None or bound.size != 1 for bound in bounds):
        return None
    start, end, axis, step = ([int(bound.reshape(-1)[0]) for bound in bounds if bound is not None] + [0, 1][len(bounds) - 2 :])[:4]
    return sizes[start:end:step] if axis in (0, -1) and step > 0 else None


def _concat(node: Node, known: Sizes) -> list[Size] | None:
    parts = [_sizes_of(value, known) for value in node.inputs]
    return None if any(part is None for part in parts) else [size for part in parts if part is not None for size in part]


def _same(node: Node, known: Sizes) -> list[Size] | None:
    return _sizes_of(node.inputs[0], known)


def _arithmetic(compute: Callable[[int, int], int | None]) -> Callable[[Node, Sizes], list[Size] | None]:
    def rule(node: Node, known: Sizes) -> list[Size] | None:
        """Entry by entry; a result with a named size in it stays unknown."""
        a, b = (_sizes_of(value, known) for value in node.inputs)
        if a is None or b is None:
            return None
        length = max(len(a), len(b))
        if {len(a), len(b)} - {1, length}:
            return None
        pairs = zip(a * (length // len(a)), b * (length // len(b)), strict=True)
        return [compute(x, y) if isinstance(x, int) and isinstance(y, int) else None for x, y in pairs]

    return rule


def _fix_reshape(node: Node, known: Sizes) -> int:
    """Turns a computed shape into a constant one. Returns 1 when it did."""
    x, shape = node.inputs
    sizes = known.get(shape) if shape is not None else None
    if x is None or sizes is None or find_attribute(node, "allowzero", 0):
        return 0
    before = list(x.shape) if x.shape is not None else []
    numbers = [_copy_or_number(size, before[i] if i < len(before) else None) for i, size in enumerate(sizes)]
    if 0 in sizes or numbers.count(None) + numbers.count(-1) > 1:
        return 0
    constant = np.asarray([-1 if number is None else number for number in numbers], np.int64)
    node.replace_input_with(1, add_constant(graph_of(node), constant, f"{node.outputs[0].name}.shape"))
    return 1


def _refine_reshape(node: Node) -> None:
    """Writes down what the constant sizes say about the result: 0 is a copy, and -1 what the copied sizes leave over."""
    x, target = node.inputs[0], constant_of(node.inputs[1])
    if x is None or x.shape is None or target is None or find_attribute(node, "allowzero", 0):
        return
    before, sizes = list(x.shape), [int(size) for size in target.reshape(-1)]
    if any(size == 0 and axis >= len(before) for axis, size in enumerate(sizes)):
        return
    copied = [axis for axis, size in enumerate(sizes) if size == 0]
    left = [size for axis, size in enumerate(before) if axis not in copied]
    numbers = [int(size) for size in left if isinstance(size, int)]
    written = math.prod([size for size in sizes if size > 0])
    rest = math.prod(numbers) // written if len(numbers) == len(left) and written > 0 else None
    known = [before[axis] if size == 0 else rest if size == -1 else size for axis, size in enumerate(sizes)]
    _refine(node.outputs[0], known)


def _refine_transpose(node: Node) -> None:
    x, order = node.inputs[0], find_attribute(node, "perm")
    if x is not None and x.shape is not None and order is not None and sorted(order) == list(range(len(x.shape))):
        _refine(node.outputs[0], [x.shape[axis] for axis in order])


def _refine(value: Value, sizes: Sequence[Size]) -> None:
    """Puts numbers, and names of the model's own, in the place of unknown sizes."""
    old = list(value.shape) if value.shape is not None and len(value.shape) == len(sizes) else [None] * len(sizes)
    value.shape = Shape([a if isinstance(a, int) or b is None else b for a, b in zip(old, sizes, strict=True)])


def _copy_or_number(size: Size, before: int | SymbolicDim | None) -> int | None:
    if isinstance(size, int):
        return size
    return 0 if size is not None and isinstance(before, SymbolicDim) and before.value == size.value else None


_RULES: dict[str, Callable[[Node, Sizes], list[Size] | None]] = {
    "Shape": _shape,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    **dict.fromkeys(("Unsqueeze", "Squeeze", "Identity"), _same),
    "Add": _arithmetic(lambda a, b: a + b),
    "Sub": _arithmetic(lambda a, b: a - b),
    "Mul": _arithmetic(lambda a, b: a * b),
    # ONNX divides integers towards zero; sizes are not negative, other signs stay unknown.
    "Div": _arithmetic(lambda a, b: a // b if a >= 0 and b > 0 else None),
}
