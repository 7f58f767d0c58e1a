# SPDX-License-Identifier: Apache-2.0
"""The table of composites, filled by `@composite`: operators that are exported as the operators of a function of tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Composite = Callable[..., Any]
_F = TypeVar("_F", bound=Composite)
_COMPOSITES: dict[str, Composite] = {}


def composite(*names: str) -> Callable[[_F], _F]:
    """Registers `function(operator, *tensors) -> Tensor | tuple[Tensor, ...]`, with the results of the operators of these names."""

    def add(function: _F) -> _F:
        for name in names:
            if name in _COMPOSITES:
                raise ValueError(f"composite: '{name}' has two")
            _COMPOSITES[name] = function
        return function

    return add


def find_composite(name: str) -> Composite | None:
    """The composite of an operator, None when there is none."""
    return _COMPOSITES.get(name)


def composite_names() -> frozenset[str]:
    """All operators that have a composite."""
    return frozenset(_COMPOSITES)
