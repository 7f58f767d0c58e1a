# SPDX-License-Identifier: Apache-2.0
"""Messages between processes; large arrays travel as shared memory without a name.

A message goes through a socket. Arrays of 64 KiB and more are written into a memory file (`memfd_create`) whose descriptor goes
along: the receiver maps it, so the numbers are copied once. Such a file has no name in any folder, and the system frees it with
its last descriptor or mapping, however the processes end: nothing is left in /dev/shm.
"""

from __future__ import annotations

import mmap
import os
import socket
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from penlight.data.collate import map_kind

SMALLEST_SHARED = 65536  # bytes; below this a copy through the socket is as fast
ALIGNMENT = 64
HAS_SHARED_MEMORY = hasattr(os, "memfd_create") and hasattr(socket, "send_fds")


@dataclass(frozen=True)
class _Shared:
    """Stands for an array in the memory file."""

    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]


class Link:
    """One end of a socket between the training process and a worker."""

    def __init__(self, connection: Connection):
        self.connection = connection

    def fileno(self) -> int:
        """Returns the descriptor, so that `multiprocessing.connection.wait` takes a Link."""
        return self.connection.fileno()

    def close(self) -> None:
        """Closes this end."""
        self.connection.close()

    def poll(self) -> bool:
        """Returns whether a message is waiting."""
        return self.connection.poll()

    def send(self, message: Any) -> None:
        """Sends a message: containers, text, numbers and NumPy arrays."""
        arrays: list[tuple[int, np.ndarray]] = []
        total = 0

        def shared(array: np.ndarray) -> Any:
            nonlocal total
            if array.nbytes < SMALLEST_SHARED or array.dtype.hasobject:
                return array
            offset, total = total, total + -(-array.nbytes // ALIGNMENT) * ALIGNMENT
            arrays.append((offset, array))
            return _Shared(offset, array.dtype, array.shape)

        packed = map_kind(message, np.ndarray, shared) if HAS_SHARED_MEMORY else message
        self.connection.send((total, packed))
        if arrays:
            self._send_memory(arrays, total)

    def _send_memory(self, arrays: list[tuple[int, np.ndarray]], total: int) -> None:
        memory = os.memfd_create("penlight-batch")
        try:
            os.ftruncate(memory, total)
            for offset, array in arrays:
                _write(memory, offset, np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
            with socket.socket(fileno=os.dup(self.fileno())) as plain:
                socket.send_fds(plain, [b"m"], [memory])
        finally:
            os.close(memory)

    def receive(self) -> Any:
        """Returns the next message; its large arrays are views of shared memory that lives as long as they do.

        Raises:
            EOFError: the other end has gone.
        """
        total, packed = self.connection.recv()
        if not total:
            return packed
        with socket.socket(fileno=os.dup(self.fileno())) as plain:
            _, descriptors, _, _ = socket.recv_fds(plain, 1, 1)
        if not descriptors:
            raise EOFError
        try:
            memory = mmap.mmap(descriptors[0], total)
        finally:
            os.close(descriptors[0])
        return map_kind(packed, _Shared, lambda part: _view(memory, part))


def _write(memory: int, offset: int, data: memoryview) -> None:
    done = 0
    while done < len(data):  # the system writes at most 2 GiB at once
        done += os.pwrite(memory, data[done:], offset + done)


def _view(memory: mmap.mmap, part: _Shared) -> np.ndarray:
    return np.ndarray(part.shape, part.dtype, memory, part.offset)
