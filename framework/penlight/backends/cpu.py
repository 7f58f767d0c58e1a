# SPDX-License-Identifier: Apache-2.0
"""The CPU backend: NumPy arrays, NumPy as the reference, and the kernels of `penlight._native`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from penlight import _native
from penlight.backends import cpu_kernels, half
from penlight.backends.backend import Backend
from penlight.device import cpu
from penlight.device import device as Device
from penlight.errors import ArgumentError


class CpuBackend(Backend):
    """NumPy arrays in host memory."""

    name = "cpu"
    xp = np

    def asarray(self, array: Any, device: Device, *, is_ahead: bool = False) -> np.ndarray:
        return array if isinstance(array, np.ndarray) else array.get()

    def to_numpy(self, array: Any) -> np.ndarray:
        return array

    def device_of(self, array: Any) -> Device:
        return cpu

    def memory_info(self) -> tuple[int, int]:
        page = os.sysconf("SC_PAGE_SIZE")
        return os.sysconf("SC_AVPHYS_PAGES") * page, os.sysconf("SC_PHYS_PAGES") * page


def _small_kernels() -> dict[str, Callable[..., Any]]:
    """Every function `small_<operator>` of the extension, `small_<operator>_backward` being the kernel of a gradient."""
    found = {name.removeprefix("small_"): getattr(_native, name) for name in dir(_native) if name.startswith("small_")}
    return {name.replace("_backward", ".backward"): kernel for name, kernel in found.items()}


def get_num_threads() -> int:
    """Returns how many threads an operator may use: OMP_NUM_THREADS, or the number of processors, unless set otherwise."""
    return _native.num_threads()


def set_num_threads(count: int) -> None:
    """Sets how many threads an operator may use; results are the same, bit for bit, for any number.

    Raises:
        ArgumentError: the number is below 1.
    """
    if count < 1:
        raise ArgumentError(f"set_num_threads: expected a number >= 1, came {count}")
    _native.set_num_threads(count)


CPU = CpuBackend()
SMALL: dict[str, Callable[..., Any]] = {}  # for arrays where NumPy's call costs more than the work; the call path asks them first
if os.environ.get("PENLIGHT_NATIVE", "1") != "0":  # with 0, tests compare against the reference
    CPU.kernels.update(cpu_kernels.kernels(), cast=half.cast)
    SMALL.update(_small_kernels())
    _native.hold_blas()  # with threads of its own, BLAS gives other bits for another number of them
