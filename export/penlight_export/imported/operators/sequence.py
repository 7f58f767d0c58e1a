# SPDX-License-Identifier: Apache-2.0
"""Sequences are lists, optionals are values or None."""

from __future__ import annotations

from typing import Any

import numpy as np

import penlight as pl
from penlight_export.imported.registry import operator
from penlight_export.imported.values import as_known, as_tensor, numbers

Tensor = pl.Tensor


def _position(index: Any, default: int) -> int:
    return default if index is None else int(np.asarray(as_known(index)).reshape(()))


@operator("SequenceEmpty", raw=True)
def empty(*, dtype: int = 1) -> Any:
    """Nothing yet."""
    return []


@operator("SequenceConstruct", raw=True)
def construct(*elements: Any) -> Any:
    """Of tensors."""
    return list(elements)


@operator("SequenceInsert", raw=True)
def insert(sequence: Any, element: Any, index: Any = None) -> Any:
    """At the end by default."""
    place = _position(index, len(sequence))
    place = place + len(sequence) if place < 0 else place
    return [*sequence[:place], element, *sequence[place:]]


@operator("SequenceErase", raw=True)
def erase(sequence: Any, index: Any = None) -> Any:
    """The last by default."""
    place = _position(index, -1) % len(sequence)
    return [*sequence[:place], *sequence[place + 1 :]]


@operator("SequenceAt", raw=True)
def at(sequence: Any, index: Any) -> Any:
    """From the start or the end."""
    return sequence[_position(index, 0)]


@operator("SequenceLength", raw=True)
def length(sequence: Any) -> Any:
    """Known without running."""
    return np.asarray(len(sequence), np.int64)


@operator("ConcatFromSequence", raw=True)
def concat(sequence: Any, *, axis: int, new_axis: int = 0) -> Any:
    """One behind the other, or along a new dimension."""
    return (pl.stack if new_axis else pl.cat)([as_tensor(value) for value in sequence], axis)


@operator("SplitToSequence", raw=True)
def split(x: Any, parts: Any = None, *, axis: int = 0, keepdims: int = 1) -> Any:
    """Into single slices, parts of one size, or parts of given sizes."""
    x = as_tensor(x)
    if parts is None:
        pieces = pl.split(x, 1, axis)
        return list(pieces) if keepdims else [piece.squeeze(axis) for piece in pieces]
    sizes = as_known(parts)
    return list(pl.split(x, int(sizes) if np.ndim(sizes) == 0 else numbers(sizes), axis))


@operator("SequenceMap", raw=True)
def sequence_map(first: Any, *others: Any, body: Any, node: Any) -> Any:
    """A body for each element; tensors beside the sequence are the same for all."""
    rows = [
        body.run([element, *(other[k] if isinstance(other, list) else other for other in others)], node.scope)
        for k, element in enumerate(first)
    ]
    return tuple([row[k] for row in rows] for k in range(len(body.outputs)))


@operator("Optional", raw=True)
def optional(value: Any = None, *, type: Any = None) -> Any:
    """A value, or none."""
    return value


@operator("OptionalHasElement", raw=True)
def has_element(value: Any = None) -> Any:
    """Whether there is one."""
    return np.asarray(value is not None)


@operator("OptionalGetElement", raw=True)
def get_element(value: Any) -> Any:
    """The value."""
    if value is None:
        raise ValueError("the optional has no value")
    return value
