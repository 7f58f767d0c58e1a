# SPDX-License-Identifier: Apache-2.0
"""Questions to the device's memory, under PyTorch's names; without a device they answer 0."""

from __future__ import annotations

from typing import Any

from penlight.backends.cuda import backend as _backend
from penlight.backends.cuda import is_available
from penlight.backends.cuda.memory import in_words
from penlight.cuda.holders import largest
from penlight.cuda.streams import device as on_device


def empty_cache() -> None:
    """Gives memory that is kept for reuse back to the device and the host; does nothing without a device."""
    if is_available():
        _backend().xp.get_default_memory_pool().free_all_blocks()
        _backend().xp.get_default_pinned_memory_pool().free_all_blocks()


def memory_allocated(device: Any = None) -> int:
    """Returns the bytes that tensors hold."""
    if not is_available():
        return 0
    with on_device(device):
        return _backend().memory.used_bytes()


def memory_reserved(device: Any = None) -> int:
    """Returns the bytes that tensors hold or that are kept for reuse; those of captured steps are not among them."""
    if not is_available():
        return 0
    with on_device(device):
        return _backend().memory.reserved_bytes()


def max_memory_allocated(device: Any = None) -> int:
    """Returns the most bytes that tensors held since `reset_peak_memory_stats`, or hold now where it was never called.

    With several devices the peak is that of all together.
    """
    peak = _backend().memory.peak_bytes if is_available() else 0
    return memory_allocated(device) if peak is None else peak


def reset_peak_memory_stats(device: Any = None) -> None:
    """Begins to count the peak anew; from the first call on every allocation of this thread is counted."""
    if is_available():
        _backend().memory.start_peak()


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """Returns (free, total) bytes of the device.

    Raises:
        DeviceError: there is no CUDA device.
    """
    backend = _backend()
    with on_device(device):
        return backend.memory_info()


def memory_summary(device: Any = None) -> str:
    """Returns how much memory is held, by whom, and how much is free, as lines of text."""
    if not is_available():
        return "no CUDA device"
    free, total = mem_get_info(device)
    lines = [
        f"device     {in_words(free)} free of {in_words(total)}",
        f"tensors    {in_words(memory_allocated(device))}, at most {in_words(max_memory_allocated(device))}",
        f"reserved   {in_words(memory_reserved(device))}",
        *(f"held by    {name}: {in_words(size)}" for name, size in largest(10)),
    ]
    return "\n".join(lines)
