# SPDX-License-Identifier: Apache-2.0
"""Nested tuples, lists and dicts as a flat list and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Rebuild = Callable[[Sequence[Any]], Any]


def flatten(value: Any) -> tuple[list[Any], Rebuild]:
    """Returns the leaves of a nested value in order, and a function that builds the same nesting from other leaves."""
    leaves: list[Any] = []
    plan = _plan(value, leaves)

    def rebuild(others: Sequence[Any]) -> Any:
        if len(others) != len(leaves):
            raise ValueError(f"rebuild: expected {len(leaves)} leaves, came {len(others)}")
        return plan(others)

    return leaves, rebuild


def flatten_tensors(value: Any) -> tuple[list[Any], Rebuild, str]:
    """As `flatten`, with None as a part of the nesting and not a leaf; returns the nesting as text too: "(*, {'h': *})"."""
    leaves, rebuild = flatten(value)
    places = [k for k, leaf in enumerate(leaves) if leaf is not None]

    def rebuild_tensors(others: Sequence[Any]) -> Any:
        if len(others) != len(places):
            raise ValueError(f"rebuild: expected {len(places)} leaves, came {len(others)}")
        full: list[Any] = [None] * len(leaves)
        for place, other in zip(places, others, strict=True):
            full[place] = other
        return rebuild(full)

    return [leaves[k] for k in places], rebuild_tensors, _nesting(value)


def _nesting(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {_nesting(part)}" for key, part in value.items()) + "}"
    if isinstance(value, (tuple, list)):
        parts = ", ".join(map(_nesting, value))
        named = type(value).__name__ if hasattr(value, "_fields") else ""
        return f"[{parts}]" if isinstance(value, list) else f"{named}({parts}{',' if len(value) == 1 else ''})"
    return "*"


def _plan(value: Any, leaves: list[Any]) -> Rebuild:
    if isinstance(value, dict):
        parts = {key: _plan(part, leaves) for key, part in value.items()}
        return lambda others: type(value)((key, part(others)) for key, part in parts.items())
    if isinstance(value, (tuple, list)):
        items = [_plan(part, leaves) for part in value]
        if hasattr(value, "_fields"):  # a named tuple takes its parts one by one
            return lambda others: type(value)(*(item(others) for item in items))
        return lambda others: type(value)(item(others) for item in items)
    position = len(leaves)
    leaves.append(value)
    return lambda others: others[position]
