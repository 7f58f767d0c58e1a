# SPDX-License-Identifier: Apache-2.0
"""Names for the parts of several results: `x.max(1).values`, `penlight.linalg.svd(a).S`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

_F = TypeVar("_F", bound=Callable[..., Any])


class Results(tuple[Any, ...]):
    """A tuple whose parts have names too, as in PyTorch. A type is made for each set of names, faster than a namedtuple."""

    __slots__ = ()
    _fields: tuple[str, ...] = ()

    def __new__(cls, *parts: Any) -> Results:
        return super().__new__(cls, parts)

    def __getattr__(self, name: str) -> Any:
        if name not in self._fields:
            raise AttributeError(f"results: there is no {name!r}, only {', '.join(self._fields)}")
        return self[self._fields.index(name)]

    def __repr__(self) -> str:
        return f"results({', '.join(f'{name}={part!r}' for name, part in zip(self._fields, self, strict=True))})"


def named(*fields: str) -> Callable[[_F], _F]:
    """Gives the parts of the tuples that a function returns these names."""
    kind = type("Results", (Results,), {"__slots__": (), "_fields": fields})

    def decorate(function: _F) -> _F:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            return kind(*result) if type(result) is tuple else result

        return call  # type: ignore[return-value]  # it takes and gives what `function` does

    return decorate
