# SPDX-License-Identifier: Apache-2.0
"""What the dtypes can hold: `penlight.finfo` and `penlight.iinfo`."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from penlight.dtype import as_dtype, default_dtype
from penlight.errors import DTypeError


class finfo:
    """The limits of a floating-point dtype; of a complex one those of its parts.

    Args:
        type: a dtype or its name; the default dtype where not given.

    Attributes:
        bits, dtype: size, and the name.
        eps: the step from 1 to the next number.
        max, min: the largest and the lowest number.
        smallest_normal, tiny: the smallest positive number that has all its digits.
        resolution: 10 to the power of minus the decimal digits.

    Raises:
        DTypeError: the dtype is not floating point or complex.
    """

    __slots__ = ("bits", "dtype", "eps", "max", "min", "resolution", "smallest_normal", "tiny")

    def __init__(self, type: Any = None) -> None:
        kind = default_dtype if type is None else as_dtype(type)
        if kind.kind < 2:
            raise DTypeError(f"finfo: expected a floating-point dtype, came {kind}; use iinfo for integers")
        found = ml_dtypes.finfo(kind.numpy)
        self.dtype = {"complex64": "float32", "complex128": "float64"}.get(kind.name, kind.name)
        self.bits = int(found.bits)
        self.eps, self.max, self.min = float(found.eps), float(found.max), float(found.min)
        self.smallest_normal = self.tiny = float(found.smallest_normal)
        self.resolution = 10.0 ** -int(found.precision)

    def __repr__(self) -> str:
        return f"finfo({', '.join(f'{name}={getattr(self, name)!r}' for name in sorted(self.__slots__))})"


class iinfo:
    """The limits of an integer dtype.

    Attributes:
        bits, dtype: size, and the name.
        max, min: the largest and the lowest number.

    Raises:
        DTypeError: the dtype is no integer.
    """

    __slots__ = ("bits", "dtype", "max", "min")

    def __init__(self, type: Any) -> None:
        kind = as_dtype(type)
        if kind.kind != 1:
            raise DTypeError(f"iinfo: expected an integer dtype, came {kind}; use finfo for floating point")
        found = np.iinfo(kind.numpy)
        self.dtype, self.bits, self.max, self.min = kind.name, int(found.bits), int(found.max), int(found.min)

    def __repr__(self) -> str:
        return f"iinfo({', '.join(f'{name}={getattr(self, name)!r}' for name in sorted(self.__slots__))})"
