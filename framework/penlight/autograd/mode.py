# SPDX-License-Identifier: Apache-2.0
"""Whether calls are written to the tape: `no_grad`, `enable_grad`, `set_grad_enabled`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from penlight.tape import mode


class _GradMode:
    """Base of the context managers, which also decorate functions."""

    _enabled = True

    def __enter__(self) -> None:
        self._before = mode.enabled
        mode.enabled = self._enabled

    def __exit__(self, *_: Any) -> None:
        mode.enabled = self._before

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with type(self)() if type(self) is not set_grad_enabled else set_grad_enabled(self._enabled):
                return function(*args, **kwargs)

        return wrapped


class no_grad(_GradMode):
    """Within it (or a function decorated with it) no tape is written."""

    _enabled = False

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        self = super().__new__(cls)
        return self if function is None else self(function)


class enable_grad(_GradMode):
    """Within it the tape is written again, inside a `no_grad`."""


class set_grad_enabled(_GradMode):
    """Within it the tape is written or not, as `mode` says."""

    def __init__(self, mode: bool) -> None:
        self._enabled = bool(mode)


def is_grad_enabled() -> bool:
    """Whether calls are written to the tape in this thread."""
    return mode.enabled
