# SPDX-License-Identifier: Apache-2.0
"""The table of all operators, filled by `@register`."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from typing import TypeVar

from penlight.ops.operator import Operator

_OPERATORS: dict[str, type[Operator]] = {}
_T = TypeVar("_T", bound=type[Operator])


def register(cls: _T) -> _T:
    """Adds an operator class to the table under its name.

    Raises:
        ValueError: two classes claim one name.
    """
    if not cls.name or cls.name in _OPERATORS:
        raise ValueError(f"register: {cls.__qualname__} needs a name of its own, came {cls.name!r}")
    _OPERATORS[cls.name] = cls
    return cls


def operators() -> dict[str, type[Operator]]:
    """All operators by name, in the order of their declaration."""
    _import_all()
    return dict(_OPERATORS)


@functools.cache
def _import_all() -> None:
    """Imports the modules of this package that nobody has asked for yet: layers come with penlight.nn."""
    package = importlib.import_module("penlight.ops")
    for module in pkgutil.iter_modules(package.__path__):
        if module.name != "__main__":
            importlib.import_module(f"penlight.ops.{module.name}")
