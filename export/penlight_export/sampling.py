# SPDX-License-Identifier: Apache-2.0
"""Inputs for a model whose author gave none: sizes for its named dimensions, and numbers that it can digest."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from penlight_export.engines import Arrays, Port
from penlight_export.errors import EngineError
from penlight_export.graph import Model, Node, Value, find_attribute, static_shape

# Small first; images that are pooled several times, and sequences with windows, need larger ones.
_CANDIDATES = ((2, 3), (8, 5), (16, 24), (32, 48), (64, 96), (224, 256))


_LARGEST = 1 << 24  # elements of one random input


def candidate_sizes(ports: Sequence[Port]) -> Iterator[list[dict[str, int]]]:
    """Pairs of size assignments to try, until a model accepts one: first dimensions stay small, others grow."""
    names = dimension_names(ports)
    if not names:
        yield [{}]
        return
    for first, second in _CANDIDATES:
        yield [{name: (min(size, 3) if is_batch else size) for name, is_batch in names.items()} for size in (first, second)]


def dimension_names(ports: Sequence[Port]) -> dict[str, bool]:
    """Sizes that vary, by name: whether each is an input's first one. Nameless ones get the name of their place."""
    names: dict[str, bool] = {}
    for port in ports:
        for axis, size in enumerate(port.shape):
            if isinstance(size, str):
                name = dimension_name(port, axis)
                names[name] = names.get(name, True) and axis == 0
    return names


def dimension_name(port: Port, axis: int) -> str:
    """The name of a size that varies; the same that the .pen writer gives to nameless ones."""
    size = port.shape[axis]
    assert isinstance(size, str)
    return size if size not in ("", "?") else f"{port.name}_{axis}"


def shape_at(port: Port, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """The shape with its names replaced."""
    return tuple(size if isinstance(size, int) else sizes[dimension_name(port, axis)] for axis, size in enumerate(port.shape))


def make_inputs(ports: Sequence[Port], sizes: Mapping[str, int], bounds: Mapping[str, int] | None = None, seed: int = 0) -> Arrays:
    """Random inputs: normal floating-point numbers, integers from 0 below their bound (2 when unknown), bools, known strings."""
    rng = np.random.default_rng(seed)
    arrays: Arrays = {}
    for port in ports:
        shape = shape_at(port, sizes)
        if math.prod(shape) > _LARGEST or min(shape, default=0) < 0:
            raise EngineError(f"input '{port.name}' of shape {list(shape)} is too large for random data; pass data to verify with")
        if port.dtype.kind in "iu":
            arrays[port.name] = rng.integers(0, (bounds or {}).get(port.name, 2), shape).astype(port.dtype)
        elif port.dtype.kind == "b":
            arrays[port.name] = rng.integers(0, 2, shape).astype(bool)
        elif port.dtype.kind == "O":
            texts = np.array(port.texts or ("", "a", "Two words"), object)
            arrays[port.name] = texts[rng.integers(0, len(texts), shape)]
        else:
            arrays[port.name] = rng.standard_normal(shape).astype(port.dtype)
    return arrays


def with_short_texts(ports: Sequence[Port], most_bytes: int) -> tuple[Port, ...]:
    """Random strings that an input of so many bytes takes."""
    return tuple(
        port._replace(texts=tuple(text for text in port.texts if len(text.encode()) <= most_bytes) or ("",)) if port.texts else port
        for port in ports
    )


def integer_bounds(model: Model) -> dict[str, int]:
    """How large the entries of integer inputs may be: the size of the table that they index, where that is known."""
    bounds: dict[str, int] = {}
    for value in model.graph.inputs:
        if value.dtype is not None and value.dtype.is_integer() and value.name:
            found = list(_table_sizes(value))
            bounds[value.name] = max(1, min(found)) if found else 2
    return bounds


_TRANSPARENT = {"Cast", "Reshape", "Unsqueeze", "Squeeze", "Identity", "Flatten", "Transpose", "Slice", "Expand", "Concat"}


def _table_sizes(value: Value) -> Iterator[int]:
    """Sizes of the dimensions that a value indexes, through nodes that only move its elements."""
    pending, seen = [value], {value}
    while pending:
        for node, position in pending.pop().uses():
            size = _indexed_size(node, position)
            if size is not None:
                yield size
            elif position == 0 and node.op_type in _TRANSPARENT:
                for output in node.outputs:
                    if output not in seen:
                        seen.add(output)
                        pending.append(output)


def _indexed_size(node: Node, position: int) -> int | None:
    if node.op_type in ("Gather", "GatherElements") and position == 1:
        shape = static_shape(node.inputs[0])
        return None if shape is None else shape[find_attribute(node, "axis", 0)]
    return None
