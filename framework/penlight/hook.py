# SPDX-License-Identifier: Apache-2.0
"""The handle of a registered hook."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class HookHandle:
    """Takes a hook out again, by `remove()`, by a call, or at the end of a `with` block; a second time does nothing."""

    def __init__(self, hooks: list[Callable[..., Any]], hook: Callable[..., Any]) -> None:
        self._hooks, self._hook = hooks, hook

    def remove(self) -> None:
        """Takes the hook out."""
        self._hooks[:] = [hook for hook in self._hooks if hook is not self._hook]

    def __call__(self) -> None:
        self.remove()

    def __enter__(self) -> HookHandle:
        return self

    def __exit__(self, *_: Any) -> None:
        self.remove()
