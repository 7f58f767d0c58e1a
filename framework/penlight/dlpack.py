# SPDX-License-Identifier: Apache-2.0
"""Arrays as DLPack capsules and back: NumPy's, and bfloat16, which NumPy does not know.

A bfloat16 array leaves as uint16 with the type in the capsule corrected, and comes in the reverse way. The layout of the
structures is in https://github.com/dmlc/dlpack/blob/main/include/dlpack/dlpack.h.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from penlight.dtype import bfloat16
from penlight.errors import DataError, DeviceError, DTypeError

_CPU, _CUDA, _CUDA_HOST, _CUDA_MANAGED = 1, 2, 3, 13  # DLDeviceType
_UINT, _BFLOAT = 1, 4  # DLDataTypeCode
# Where DLTensor.dtype.code lies: after data, device and ndim; a versioned capsule has version, context, deleter and flags first.
_CODE_AT = {b"dltensor": 20, b"dltensor_versioned": 52}

_name_of = ctypes.pythonapi.PyCapsule_GetName
_name_of.restype, _name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
_address_of = ctypes.pythonapi.PyCapsule_GetPointer
_address_of.restype, _address_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


def capsule(array: Any, **options: Any) -> Any:
    """A capsule that shares the memory of an array; options as in `ndarray.__dlpack__`."""
    if array.dtype != bfloat16.numpy:
        return array.__dlpack__(**options)
    result = array.view(np.uint16).__dlpack__(**options)
    _type_code(result).value = _BFLOAT
    return result


def array_of(source: Any) -> Any:
    """The array that shares the memory of an object with `__dlpack__`, or of a capsule; read-only if the source is.

    Raises:
        TypeError: it is neither.
        DataError: the capsule was consumed before.
        DTypeError: no dtype of Penlight's fits.
        DeviceError: the memory is on a device that is not there.
    """
    device = _CPU, 0
    if hasattr(source, "__dlpack_device__"):
        device = tuple(source.__dlpack_device__())
    elif not _is_capsule(source):
        raise TypeError(f"from_dlpack: expected an object with __dlpack__, or a capsule, came {type(source).__name__}")
    if device[0] in (_CUDA, _CUDA_MANAGED):
        return _cuda_array(source)
    if device[0] not in (_CPU, _CUDA_HOST):
        raise DeviceError(f"from_dlpack: device type {device[0]} is neither the CPU nor CUDA; move the data to the CPU first")
    given = source if _is_capsule(source) else _ask(source)
    code = _type_code(given)
    is_bfloat = code.value == _BFLOAT
    if is_bfloat:
        code.value = _UINT
    try:
        array = np.from_dlpack(_Given(given))
    except RuntimeError as error:
        raise DTypeError(f"from_dlpack: NumPy does not take the type of the elements: {error}") from error
    return array.view(bfloat16.numpy) if is_bfloat else array


class _Given:
    """A capsule as the object that NumPy asks for."""

    def __init__(self, capsule: Any) -> None:
        self._capsule = capsule

    def __dlpack__(self, **_: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return _CPU, 0


def _ask(source: Any) -> Any:
    try:
        return source.__dlpack__(max_version=(1, 0))
    except TypeError:  # a library from before versions
        return source.__dlpack__()


def _is_capsule(value: Any) -> bool:
    return type(value).__name__ == "PyCapsule"


def _type_code(capsule: Any) -> ctypes.c_uint8:
    name = _name_of(capsule)
    if name not in _CODE_AT:
        raise DataError(f"from_dlpack: expected a fresh DLPack capsule, came one named {name!r}; a capsule can be used once")
    address = _address_of(capsule, name)
    assert address is not None
    return ctypes.c_uint8.from_address(address + _CODE_AT[name])


def _cuda_array(source: Any) -> Any:
    try:
        import cupy  # optional: arrays of a GPU
    except ImportError as error:
        raise DeviceError("from_dlpack: the memory is on a CUDA device; install penlight[cuda], or move it to the CPU") from error
    return cupy.from_dlpack(source)
