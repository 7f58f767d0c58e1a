# SPDX-License-Identifier: Apache-2.0
"""The CUDA backend: CuPy arrays, CuPy as the reference, and kernels of our own in the `.cu` files here.

Importing this needs neither CuPy nor a driver; `backend()` does, and says what is missing.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

from penlight.backends.cuda.precision import matmul as matmul
from penlight.errors import DeviceError

if TYPE_CHECKING:
    from penlight.backends.cuda.cupy_backend import CudaBackend

_CUDA = 13000  # as driverGetVersion() says it
_INSTALL = "pip install 'penlight[cuda13]'"


@functools.cache
def backend() -> CudaBackend:
    """The CUDA backend of this process.

    Raises:
        DeviceError: CuPy is not installed, or there is no driver or no device that it can use.
    """
    try:
        import cupy  # optional dependency: the extra cuda13
    except ImportError as error:
        raise DeviceError(f"cuda: CuPy cannot be imported ({error}); install it with {_INSTALL}") from error
    if not cupy.cuda.is_available():
        raise DeviceError(f"cuda: no usable device: {_reason(cupy)}; check with nvidia-smi, or use the device cpu")
    from penlight.backends.cuda.cupy_backend import CudaBackend  # late: needs nothing unless a device is there
    from penlight.backends.cuda.loader import Loader

    found = CudaBackend(cupy, Loader(cupy))
    found.memory.install()
    return found


def _reason(cupy: Any) -> str:
    """Why CuPy finds no device."""
    try:
        version = cupy.cuda.runtime.driverGetVersion()
    except Exception as error:  # whatever the driver's library says
        return f"the NVIDIA driver does not answer ({error})"
    if version == 0:
        return "no NVIDIA driver is installed, or this container does not see it"
    if version < _CUDA:
        return f"the NVIDIA driver is for CUDA {version // 1000}.{version % 1000 // 10}, and CUDA {_CUDA // 1000} is needed"
    return f"the NVIDIA driver sees no GPU (CUDA_VISIBLE_DEVICES is {os.environ.get('CUDA_VISIBLE_DEVICES', 'not set')})"


def is_available() -> bool:
    """Whether `backend()` would return one."""
    try:
        backend()
    except DeviceError:
        return False
    return True
