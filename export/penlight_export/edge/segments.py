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

    def add(self, array: np.ndarray) -> tuple[int, int]:
        """Appends an array, little-endian and row-major, at a multiple of 64 bytes. Returns offset and size in bytes."""
        padding = bytes(-self.size_bytes % ALIGNMENT)
        if padding:
            self.chunks.append(padding)
            self._crc = crc32c(padding, self._crc)
        offset = self.size_bytes + len(padding)
        self.size_bytes = offset + array.nbytes
        chunk = b"".join(blocks_of(array)) if array.nbytes <= SMALL_ARRAY else array
        self.chunks.append(chunk)
        for block in blocks_of(chunk) if isinstance(chunk, np.ndarray) else (chunk,):
            self._crc = crc32c(block, self._crc)
        return offset, array.nbytes

    @property
    def checksum(self) -> int:
        """CRC32C of everything that was added, padding included."""
        return self._crc
