# SPDX-License-Identifier: Apache-2.0
"""The content of a file in pieces, of which the large ones are a model's weights where they lie in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO, Union

import numpy as np

from penlight.checksum import crc32c
from penlight_export.errors import ChangedWeightsError
from penlight_export.residence import mapping_of, release

Piece = Union[bytes, memoryview, np.ndarray]  # noqa: UP007  evaluated at run time on Python 3.10

LARGEST_IN_MEMORY = 1 << 25  # bytes of a file that engines get in one; larger ones go through a temporary file
SMALL_ARRAY = 1 << 12  # bytes of one that is no longer to copy than to keep track of
_BLOCK_BYTES = 1 << 22  # of an array that has to be brought into rows first, or that a mapped file holds


class Pieces:
    """What a file will hold. Nothing is copied, so the weights must stay as they are until it is written.

    Attributes:
        size_bytes: of the file.
    """

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self._pieces = list(_merged(pieces))
        self.size_bytes = sum(piece.nbytes if isinstance(piece, np.ndarray) else len(piece) for piece in self._pieces)
        self._checksum = 0
        for block in self._blocks():
            self._checksum = _checked(block, self._checksum)

    def __iter__(self) -> Iterator[bytes | memoryview]:
        """The content in order, as it is now."""
        return self._blocks()

    def write(self, file: BinaryIO) -> None:
        """Writes the content.

        Raises:
            ChangedWeightsError: the weights are no longer those that the pieces were made of.
        """
        for block in self._checked():
            file.write(block)

    def join(self) -> bytes:
        """The content in one, which copies the weights. Raises as `write` does."""
        return b"".join([bytes(block) for block in self._checked()])

    def _blocks(self) -> Iterator[bytes | memoryview]:
        for piece in self._pieces:
            yield from blocks_of(piece) if isinstance(piece, np.ndarray) else (piece,)

    def _checked(self) -> Iterator[bytes | memoryview]:
        checksum = 0
        for block in self._blocks():
            checksum = _checked(block, checksum)
            yield block
        if checksum != self._checksum:
            raise ChangedWeightsError("the model's weights have changed since it was exported; export it again and save that")


def _checked(block: bytes | memoryview, checksum: int) -> int:
    """The checksum with what may change until it is written: arrays."""
    return checksum if isinstance(block, bytes) else crc32c(block, checksum)


def blocks_of(array: np.ndarray) -> Iterator[memoryview]:
    """The bytes of an array in row-major order, little-endian; one that lies otherwise is copied a few megabytes at a time."""
    if not array.size:
        return
    little = array.dtype.newbyteorder("<")
    if array.flags.c_contiguous:
        yield from _unmapped(_bytes_of(array.astype(little, copy=False)))
        return
    mapping = mapping_of(array) if min(array.strides) >= 0 else None
    rows = max(1, _BLOCK_BYTES * array.shape[0] // array.nbytes)
    for start in range(0, array.shape[0], rows):
        block = array[start : start + rows]
        yield _bytes_of(np.ascontiguousarray(block).astype(little, copy=False)).data
        if mapping is not None:
            release(block, mapping)


def _bytes_of(dense: np.ndarray) -> np.ndarray:
    return dense.reshape(-1).view(np.uint8)  # the buffer protocol knows no bfloat16


def _unmapped(data: np.ndarray) -> Iterator[memoryview]:
    """The bytes in one; those of a mapped file a few megabytes at a time, which leave memory again when the next are asked for."""
    mapping = mapping_of(data)
    if mapping is None:
        yield data.data
        return
    for start in range(0, data.size, _BLOCK_BYTES):
        block = data[start : start + _BLOCK_BYTES]
        yield block.data
        release(block, mapping)


def _merged(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Neighbours that are bytes become one: a file of many nodes has many of them."""
    run: list[bytes] = []
    for piece in pieces:
        if isinstance(piece, bytes):
            run.append(piece)
            continue
        if run:
            yield b"".join(run)
            run = []
        yield piece
    if run:
        yield b"".join(run)
