# SPDX-License-Identifier: Apache-2.0
"""The raw part of a .pen file: arrays one behind the other, aligned, with a checksum over all of them."""

from __future__ import annotations

import numpy as np

from penlight.checksum import crc32c
from penlight_export.pieces import SMALL_ARRAY, Piece, blocks_of

ALIGNMENT = 64


class SegmentBuilder:
    """Collects arrays without copying them; the same array object is stored once."""

    def __init__(self) -> None:
        self.chunks: list[Piece] = []
        self.size_bytes = 0
        self._crc = 0

    def add(self, *arrays: np.ndarray) -> tuple[int, int]:
        """Appends arrays right behind each other, little-endian and row-major, the first one at a multiple of 64 bytes.

        Returns offset and size in bytes.
        """
        padding = bytes(-self.size_bytes % ALIGNMENT)
        if padding:
            self._append(padding)
        offset = self.size_bytes + len(padding)
        size = sum(array.nbytes for array in arrays)
        self.size_bytes = offset + size
        for array in arrays:
            self._append(b"".join(blocks_of(array)) if array.nbytes <= SMALL_ARRAY else array)
        return offset, size

    def _append(self, chunk: Piece) -> None:
        self.chunks.append(chunk)
        for block in blocks_of(chunk) if isinstance(chunk, np.ndarray) else (chunk,):
            self._crc = crc32c(block, self._crc)

    @property
    def checksum(self) -> int:
        """CRC32C of everything that was added, padding included."""
        return self._crc
