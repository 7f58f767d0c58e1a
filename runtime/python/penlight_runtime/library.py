# SPDX-License-Identifier: Apache-2.0
"""What this build of the runtime is and can."""

from __future__ import annotations

from typing import NamedTuple

from penlight_runtime import _runtime


class OperatorInfo(NamedTuple):
    """An operator with a kernel, and the inclusive range of since_versions that it serves; domain "" is ai.onnx."""

    domain: str
    name: str
    min_version: int
    max_version: int


def operators() -> list[OperatorInfo]:
    """Returns the operators that this build can run."""
    return [OperatorInfo(*entry) for entry in _runtime.operators()]


def version() -> str:
    """Returns the runtime's version, such as "0.1.0"."""
    number = _runtime.version()
    return f"{number >> 16}.{number >> 8 & 255}.{number & 255}"
