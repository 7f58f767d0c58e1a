# SPDX-License-Identifier: Apache-2.0
"""The CUDA backend object: memory, devices, and the table of own kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from penlight.backends.backend import Backend
from penlight.backends.cuda import (
    activation,
    attention,
    batch_norm,
    broadcast_gradient,
    convolution,
    cudnn,
    dropout,
    elementwise,
    fused_loss,
    gated,
    index,
    loss,
    norm,
    optimizer,
    pool,
    products,
    recording,
    reduction,
    rms_norm,
    rotary,
    softmax,
)
from penlight.backends.cuda.memory import Memory, is_pinned
from penlight.backends.cuda.wrapper import Launcher, first
from penlight.device import device as Device
from penlight.errors import DeviceError

_FAMILIES = (
    *(elementwise, reduction, broadcast_gradient, index, activation, gated, softmax, loss, fused_loss),
    *(norm, rms_norm, rotary, batch_norm),
    *(pool, dropout, attention, convolution, optimizer),
)
_LIBRARIES = (products, cudnn)  # those of NVIDIA; they are asked before the own kernels, and decline where they are not there


class CudaBackend(Backend):
    """Arrays of CuPy (or, in tests, of NumPy with kernels that run on the CPU).

    Args:
        xp: the array module.
        launcher: runs the kernels of the `.cu` files.
    """

    name = "cuda"

    def __init__(self, xp: Any, launcher: Launcher) -> None:
        super().__init__()
        self.xp, self.memory = xp, Memory(xp)
        for family in _FAMILIES:
            self.kernels.update(family.table(xp, launcher))
        for library in _LIBRARIES if hasattr(xp, "cuda") else ():
            for name, kernel in library.table(xp, launcher).items():
                own = self.kernels.get(name)
                self.kernels[name] = kernel if own is None else first(kernel, own)

    def asarray(self, array: Any, device: Device, *, is_ahead: bool = False) -> Any:
        if device.type == "cpu" or isinstance(array, np.ndarray):
            recording.refuse_transfer(f"a copy to {device}")
        if device.type == "cpu":
            with self.xp.cuda.Device(array.data.device_id):
                return array.get()
        index = int(device.index or 0)
        count = self.xp.cuda.runtime.getDeviceCount()
        if index >= count:
            raise DeviceError(f"{device}: this machine has {count} CUDA device(s), numbered from cuda:0; use one of those")
        if not isinstance(array, np.ndarray) and array.data.device_id != index:
            return self.memory.copy_across(array, index)
        with self.xp.cuda.Device(index):
            return self.memory.copy_ahead(array) if is_ahead and is_pinned(array) else self.xp.asarray(array)

    def full(self, shape: tuple[int, ...], value: Any, dtype: Any, device: Device) -> Any:
        with self.xp.cuda.Device(device.index or 0):
            return self.xp.full(shape, value, dtype)

    def made(self, make: Callable[[Any], Any], device: Device) -> Any:
        with self.xp.cuda.Device(device.index or 0):
            return make(self.xp)

    def filled_like(self, array: Any, value: float) -> Any:
        with self.xp.cuda.Device(array.data.device_id):
            return self.xp.full_like(array, value)

    def visit(self, arrays: Sequence[Any]) -> Callable[[], None] | None:
        current = self.xp.cuda.runtime.getDevice()
        for array in arrays:
            if array is not None and array.data.device_id != current:
                return self._moved(arrays, current)
        return None

    def _moved(self, arrays: Sequence[Any], current: int) -> Callable[[], None]:
        found = {array.data.device_id for array in arrays if array is not None}
        if len(found) > 1:
            names = " and ".join(f"cuda:{number}" for number in sorted(found))
            raise DeviceError(f"cuda: all arrays must be on one device, came {names}; move them with .to(device)")
        recording.refuse_other_device(current, *found)
        self.xp.cuda.Device(*found).use()
        return self.xp.cuda.Device(current).use

    def to_numpy(self, array: Any) -> np.ndarray:
        recording.refuse_value("a copy to the host")
        with self.xp.cuda.Device(array.data.device_id):
            return array.get()

    def device_of(self, array: Any) -> Device:
        return Device("cuda", array.device.id)

    def synchronize(self) -> None:
        self.xp.cuda.get_current_stream().synchronize()

    def memory_info(self) -> tuple[int, int]:
        return self.xp.cuda.runtime.memGetInfo()
