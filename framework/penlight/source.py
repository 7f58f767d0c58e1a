# SPDX-License-Identifier: Apache-2.0
"""Where in the user's code we are, for error messages and for exported graphs."""

from __future__ import annotations

import functools
import os
import sys
from types import FrameType

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_MODELS = os.path.join(_PACKAGE, "models") + os.sep
_LAYERS = os.path.join(_PACKAGE, "nn") + os.sep
_TRACE = os.path.join(_PACKAGE, "tracing.py")


def user_line() -> str:
    """ "file:line" of the innermost frame outside of the framework; of the layer where only layers of ours are running."""
    frame: FrameType | None = sys._getframe(1)
    layer: FrameType | None = None
    while frame is not None:
        path = frame.f_code.co_filename
        if not path.startswith(_PACKAGE) or path.startswith(_MODELS):
            return _place(frame)
        if path == _TRACE and frame.f_code.co_name == "_run":  # beyond it lies the caller of trace()
            break
        if layer is None and path.startswith(_LAYERS):
            layer = frame
        frame = frame.f_back
    return "" if layer is None else _place(layer)


def _place(frame: FrameType) -> str:
    return f"{_shown(frame.f_code.co_filename, os.getcwd())}:{frame.f_lineno}"


@functools.lru_cache(maxsize=256)
def _shown(path: str, folder: str) -> str:
    """A path as messages show it: relative where it lies below the folder that we are in."""
    relative = os.path.relpath(path, folder)
    return path if relative.startswith("..") else relative
