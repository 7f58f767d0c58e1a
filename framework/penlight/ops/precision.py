# SPDX-License-Identifier: Apache-2.0
"""The mark on functions made of several operators that autocast treats as one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from penlight.tape import mode

_F = TypeVar("_F", bound=Callable[..., Any])
MARKED: set[str] = set()  # a test compares them with the lists in penlight.amp


def under_autocast(function: _F) -> _F:
    """Lets autocast choose the type in which the whole function runs, by its name in `penlight.amp.lists`."""
    MARKED.add(function.__name__)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if mode.autocast is None:
            return function(*args, **kwargs)
        return mode.autocast.call(function, args, kwargs)

    return call  # type: ignore[return-value]  # it takes and gives what `function` does
