# SPDX-License-Identifier: Apache-2.0
"""The raw part of a .pen file: arrays one behind the other, aligned, with a checksum over all of them."""

from __future__ import annotations

import numpy as np

from penlight.checksum import crc32c

ALIGNMENT = 64


class SegmentBuilder:
    """Collects arrays without copying them; the same array object is stored once."""

    def __init__(self) -> None:
        self.chunks: list[memoryview] = []
        self.size_bytes = 0
        self._crc = 0

    def add(self, array: np.ndarray) -> tuple[int, int]:
        """Appends an array, little-endian and row-major, at a multiple of 64 bytes. Returns offset and size in bytes."""
        dense = np.asarray(array, order="C")
        dense = dense.astype(dense.dtype.newbyteorder("<"), copy=False)
        self._append(memoryview(bytes(-self.size_bytes % ALIGNMENT)))
        offset = self.size_bytes
        # Through uint8: the buffer protocol knows no bfloat16.
        self._append(memoryview(dense.reshape(-1).view(np.uint8).data) if dense.size else memoryview(b""))
        return offset, self.size_bytes - offset

    @property
    def checksum(self) -> int:
        """CRC32C of everything that was added, padding included."""
        return self._crc

    def _append(self, data: memoryview) -> None:
        if len(data):
            self.chunks.append(data)
            self.size_bytes += len(data)
            self._crc = crc32c(data, self._crc)
