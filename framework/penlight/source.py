# SPDX-License-Identifier: Apache-2.0
"""Where in the user's code we are, for error messages and for exported graphs."""

from __future__ import annotations

import functools
import itertools
import linecache
import os
import re
import sys
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

import numpy as np

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_MODELS = os.path.join(_PACKAGE, "models") + os.sep
_LAYERS = os.path.join(_PACKAGE, "nn") + os.sep
_TRACE = os.path.join(_PACKAGE, "tracing.py")
_OTHERS = (_PACKAGE, os.path.dirname(np.__file__) + os.sep)


def user_line() -> str:
    """ "file:line" of the innermost frame outside of the framework; of the layer where only layers of ours are running."""
    place = user_code_place()
    return "" if place is None else place_text(*place)


def user_code_place() -> tuple[str, int] | None:
    """The same as path and number, for those who ask often."""
    frame = _user_frame(sys._getframe(1))
    return None if frame is None else (frame.f_code.co_filename, frame.f_lineno)


def user_code() -> str:
    """The text of that line, without its comment."""
    frame = _user_frame(sys._getframe(1))
    text = "" if frame is None else linecache.getline(frame.f_code.co_filename, frame.f_lineno)
    return re.sub(r"\s\s+#.*", "", text.strip())


def _user_frame(frame: FrameType | None) -> FrameType | None:
    layer: FrameType | None = None
    while frame is not None:
        kind = _kind(frame.f_code.co_filename)
        if kind == _USER:
            return frame
        if kind == _LAYER and layer is None:
            layer = frame
        elif kind == _TRACING and frame.f_code.co_name == "_run":  # beyond it lies the caller of trace()
            break
        frame = frame.f_back
    return layer


_USER, _LAYER, _TRACING, _OTHER = range(4)


@functools.cache
def _kind(path: str) -> int:
    """What the code of a file is."""
    if _is_users(path):
        return _USER
    return _TRACING if path == _TRACE else _LAYER if path.startswith(_LAYERS) else _OTHER


@functools.cache
def _is_users(path: str) -> bool:
    return not path.startswith(_OTHERS) or path.startswith(_MODELS)


def line_of(error: BaseException) -> str:
    """ "file:line" of the user's code that raised an error inside of a trace; "" where none of it ran."""
    found, running, trace = "", False, error.__traceback__
    while trace is not None:
        path = trace.tb_frame.f_code.co_filename
        if path == _TRACE:
            running = True
        elif running and _is_users(path):
            found = place_text(path, trace.tb_lineno)
        trace = trace.tb_next
    return found


def user_line_of(error: BaseException) -> str:
    """ "file:line" of the innermost call into the framework that an error came through."""
    frames = [(trace.tb_frame.f_code.co_filename, trace.tb_lineno) for trace in _chain(error.__traceback__)]
    calls = [a for a, b in itertools.pairwise(frames) if _is_users(a[0]) and not _is_users(b[0])]
    return place_text(*(calls or frames)[-1])


def _chain(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def function_place(function: Any) -> str:
    """ "name (file:line)" of a function; the name of the class of any other callable."""
    inner = getattr(function, "__func__", function)
    code = getattr(inner, "__code__", None)
    return type(function).__name__ if code is None else f"{inner.__name__} ({place_text(code.co_filename, code.co_firstlineno)})"


def place_text(path: str, line: int) -> str:
    """ "file:line", relative where it lies below the folder that we are in, or in the framework."""
    return f"{_shown(path, os.getcwd())}:{line}"


@functools.lru_cache(maxsize=256)
def _shown(path: str, folder: str) -> str:
    """A path as messages and files show it; files must not tell where a machine keeps the framework."""
    if path.startswith(_PACKAGE):
        return os.path.relpath(path, os.path.dirname(os.path.dirname(_PACKAGE)))
    relative = os.path.relpath(path, folder)
    return path if relative.startswith("..") else relative
