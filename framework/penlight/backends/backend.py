# SPDX-License-Identifier: Apache-2.0
"""The interface between operators and the arrays of one kind of device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np

from penlight.device import device as Device
from penlight.errors import DeviceError


class Backend:
    """Arrays of one device type, and the kernels that are faster than the reference.

    Attributes:
        name: "cpu" or "cuda".
        xp: the array module that `Operator.forward` receives (NumPy or CuPy).
        kernels: operator name -> `kernel(operator, *arrays)`, which returns what `forward` would, or `NotImplemented`
            to decline (a dtype or a layout it does not have). `"<name>.backward"` is looked up the same way with the
            arguments of `Operator.backward` after `xp`.
    """

    name: str
    xp: Any

    def __init__(self) -> None:
        self.kernels: dict[str, Callable[..., Any]] = {}

    def asarray(self, array: Any, device: Device, *, is_ahead: bool = False) -> Any:
        """The array on `device`, copied only if it lives elsewhere; `is_ahead` lets the host go on before the copy is done."""
        raise NotImplementedError

    def to_numpy(self, array: Any) -> np.ndarray:
        """The array in host memory, without a copy where that is possible."""
        raise NotImplementedError

    def device_of(self, array: Any) -> Device:
        """The device on which the array lives."""
        raise NotImplementedError

    def full(self, shape: tuple[int, ...], value: Any, dtype: Any, device: Device) -> Any:
        """An array of one number, made on `device` without a copy from elsewhere."""
        return self.xp.full(shape, value, dtype)

    def made(self, make: Callable[[Any], Any], device: Device) -> Any:
        """The array that `make(xp)` gives on `device`."""
        return make(self.xp)

    def filled_like(self, array: Any, value: float) -> Any:
        """An array of one number, with the shape, dtype, order and device of another."""
        return self.xp.full_like(array, value)

    def visit(self, arrays: Sequence[Any]) -> Callable[[], None] | None:
        """Makes the device of the arrays, of which some may be None, the current one.

        Returns: what makes the old one current again; None where nothing had to change.

        Raises:
            DeviceError: they lie on several devices.
        """
        return None

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """An array with undefined content."""
        return self.xp.empty(shape, dtype)

    def kernel(self, operator_name: str) -> Callable[..., Any] | None:
        """The faster implementation of an operator, if there is one."""
        return self.kernels.get(operator_name)

    def synchronize(self) -> None:
        """Waits until all queued work is done; CPU work is done when the call returns."""

    def memory_info(self) -> tuple[int, int]:
        """(free, total) bytes of the device."""
        raise NotImplementedError


def get_backend(device: Device) -> Backend:
    """The backend of a device.

    Raises:
        DeviceError: CUDA is asked for and CuPy or the driver is missing.
    """
    if device.type == "cpu":
        return _cpu()
    return _cuda()


def backend_of(array: Any) -> Backend:
    """The backend that owns an array."""
    return _cpu() if isinstance(array, np.ndarray) else _cuda()


def visiting(*arrays: Any) -> AbstractContextManager[Any]:
    """Makes the device of arrays of one backend the current one within it; gives their array module."""
    return _NO_VISIT if isinstance(arrays[0], np.ndarray) else _visiting(arrays)


_NO_VISIT = nullcontext(np)


@contextmanager
def _visiting(arrays: Sequence[Any]) -> Iterator[Any]:
    backend = _cuda()
    leave = backend.visit(arrays)
    try:
        yield backend.xp
    finally:
        if leave is not None:
            leave()


def _cpu() -> Backend:
    from penlight.backends.cpu import CPU  # late: cpu.py imports this module

    return CPU


def _cuda() -> Backend:
    try:
        from penlight.backends import cuda  # optional dependency: CuPy
    except ImportError as error:
        raise DeviceError(f'cuda: not available ({error}); install it with pip install "penlight[cuda13]"') from error
    return cuda.backend()
