# SPDX-License-Identifier: Apache-2.0
"""The CPU backend: NumPy arrays, NumPy as the reference, and kernels of `penlight._native` where they are built."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from penlight.backends.backend import Backend
from penlight.device import cpu
from penlight.device import device as Device


class CpuBackend(Backend):
    """NumPy arrays in host memory."""

    name = "cpu"
    xp = np

    def asarray(self, array: Any, device: Device) -> np.ndarray:
        return array if isinstance(array, np.ndarray) else array.get()

    def to_numpy(self, array: Any) -> np.ndarray:
        return array

    def device_of(self, array: Any) -> Device:
        return cpu

    def memory_info(self) -> tuple[int, int]:
        page = os.sysconf("SC_PAGE_SIZE")
        return os.sysconf("SC_AVPHYS_PAGES") * page, os.sysconf("SC_PHYS_PAGES") * page


def _native_kernels() -> dict[str, Callable[..., Any]]:
    """The compiled kernels; none under `PENLIGHT_NATIVE=0`, with which tests compare against the reference."""
    if os.environ.get("PENLIGHT_NATIVE", "1") == "0":
        return {}
    try:
        from penlight.backends import cpu_kernels, half  # optional: needs the compiled extension
    except ImportError:
        return {}
    return {**cpu_kernels.kernels(), "cast": half.cast}


CPU = CpuBackend()
CPU.kernels.update(_native_kernels())
