# SPDX-License-Identifier: Apache-2.0
"""The type promotion of the standard: within a kind, and from real to complex floating point; nothing else is defined.

https://data-apis.org/array-api/2024.12/API_specification/type_promotion.html
"""

from __future__ import annotations

from typing import Any

import numpy as np

from penlight.dtype import bool_, complex64, complex128, default_dtype, float32, float64, from_numpy_dtype, int64, promote_types
from penlight.dtype import dtype as DType
from penlight.errors import DTypeError
from penlight.ops.convert import to
from penlight.tensor import Tensor, from_array

KINDS = {
    "boolean": (0,),
    "integer": (1,),
    "boolean or integer": (0, 1),
    "real": (1, 2),
    "real floating-point": (2,),
    "floating-point": (2, 3),
    "complex floating-point": (3,),
    "numeric": (1, 2, 3),
    "any": (0, 1, 2, 3),
}
_SCALARS = (bool, int, float, complex)


def promote(a: DType, b: DType) -> DType:
    """The dtype of a result of arrays of `a` and `b`.

    Raises:
        DTypeError: the standard does not define it, for example of an integer and a floating-point dtype.
    """
    if a is b:
        return a
    if a.kind != b.kind and {a.kind, b.kind} != {2, 3}:
        raise DTypeError(f"array_api: {a.name} and {b.name} do not promote to one dtype; convert one of them with astype")
    return promote_types(a, b)


def with_scalar(dtype: DType, scalar: Any) -> DType:
    """The dtype of a result of an array and a Python number, which never widens.

    Raises:
        DTypeError: the number is of a kind that the array's dtype cannot hold.
    """
    if isinstance(scalar, bool):
        fits = dtype.kind == 0
    elif isinstance(scalar, int):
        fits = dtype.kind != 0
    else:
        fits = dtype.kind >= 2
    if not fits:
        raise DTypeError(f"array_api: a Python {type(scalar).__name__} does not combine with {dtype.name}; convert the array")
    if isinstance(scalar, complex) and dtype.kind == 2:
        return complex128 if dtype is float64 else complex64
    return dtype


def result_type(*arrays_and_dtypes: Any) -> DType:
    """The dtype that operators give for these arrays, dtypes and Python numbers; one must not be a number."""
    scalars = [value for value in arrays_and_dtypes if isinstance(value, _SCALARS)]
    dtypes = [as_dtype(value) for value in arrays_and_dtypes if not isinstance(value, _SCALARS)]
    if not dtypes:
        raise DTypeError("array_api.result_type: expected at least one array or dtype")
    result = dtypes[0]
    for other in dtypes[1:]:
        result = promote(result, other)
    for scalar in scalars:
        result = with_scalar(result, scalar)
    return result


def as_dtype(value: Any) -> DType:
    """The dtype of an array, or the dtype itself."""
    if isinstance(value, Tensor):
        return value.dtype
    if isinstance(value, DType):
        return value
    raise DTypeError(f"array_api: expected an array or a dtype, came {type(value).__name__}")


def check_kind(name: str, kinds: str, *dtypes: DType) -> None:
    """Refuses dtypes outside the kinds for which the standard defines a function."""
    for dtype in dtypes:
        if dtype.kind not in KINDS[kinds]:
            raise DTypeError(f"array_api.{name}: expected a {kinds} dtype, came {dtype.name}")


def operands(name: str, kinds: str, a: Any, b: Any) -> tuple[Tensor, Tensor]:
    """Two operands, arrays or one array and a number, in their common dtype."""
    if not isinstance(a, Tensor) and not isinstance(b, Tensor):
        raise DTypeError(f"array_api.{name}: expected at least one array, came {type(a).__name__} and {type(b).__name__}")
    for value in (a, b):
        if not isinstance(value, (Tensor, *_SCALARS)):
            raise DTypeError(f"array_api.{name}: expected arrays or numbers, came {type(value).__name__}; use asarray")
    dtype = result_type(a, b)
    check_kind(name, kinds, dtype)
    return in_dtype(a, dtype, b), in_dtype(b, dtype, a)


def in_dtype(value: Any, dtype: DType, like: Any = None) -> Tensor:
    """A tensor in `dtype`; a number becomes a 0-dim tensor on the device of `like`."""
    if isinstance(value, Tensor):
        return value if value.dtype is dtype else to(value, dtype)
    t = from_array(np.asarray(value, dtype.numpy))
    return t if like is None else to(t, device=like.device)


def type_of_scalar(value: Any) -> DType:
    """The dtype of an array made of a Python number."""
    if isinstance(value, (bool, np.bool_)):
        return bool_
    if isinstance(value, int):
        return int64
    if isinstance(value, float):
        return default_dtype
    if isinstance(value, complex):
        return complex64
    return from_numpy_dtype(np.asarray(value).dtype)


def default_of(array: Any) -> Any:
    """A NumPy array of Python numbers in the default dtype of its kind."""
    defaults = {np.dtype(np.float64): float32, np.dtype(np.complex128): complex64}
    found = defaults.get(array.dtype)
    return array if found is None else array.astype(found.numpy)
