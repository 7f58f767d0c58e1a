# SPDX-License-Identifier: Apache-2.0
"""PyTorch's questions to CUDA devices, `penlight.cuda`; without one they say so instead of raising, where that makes sense."""

from __future__ import annotations

from typing import Any

from penlight.backends.backend import get_backend
from penlight.backends.cuda import is_available as is_available
from penlight.cuda.capture import CapturedStep as CapturedStep
from penlight.cuda.capture import capture as capture
from penlight.device import device as Device
from penlight.random import manual_seed as manual_seed

manual_seed_all = manual_seed  # one generator serves all devices


def device_count() -> int:
    """Returns how many devices there are; 0 without CuPy, a driver or a GPU."""
    return int(_backend().xp.cuda.runtime.getDeviceCount()) if is_available() else 0


def current_device() -> int:
    """Returns the number of the device in use.

    Raises:
        DeviceError: there is none.
    """
    return int(_backend().xp.cuda.runtime.getDevice())


def synchronize(device: Any = None) -> None:
    """Waits until all queued work is done; raises as `current_device`."""
    _backend().synchronize()


def empty_cache() -> None:
    """Gives memory that is kept for reuse back to the device; does nothing without one."""
    if is_available():
        _backend().xp.get_default_memory_pool().free_all_blocks()


def memory_allocated(device: Any = None) -> int:
    """Returns the bytes that tensors hold on the device; 0 without one."""
    return int(_backend().xp.get_default_memory_pool().used_bytes()) if is_available() else 0


def _backend() -> Any:
    return get_backend(Device("cuda"))
