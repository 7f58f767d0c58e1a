# SPDX-License-Identifier: Apache-2.0
"""Memory of the device and pinned memory of the host: counts, transfers that do not wait, and what to say when none is left."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from penlight.errors import OutOfMemoryError
from penlight.layout import dims_in_memory

Allocator = Callable[[int], Any]


class Pinned:
    """Memory of the host that the device copies from by itself; arrays on it keep it alive."""

    def __init__(self, xp: Any, size: int) -> None:
        self._memory = xp.cuda.alloc_pinned_memory(max(size, 1))
        self.__array_interface__ = {"data": (self._memory.ptr, False), "shape": (size,), "typestr": "|u1", "version": 3}


def pinned_copy(xp: Any, array: np.ndarray) -> np.ndarray:
    """A C-contiguous copy of a host array in pinned memory."""
    result = np.asarray(Pinned(xp, array.nbytes)).view(array.dtype).reshape(array.shape)
    result[...] = array
    return result


def is_pinned(array: Any) -> bool:
    """Whether a host array lies in memory of `pinned_copy`."""
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(array, Pinned)


class Memory:
    """The device's memory as one backend sees it.

    Attributes:
        peak_bytes: the most that was held since the last `start_peak`; None before the first.
    """

    def __init__(self, xp: Any) -> None:
        self._xp = xp
        self._in_flight: deque[tuple[Any, np.ndarray]] = deque()
        self._hook: Any = None

    def install(self) -> None:
        """Has allocations fail with our error; the pool stays the one that is set."""
        gpu = self._xp.cuda
        gpu.set_allocator(self.guarded(gpu.get_allocator()))

    def guarded(self, allocator: Allocator) -> Allocator:
        """An allocator that says what was asked for and what is there when memory runs out."""
        gone = self._xp.cuda.memory.OutOfMemoryError

        def allocate(size: int) -> Any:
            try:
                return allocator(size)
            except gone as error:
                raise OutOfMemoryError(self._explained(size)) from error

        return allocate

    def copy_ahead(self, array: np.ndarray) -> Any:
        """The device's copy of a pinned array, made in the order of the current stream while the host goes on."""
        stream = self._xp.cuda.get_current_stream()
        result = self._xp.empty(array.shape, array.dtype)
        result.set(array, stream=stream)
        while self._in_flight and self._in_flight[0][0].done:
            self._in_flight.popleft()
        self._in_flight.append((stream.record(), array))  # the device may still be reading it
        return result

    def copy_across(self, array: Any, index: int) -> Any:
        """The copy on another device, made in the order of the current streams of both.

        The copy waits for what the first device has queued; the first device waits for the copy, so that memory given back there
        is not written to before it was read.
        """
        gpu = self._xp.cuda
        dims = dims_in_memory(array) or tuple(range(array.ndim))
        with gpu.Device(array.data.device_id):
            outer = gpu.get_current_stream()
            plain = array.transpose(dims)
            plain = plain if plain.flags.c_contiguous else plain.copy()
            is_made = outer.record()
        with gpu.Device(index):
            inner = gpu.get_current_stream()
            inner.wait_event(is_made)
            result = self._xp.asarray(plain)
            is_read = inner.record()
        outer.wait_event(is_read)
        return result.transpose(sorted(range(len(dims)), key=lambda d: dims[d]))

    def used_bytes(self) -> int:
        """Bytes that arrays hold."""
        return int(self._xp.get_default_memory_pool().used_bytes())

    def reserved_bytes(self) -> int:
        """Bytes of the device that the pool holds, for arrays or for reuse."""
        return int(self._xp.get_default_memory_pool().total_bytes())

    @property
    def peak_bytes(self) -> int | None:
        return None if self._hook is None else self._hook.peak

    def start_peak(self) -> None:
        """Begins to count the peak anew; CuPy does not keep one, and so each allocation is watched from here on."""
        if self._hook is None:
            self._hook = _peak_hook(self._xp.cuda.MemoryHook)
            self._hook.__enter__()
        self._hook.used = self._hook.peak = self.used_bytes()

    def _explained(self, size: int) -> str:
        free, total = self._xp.cuda.runtime.memGetInfo()
        from penlight.cuda.holders import largest  # late: it knows modules and optimizers, which build on the backends

        text = (
            f"cuda: out of memory: {in_words(size)} were asked for; the device has {in_words(free)} free of {in_words(total)}, "
            f"tensors hold {in_words(self.used_bytes())}, the pool keeps {in_words(self.reserved_bytes())}"
        )
        found = [f"{in_words(count)} {name}" for name, count in largest()]
        text += f". The largest holders: {'; '.join(found)}" if found else ""
        return text + ". Use a smaller batch, drop what is not needed, or call penlight.cuda.empty_cache()"


def _peak_hook(base: Any) -> Any:
    class Peak(base):
        name = "penlight_peak"
        used = peak = 0

        def malloc_postprocess(self, **sizes: int) -> None:
            self.used += sizes["mem_size"]
            self.peak = max(self.peak, self.used)

        def free_postprocess(self, **sizes: int) -> None:
            self.used -= sizes["mem_size"]

    return Peak()


def in_words(size: int) -> str:
    """A number of bytes as people read it, such as "1.5 GiB"."""
    if size < 1024:
        return f"{size} bytes"
    power = min(int(math.log2(size)) // 10, 4)
    return f"{size / 1024**power:.4g} {('KiB', 'MiB', 'GiB', 'TiB')[power - 1]}"
