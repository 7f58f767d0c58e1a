# SPDX-License-Identifier: Apache-2.0
"""Keeps weights of mapped files out of memory: their pages go as soon as they were read, since the file still has them.

Pages of a mapped file count as memory of the process until the system needs room, or until it is told that they are not wanted.
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np


def mapping_of(array: np.ndarray) -> mmap.mmap | None:
    """The read-only map of a file that an array lies in; None for every other array, and where pages cannot be given back."""
    holder: Any = array
    while isinstance(holder, (np.ndarray, memoryview)):
        holder = holder.base if isinstance(holder, np.ndarray) else holder.obj
    if isinstance(holder, mmap.mmap) and hasattr(holder, "madvise") and memoryview(holder).readonly:
        return holder
    return None  # Windows has no madvise; a map that can be written may hold what no file has


def release(array: np.ndarray, mapping: mmap.mmap) -> None:
    """Gives the pages of an array, from its first to its last element, back to the system; whoever reads it again reads the file.

    Args:
        array: at least one element, no negative strides.
        mapping: what `mapping_of` says of it.
    """
    start = array.ctypes.data - np.frombuffer(mapping, np.uint8, 1).ctypes.data
    first = start - start % mmap.PAGESIZE
    size = array.itemsize + sum((count - 1) * stride for count, stride in zip(array.shape, array.strides, strict=True))
    mapping.madvise(mmap.MADV_DONTNEED, first, start + size - first)
