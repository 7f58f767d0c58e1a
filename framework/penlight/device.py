# SPDX-License-Identifier: Apache-2.0
"""Devices: where the storage of a tensor lives."""

from __future__ import annotations

from typing import Any

from penlight.errors import ArgumentError

_TYPES = ("cpu", "cuda")


class device:
    """A device such as `device("cpu")` or `device("cuda:0")`; equal when type and index are equal.

    Raises:
        ArgumentError: the name is neither `cpu`, `cuda` nor `cuda:INDEX`.
    """

    __slots__ = ("index", "type")

    type: str
    index: int | None

    def __init__(self, name: str | device, index: int | None = None) -> None:
        kind, _, number = str(name).partition(":")
        if kind not in _TYPES or (number and not number.isdigit()):
            raise ArgumentError(f'device: expected "cpu", "cuda" or "cuda:INDEX", came {name!r}')
        self.type = kind
        self.index = int(number) if number else index if index is not None else (0 if kind == "cuda" else None)

    def __eq__(self, other: Any) -> bool:
        if isinstance(other, str):
            other = device(other)
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self) -> str:
        return f"device({str(self)!r})"


cpu = device("cpu")
