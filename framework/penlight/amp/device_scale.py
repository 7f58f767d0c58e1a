# SPDX-License-Identifier: Apache-2.0
"""The state of a GradScaler in device memory: nothing is read on the host, so a whole step can be captured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from penlight.backends.backend import backend_of, visiting
from penlight.device import device as Device
from penlight.tensor import Tensor, from_array


class DeviceScale:
    """The scale, the count of good steps, and for each optimizer whether its gradients have inf or NaN; all at fixed addresses.

    They lie on the device of `like`; other devices get copies.
    """

    def __init__(self, like: Tensor, scale: float, growth_tracker: int) -> None:
        self._backend = backend_of(like._data)
        with visiting(like._data) as xp:
            self._xp = xp
            self._scale, self._tracker = xp.full((), scale, np.float32), xp.full((), growth_tracker, np.float32)
            self._inverse = xp.full((), 1.0, np.float32)
        self._found: dict[int, Any] = {}

    def get(self) -> tuple[float, int]:
        """The scale and the count of good steps; waits for the device."""
        return float(self._backend.to_numpy(self._scale)), int(self._backend.to_numpy(self._tracker))

    def set(self, scale: float | None = None, growth_tracker: int | None = None) -> None:
        """Sets one or both, in place."""
        with visiting(self._scale):
            for array, value in ((self._scale, scale), (self._tracker, growth_tracker)):
                if value is not None:
                    array.fill(value)

    def factor(self) -> Tensor:
        """The scale as a tensor of no dimension."""
        return from_array(self._scale)

    def unscale(self, optimizer: Any, gradients: Sequence[Tensor]) -> Any:
        """Multiplies gradients by 1 / scale, in place; returns an array that is 1 where one has inf or NaN, else 0."""
        with visiting(self._scale):
            found = self._found.get(id(optimizer))
            if found is None:
                found = self._found[id(optimizer)] = self._xp.full((), 0.0, np.float32)
            found.fill(0.0)
            self._inverse[...] = 1.0 / self._scale
        by_device: dict[Device, list[Any]] = {}
        for gradient in gradients:
            by_device.setdefault(gradient.device, []).append(_writable(gradient))
        for device, arrays in by_device.items():
            there = self._backend.asarray(found, device)
            with visiting(there):
                self._unscale(arrays, self._backend.asarray(self._inverse, device), there)
            if there is not found:
                other = self._backend.asarray(there, self._backend.device_of(found))
                with visiting(found):
                    found[...] = self._xp.maximum(found, other)
        for gradient in gradients:
            gradient.bump_version()
        return found

    def _unscale(self, arrays: Sequence[Any], inverse: Any, found: Any) -> None:
        kernel = self._backend.kernels.get("unscale")
        if kernel is None or kernel(arrays, inverse, found) is NotImplemented:
            for array in arrays:
                found[...] = self._xp.maximum(found, (~self._xp.isfinite(array)).any().astype(np.float32))
                array *= inverse.astype(array.dtype)

    def move(self, found: Sequence[Any], growth_factor: float, backoff_factor: float, growth_interval: int) -> None:
        """Moves the scale as `GradScaler.update` does, without a branch."""
        with visiting(self._scale) as xp:
            worst = found[0]
            for other in found[1:]:
                worst = xp.maximum(worst, other)
            count = self._tracker + np.float32(1)
            grown = self._scale * np.float32(growth_factor)
            has_grown = count == np.float32(growth_interval)
            calm = xp.where(has_grown & xp.isfinite(grown), grown, self._scale)
            self._scale[...] = xp.where(worst > 0, self._scale * np.float32(backoff_factor), calm)
            self._tracker[...] = xp.where((worst > 0) | has_grown, np.float32(0), count)


def _writable(gradient: Tensor) -> Any:
    if 0 in gradient._data.strides:
        gradient._data = gradient._data.copy()
    return gradient._data
