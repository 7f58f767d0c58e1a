# SPDX-License-Identifier: Apache-2.0
"""Example inputs at other sizes of their dynamic dimensions."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from penlight.symbolic import parse_expression
from penlight_export.engines import Arrays, Port


def sizes_in(ports: Sequence[Port], arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
    """The dynamic dimensions of these arrays by name; sizes derived from others, such as "2*batch", are left out."""
    return {
        size: arrays[p.name].shape[axis]
        for p in ports
        for axis, size in enumerate(p.shape)
        if isinstance(size, str) and is_name(size)
    }


def is_name(size: str) -> bool:
    """Whether a dynamic size is a plain name, not derived from names; a foreign file may have any text as a name."""
    try:
        return set(parse_expression(size).names) == {size}
    except ValueError:
        return True


def size_at(size: int | str, sizes: Mapping[str, int]) -> int:
    """A size of a shape, with the names bound to numbers."""
    if not isinstance(size, str):
        return size
    return sizes[size] if size in sizes else int(parse_expression(size).evaluate(sizes))


def other_sizes(sizes: Mapping[str, int], dims: Mapping[str, Any] | None = None) -> Iterator[dict[str, int]]:
    """One more in every dimension, or where a model does not allow it one less, double or half; at most 32 combinations.

    Args:
        dims: ranges (`penlight.Dim`) by name, which are kept to.
    """
    choices = []
    for name, size in sizes.items():
        found = [size + 1, *([size - 1] if size > 1 else []), 2 * size, *([size // 2] if size > 3 else [])]
        dim = (dims or {}).get(name)
        choices.append([choice for choice in found if dim is None or dim.allows(choice)] or [size])
    for chosen in itertools.islice(itertools.product(*choices), 32 if sizes else 0):
        yield dict(zip(sizes, chosen, strict=True))


def smallest_sizes(sizes: Mapping[str, int], dims: Mapping[str, Any] | None = None) -> Iterator[dict[str, int]]:
    """The least size of every dimension, at least 1, since programs branch there; then that of each dimension alone.

    Args:
        dims: as in `other_sizes`.
    """
    least = {name: max(1, dims[name].min) if dims and name in dims else 1 for name in sizes}
    alone = [{**sizes, name: size} for name, size in least.items()] if len(sizes) > 1 else []
    yield from (each for each in (least, *alone) if each != dict(sizes))


def resize(ports: Sequence[Port], arrays: Mapping[str, np.ndarray], sizes: Mapping[str, int]) -> Arrays:
    """The same numbers repeated or cut, in reversed order, at other sizes."""
    result: Arrays = {}
    for port in ports:
        array = arrays[port.name]
        shape = tuple(size_at(size, sizes) for size in port.shape)
        result[port.name] = (
            np.resize(array.reshape(-1)[::-1], shape).astype(array.dtype) if array.size else np.zeros(shape, array.dtype)
        )
    return result


def golden_sample(ports: Sequence[Port], arrays: Mapping[str, np.ndarray], dims: Mapping[str, Any] | None = None) -> Arrays:
    """The example with one entry in dynamic first dimensions, since the sample travels in every copy of the file."""
    first = {port.shape[0] for port in ports if port.shape and isinstance(port.shape[0], str)}
    sizes = sizes_in(ports, arrays)
    cut = sizes | {name: 1 for name in first & set(sizes) if (dims or {}).get(name) is None or dims[name].allows(1)}  # type: ignore[index]  # a name found there
    index = {p.name: tuple(slice(0, size_at(size, cut)) for size in p.shape) for p in ports}
    return {port.name: np.array(arrays[port.name][index[port.name]], order="C") for port in ports}
