# SPDX-License-Identifier: Apache-2.0
"""Where in the user's code we are, for error messages and for exported graphs."""

from __future__ import annotations

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
    layer = ""
    while frame is not None:
        path = frame.f_code.co_filename
        if not path.startswith(_PACKAGE) or path.startswith(_MODELS):
            return _place(frame)
        if path == _TRACE and frame.f_code.co_name == "_run":  # beyond it lies the caller of trace()
            break
        if not layer and path.startswith(_LAYERS):
            layer = _place(frame)
        frame = frame.f_back
    return layer


def _place(frame: FrameType) -> str:
    path = frame.f_code.co_filename
    relative = os.path.relpath(path)
    return f"{path if relative.startswith('..') else relative}:{frame.f_lineno}"
