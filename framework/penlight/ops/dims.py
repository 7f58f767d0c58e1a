# SPDX-License-Identifier: Apache-2.0
"""Dimension arguments: negative ones counted from the end, checked, as tuples."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from penlight.errors import ArgumentError


def one(operator: str, dim: int, ndim: int) -> int:
    """The dimension as a number in [0, ndim).

    Raises:
        ArgumentError: it lies outside [-ndim, ndim).
    """
    if not -max(ndim, 1) <= dim < max(ndim, 1):
        raise ArgumentError(
            f"{operator}: dim {dim} is out of range for {ndim} dimensions; expected {-max(ndim, 1)}..{max(ndim, 1) - 1}"
        )
    return int(dim) % max(ndim, 1)


def many(operator: str, dim: int | Iterable[int] | None, ndim: int) -> tuple[int, ...]:
    """The dimensions in growing order; all of them for None.

    Raises:
        ArgumentError: one is out of range or named twice.
    """
    if dim is None:
        return tuple(range(ndim))
    if ndim == 0:
        return ()
    dims = tuple(sorted(one(operator, d, ndim) for d in ((dim,) if isinstance(dim, int) else dim)))
    if len(set(dims)) != len(dims):
        raise ArgumentError(f"{operator}: a dimension is named twice in dim={dim}")
    return dims


def shape_arguments(sizes: tuple[Any, ...]) -> tuple[int, ...]:
    """The shape of `f(2, 3)` and of `f((2, 3))`."""
    if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)):
        return tuple(sizes[0])
    return sizes


def pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    """(n, n) of n; pairs stay; nothing is (0, 0)."""
    if isinstance(value, int):
        return value, value
    return (int(value[0]), int(value[-1])) if value else (0, 0)
