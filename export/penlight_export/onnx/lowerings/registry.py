# SPDX-License-Identifier: Apache-2.0
"""The table of lowerings, filled by `@lowering`; operators that are one-to-one need none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Lowering = Callable[..., Any]
_F = TypeVar("_F", bound=Lowering)
_LOWERINGS: dict[str, Lowering] = {}


def lowering(*names: str) -> Callable[[_F], _F]:
    """Registers `function(builder, operator, *inputs) -> Value | tuple[Value, ...]` for operators of these names."""

    def add(function: _F) -> _F:
        for name in names:
            if name in _LOWERINGS:
                raise ValueError(f"lowering: '{name}' has two")
            _LOWERINGS[name] = function
        return function

    return add


def find_lowering(name: str) -> Lowering | None:
    """The lowering of an operator, None when there is none."""
    return _LOWERINGS.get(name)


def lowering_names() -> frozenset[str]:
    """All operators that have a lowering of their own."""
    return frozenset(_LOWERINGS)
