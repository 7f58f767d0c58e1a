# SPDX-License-Identifier: Apache-2.0
"""Lowerings of operators that move elements. Sizes known only when the model runs are 0 and -1 where ONNX allows, else computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penlight_export.graph import Value
from penlight_export.onnx.builder import Builder, symbol_text
from penlight_export.onnx.lowerings.registry import lowering

INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)


@lowering("reshape")
def reshape(b: Builder, operator: Any, x: Value) -> Value:
    """Shapes without a 0 of their own need no computed sizes unless two of them are new."""
    if any(symbol_text(size) is None and size == 0 for size in operator.shape):
        return b.op("Reshape", x, b.sizes(operator.shape), allowzero=1)  # else ONNX takes 0 for "the old size"
    return b.op("Reshape", x, reshape_target(b, b.specs[x].shape, operator.shape))


def reshape_target(b: Builder, before: Sequence[int], after: Sequence[int]) -> Value:
    """The shape input of Reshape: numbers, 0 for a size that stays at its place, -1 for one other size, else a computed vector."""
    if all(symbol_text(size) is None for size in after):
        return b.sizes(after)
    numbers = [_kept(size, before[i] if i < len(before) else None) for i, size in enumerate(after)]
    if numbers.count(None) > 1:
        return b.sizes(after)
    return b.integers([-1 if number is None else number for number in numbers])


def _kept(size: int, before: int | None) -> int | None:
    text = symbol_text(size)
    if text is None:
        return int(size)
    return 0 if before is not None and symbol_text(before) == text else None


@lowering("expand")
def expand(b: Builder, operator: Any, x: Value) -> Value:
    """A size of 1 in Expand's shape keeps the input's size, so that only new SymInts must be computed."""
    before = b.specs[x].shape
    lead = len(operator.shape) - len(before)
    wanted = [1 if d >= lead and _same(before[d - lead], size) else size for d, size in enumerate(operator.shape)]
    return b.op("Expand", x, b.sizes(wanted))


def _same(a: int, b: int) -> bool:
    return symbol_text(a) == symbol_text(b) and int(a) == int(b)


@lowering("unsqueeze", "squeeze")
def squeeze(b: Builder, operator: Any, x: Value) -> Value:
    """The axes are an input; Squeeze without axes would drop every size of 1."""
    if not operator.dims:
        return b.op("Identity", x)
    return b.op("Unsqueeze" if operator.name == "unsqueeze" else "Squeeze", x, b.integers(operator.dims))


@lowering("flip")
def flip(b: Builder, operator: Any, x: Value) -> Value:
    """A slice with step -1 over the whole of each dimension."""
    if not operator.dims:
        return b.op("Identity", x)
    count = len(operator.dims)
    starts, ends, steps = ([number] * count for number in (INT64_MAX, INT64_MIN, -1))
    return b.op("Slice", x, b.integers(starts), b.integers(ends), b.integers(operator.dims), b.integers(steps))


@lowering("pad")
def pad(b: Builder, operator: Any, x: Value) -> Value:
    """ONNX lists all pads before, then all pads after; negative ones crop in both."""
    pads = [before for before, _ in operator.pads] + [after for _, after in operator.pads]
    return b.op("Pad", x, b.sizes(pads), b.like(operator.value, x))
