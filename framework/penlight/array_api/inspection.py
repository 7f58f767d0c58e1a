# SPDX-License-Identifier: Apache-2.0
"""What dtypes are and can: limits, kinds, casts, and the inspection of the namespace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from penlight.array_api.array import Array, check_array, wrap
from penlight.array_api.promotion import as_dtype, promote
from penlight.backends.backend import get_backend
from penlight.device import cpu
from penlight.device import device as Device
from penlight.dtype import (
    bool_,
    complex64,
    complex128,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)
from penlight.dtype import dtype as DType
from penlight.errors import ArgumentError, DeviceError, DTypeError
from penlight.ops.convert import to

SIGNED = (int8, int16, int32, int64)
UNSIGNED = (uint8, uint16, uint32, uint64)
REAL = (float32, float64)
COMPLEX = (complex64, complex128)
KINDS: dict[str, tuple[DType, ...]] = {
    "bool": (bool_,),
    "signed integer": SIGNED,
    "unsigned integer": UNSIGNED,
    "integral": SIGNED + UNSIGNED,
    "real floating": REAL,
    "complex floating": COMPLEX,
    "numeric": SIGNED + UNSIGNED + REAL + COMPLEX,
}


@dataclass(frozen=True)
class finfo_object:
    """Limits of a floating-point dtype."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: DType


@dataclass(frozen=True)
class iinfo_object:
    """Limits of an integer dtype."""

    bits: int
    max: int
    min: int
    dtype: DType


def finfo(type: Any, /) -> finfo_object:
    """Returns the limits of a floating-point dtype, or of an array's; of a complex one those of its parts."""
    dtype = as_dtype(type)
    if dtype.kind < 2:
        raise DTypeError(f"finfo: expected a floating-point dtype, came {dtype.name}; use iinfo")
    part = {complex64: float32, complex128: float64}.get(dtype, dtype)
    limits = ml_dtypes.finfo(part.numpy)
    numbers = (float(limits.eps), float(limits.max), float(limits.min), float(limits.smallest_normal))
    return finfo_object(int(limits.bits), *numbers, part)


def iinfo(type: Any, /) -> iinfo_object:
    """Returns the limits of an integer dtype, or of an array's."""
    dtype = as_dtype(type)
    if dtype.kind != 1:
        raise DTypeError(f"iinfo: expected an integer dtype, came {dtype.name}; use finfo")
    limits = np.iinfo(dtype.numpy)
    return iinfo_object(limits.bits, int(limits.max), int(limits.min), dtype)


def isdtype(dtype: DType, kind: Any) -> bool:
    """Whether a dtype is `kind`: another dtype, the name of a kind such as "real floating", or one of a tuple of them."""
    if isinstance(kind, tuple):
        return any(isdtype(dtype, one) for one in kind)
    if isinstance(kind, DType):
        return dtype is kind
    if kind not in KINDS:
        raise ArgumentError(f"isdtype: expected a dtype or one of {', '.join(KINDS)}, came {kind!r}")
    return dtype in KINDS[kind]


def can_cast(from_: Any, to: DType, /) -> bool:
    """Whether the promotion rules allow the change of dtype."""
    try:
        return promote(as_dtype(from_), to) is to
    except DTypeError:
        return False


def astype(x: Any, dtype: DType, /, *, copy: bool = True, device: Any = None) -> Array:
    """Returns x in another dtype; x itself if nothing changes and `copy` is False. Complex to real is refused."""
    check_array("astype", x)
    if x.dtype.kind == 3 and dtype.kind < 3 and dtype.kind > 0:
        raise DTypeError(f"astype: {x.dtype.name} to {dtype.name} would drop the imaginary part; take real() first")
    result = to(x, dtype=dtype, device=device)
    return wrap(result.clone() if copy and result is x else result, x)


class Info:
    """What the namespace supports; `penlight.array_api.__array_namespace_info__()` returns it."""

    def capabilities(self) -> dict[str, Any]:
        """Returns which optional features are there."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> Device:
        """Returns the device of new arrays."""
        return cpu

    def default_dtypes(self, *, device: Any = None) -> dict[str, DType]:
        """Returns the dtypes that new arrays have by default."""
        return {"real floating": float32, "complex floating": complex64, "integral": int64, "indexing": int64}

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, DType]:
        """Returns the standard's dtypes by name, all or those of a kind."""
        every = KINDS["bool"] + KINDS["numeric"]
        return {dtype.name: dtype for dtype in every if kind is None or isdtype(dtype, kind)}

    def devices(self) -> list[Device]:
        """Returns the devices that are there."""
        return [cpu, *_cuda_devices()]


def _cuda_devices() -> list[Device]:
    try:
        get_backend(Device("cuda:0")).memory_info()
    except DeviceError:
        return []
    return [Device("cuda:0")]


def __array_namespace_info__() -> Info:
    """Returns what the namespace supports."""
    return Info()
