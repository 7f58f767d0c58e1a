# SPDX-License-Identifier: Apache-2.0
"""Tells a listener what an export or a conversion is doing, for progress bars."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# In the order in which they come; a conversion starts at the second.
STAGES = ("trace", "optimize", "write", "compare")

Listener = Callable[[str], None]

_listener: ContextVar[Listener | None] = ContextVar("penlight_export_stage", default=None)


def stage(name: str) -> None:
    """Says that a stage begins."""
    assert name in STAGES
    listener = _listener.get()
    if listener is not None:
        listener(name)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Lets `listener` hear of the stages of everything that runs inside, in this thread."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
