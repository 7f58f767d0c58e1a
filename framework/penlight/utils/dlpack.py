# SPDX-License-Identifier: Apache-2.0
"""DLPack, under the name PyTorch gives its place: `from_dlpack`, `to_dlpack`."""

from __future__ import annotations

from typing import Any

from penlight import dlpack
from penlight.dtype import from_numpy_dtype
from penlight.ops.convert import clone, to
from penlight.tensor import Tensor, from_array


def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """Returns a tensor on the memory of another library's array, through DLPack; writes are seen on both sides.

    Args:
        ext_tensor: an object with `__dlpack__` and `__dlpack_device__` (NumPy, PyTorch, JAX, CuPy, ...), or a capsule.
        device: where the result is to live; another device than the array's means a copy.
        copy: True copies in any case, False never.

    Raises:
        TypeError, DataError, DTypeError, DeviceError: as `penlight.dlpack.array_of` says.
        ValueError: a copy is needed and `copy` is False.

    Example:
        >>> from_dlpack(np.arange(3.0)).tolist()
        [0.0, 1.0, 2.0]
    """
    array = dlpack.array_of(ext_tensor)
    from_numpy_dtype(array.dtype)
    tensor = from_array(array)
    moved = tensor if device is None else to(tensor, device=device)
    if moved is not tensor and copy is False:
        raise ValueError(f"from_dlpack: the array is on {tensor.device}; a tensor on {device} needs a copy, and copy=False")
    return clone(tensor) if copy and moved is tensor else moved


def to_dlpack(tensor: Tensor) -> Any:
    """Returns a DLPack capsule on the memory of the tensor; it can be consumed once."""
    return tensor.__dlpack__()
