# SPDX-License-Identifier: Apache-2.0
"""Dtypes and the promotion rules, which are PyTorch's."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from penlight.errors import DTypeError

_KINDS = ("bool", "integer", "floating", "complex")


class dtype:
    """The type of a tensor's elements, such as `penlight.float32`; one object per type.

    Attributes:
        name: "float32" and so on.
        numpy: the NumPy dtype of the storage.
        itemsize: bytes per element.
        kind: 0 for bool, 1 for integers, 2 for floating point, 3 for complex; the higher one wins in a promotion.
    """

    __slots__ = ("is_floating_point", "itemsize", "kind", "name", "numpy")

    def __init__(self, name: str, numpy_dtype: Any, kind: str) -> None:
        self.name = name
        self.numpy = np.dtype(numpy_dtype)
        self.kind = _KINDS.index(kind)
        self.itemsize = self.numpy.itemsize
        self.is_floating_point = kind == "floating"

    def __repr__(self) -> str:
        return f"penlight.{self.name}"

    def __reduce__(self) -> tuple[Any, ...]:
        return (as_dtype, (self.name,))  # one object per type, also after a copy into a worker process


bool_ = dtype("bool", np.bool_, "bool")
uint8 = dtype("uint8", np.uint8, "integer")
int8 = dtype("int8", np.int8, "integer")
int16 = dtype("int16", np.int16, "integer")
int32 = dtype("int32", np.int32, "integer")
int64 = dtype("int64", np.int64, "integer")
uint16 = dtype("uint16", np.uint16, "integer")
uint32 = dtype("uint32", np.uint32, "integer")
uint64 = dtype("uint64", np.uint64, "integer")
float16 = dtype("float16", np.float16, "floating")
bfloat16 = dtype("bfloat16", ml_dtypes.bfloat16, "floating")
float32 = dtype("float32", np.float32, "floating")
float64 = dtype("float64", np.float64, "floating")
complex64 = dtype("complex64", np.complex64, "complex")
complex128 = dtype("complex128", np.complex128, "complex")

_INTEGERS = (uint8, int8, int16, int32, int64, uint16, uint32, uint64)
ALL = (bool_, *_INTEGERS, float16, bfloat16, float32, float64, complex64, complex128)
FROM_NUMPY: dict[Any, dtype] = {d.numpy: d for d in ALL}
_BY_NAME = {d.name: d for d in ALL} | {"float": float32, "double": float64, "half": float16, "long": int64, "int": int32}
# PyTorch's words in FloatTensor and FloatStorage.
WORDS = {
    "Float": float32, "Double": float64, "Half": float16, "BFloat16": bfloat16, "Long": int64, "Int": int32, "Short": int16,
    "Char": int8, "Byte": uint8, "Bool": bool_, "ComplexFloat": complex64, "ComplexDouble": complex128,
}  # fmt: skip
_FROM_PYTHON = {bool: bool_, int: int64, float: float32, complex: complex64}

default_dtype = float32  # of Python floats and of true division of integers


def as_dtype(value: Any) -> dtype:
    """The dtype named by a `dtype`, a NumPy dtype, a Python type or a name.

    Raises:
        DTypeError: nothing of Penlight's has this type (for example text or dates).
    """
    if isinstance(value, dtype):
        return value
    if isinstance(value, str) and value in _BY_NAME:
        return _BY_NAME[value]
    if isinstance(value, type) and value in _FROM_PYTHON:
        return _FROM_PYTHON[value]
    return from_numpy_dtype(value)


def from_numpy_dtype(value: Any) -> dtype:
    """The dtype that stores a NumPy dtype of native byte order."""
    try:
        found = FROM_NUMPY.get(np.dtype(value))
    except TypeError:
        found = None
    if found is None:
        names = ", ".join(d.name for d in ALL)
        raise DTypeError(f"dtype: {value!r} is not supported; use one of {names}, or convert the array with .astype first")
    return found


def promote_types(a: dtype, b: dtype) -> dtype:
    """The smallest dtype that holds both: a floating-point dtype wins over any integer one, as in PyTorch.

    Raises:
        DTypeError: uint64 meets a signed integer: no integer dtype holds both.
    """
    if a is b:
        return a
    if a.kind == 3 or b.kind == 3:
        return complex128 if float64 in (a, b) or complex128 in (a, b) else complex64
    if a.kind != b.kind:
        return a if a.kind > b.kind else b
    if {a, b} == {float16, bfloat16}:
        return float32
    result = from_numpy_dtype(np.promote_types(a.numpy, b.numpy))
    if result.kind != a.kind:
        raise DTypeError(f"promotion: no integer dtype holds both {a.name} and {b.name}; convert one of them with .to(dtype)")
    return result


def scalar_type(value: Any) -> dtype:
    """The dtype that a Python number has when it stands alone."""
    if isinstance(value, bool):
        return bool_
    if isinstance(value, complex):
        return complex64
    return int64 if isinstance(value, int) else default_dtype


def combine(strong: dtype, weak: dtype) -> dtype:
    """The result of a dimensioned `strong` with a `weak` one (a Python number or 0-dim tensor): only a higher kind wins."""
    if strong.kind >= weak.kind:
        return strong
    if weak.kind == 3 and strong.kind == 2:
        return complex128 if strong is float64 else complex64  # as wide as the dimensioned one
    return weak
