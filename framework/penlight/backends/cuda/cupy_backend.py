# SPDX-License-Identifier: Apache-2.0
"""The CUDA backend object: memory, devices, and the table of own kernels."""

from __future__ import annotations

from typing import Any

import numpy as np

from penlight.backends.backend import Backend
from penlight.backends.cuda import activation, loss, norm, optimizer, softmax
from penlight.backends.cuda.wrapper import Launcher
from penlight.device import device as Device
from penlight.errors import DeviceError

_FAMILIES = (activation, softmax, loss, norm, optimizer)


class CudaBackend(Backend):
    """Arrays of CuPy (or, in tests, of NumPy with kernels that run on the CPU).

    Args:
        xp: the array module.
        launcher: runs the kernels of the `.cu` files.
    """

    name = "cuda"

    def __init__(self, xp: Any, launcher: Launcher) -> None:
        super().__init__()
        self.xp = xp
        for family in _FAMILIES:
            self.kernels.update(family.table(xp, launcher))

    def asarray(self, array: Any, device: Device) -> Any:
        index = device.index or 0
        count = self.xp.cuda.runtime.getDeviceCount()
        if index >= count:
            raise DeviceError(f"{device}: this machine has {count} CUDA device(s), numbered from cuda:0; use one of those")
        with self.xp.cuda.Device(index):
            return self.xp.asarray(array)

    def to_numpy(self, array: Any) -> np.ndarray:
        return array.get()

    def device_of(self, array: Any) -> Device:
        return Device("cuda", array.device.id)

    def synchronize(self) -> None:
        self.xp.cuda.get_current_stream().synchronize()

    def memory_info(self) -> tuple[int, int]:
        return self.xp.cuda.runtime.memGetInfo()
