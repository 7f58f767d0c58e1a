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
from penlight.errors import ArgumentError


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


def _native() -> Any:
    """The compiled extension; None under `PENLIGHT_NATIVE=0`, with which tests compare against the reference."""
    if os.environ.get("PENLIGHT_NATIVE", "1") == "0":
        return None
    try:
        from penlight import _native  # optional: a source tree may lack it
    except ImportError:
        return None
    return _native


def _native_kernels() -> dict[str, Callable[..., Any]]:
    native = _native()
    if native is None:
        return {}
    from penlight.backends import cpu_kernels, half  # they import the extension

    native.hold_blas()  # with threads of its own, BLAS gives other bits for another number of them
    return {**cpu_kernels.kernels(), "cast": half.cast}


def _small_kernels() -> dict[str, Callable[..., Any]]:
    """Every function `small_<operator>` of the extension, `small_<operator>_backward` being the kernel of a gradient."""
    found = {name.removeprefix("small_"): getattr(_native(), name) for name in dir(_native()) if name.startswith("small_")}
    return {name.replace("_backward", ".backward"): kernel for name, kernel in found.items()}


def get_num_threads() -> int:
    """Returns how many threads an operator may use: OMP_NUM_THREADS, or the number of processors, unless set otherwise."""
    native = _native()
    return 1 if native is None else native.num_threads()


def set_num_threads(count: int) -> None:
    """Sets how many threads an operator may use; results are the same, bit for bit, for any number.

    Raises:
        ArgumentError: the number is below 1.
    """
    if count < 1:
        raise ArgumentError(f"set_num_threads: expected a number >= 1, came {count}")
    native = _native()
    if native is not None:
        native.set_num_threads(count)


CPU = CpuBackend()
CPU.kernels.update(_native_kernels())
SMALL = _small_kernels()  # for arrays where NumPy's call costs more than the work; the call path asks them first
