# SPDX-License-Identifier: Apache-2.0
"""The CUDA backend: CuPy arrays, CuPy as the reference, and kernels of our own in the `.cu` files here.

Importing this needs neither CuPy nor a driver; `backend()` does, and says what is missing.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from penlight.backends.cuda.precision import matmul as matmul
from penlight.errors import DeviceError

if TYPE_CHECKING:
    from penlight.backends.cuda.cupy_backend import CudaBackend

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
        raise DeviceError(
            "cuda: no usable device: the NVIDIA driver is missing, too old for CUDA 13, or sees no GPU; "
            "check with nvidia-smi, or use the device cpu"
        )
    from penlight.backends.cuda.cupy_backend import CudaBackend  # late: needs nothing unless a device is there
    from penlight.backends.cuda.loader import Loader

    found = CudaBackend(cupy, Loader(cupy))
    found.memory.install()
    return found


def is_available() -> bool:
    """Whether `backend()` would return one."""
    try:
        backend()
    except DeviceError:
        return False
    return True
