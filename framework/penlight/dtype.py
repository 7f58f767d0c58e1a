# SPDX-License-Identifier: Apache-2.0
"""Dtypes and the promotion rules, which are PyTorch's."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from penlight.errors import DTypeError

_KINDS = ("bool", "integer", "floating")


class dtype:
    """The type of a tensor's elements, such as `penlight.float32`; one object per type.

    Attributes:
        name: "float32" and so on.
        numpy: the NumPy dtype of the storage.
        itemsize: bytes per element.
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
float16 = dtype("float16", np.float16, "floating")
bfloat16 = dtype("bfloat16", ml_dtypes.bfloat16, "floating")
float32 = dtype("float32", np.float32, "floating")
float64 = dtype("float64", np.float64, "floating")

ALL = (bool_, uint8, int8, int16, int32, int64, float16, bfloat16, float32, float64)
FROM_NUMPY: dict[Any, dtype] = {d.numpy: d for d in ALL}
_BY_NAME = {d.name: d for d in ALL} | {"float": float32, "double": float64, "half": float16, "long": int64, "int": int32}
_FROM_PYTHON = {bool: bool_, int: int64, float: float32}

default_dtype = float32  # of Python floats and of true division of integers


def as_dtype(value: Any) -> dtype:
    """The dtype named by a `dtype`, a NumPy dtype, a Python type or a name.

    Raises:
        DTypeError: nothing of Penlight's has this type (for example complex numbers or text).
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
    """The smallest dtype that holds both: a floating-point dtype wins over any integer one, as in PyTorch."""
    if a is b:
        return a
    if a.kind != b.kind:
        return a if a.kind > b.kind else b
    if {a, b} == {float16, bfloat16}:
        return float32
    return from_numpy_dtype(np.promote_types(a.numpy, b.numpy))


def scalar_type(value: Any) -> dtype:
    """The dtype that a Python number has when it stands alone."""
    if isinstance(value, bool):
        return bool_
    return int64 if isinstance(value, int) else default_dtype


def combine(strong: dtype, weak: dtype) -> dtype:
    """The result of a dimensioned `strong` with a `weak` one (a Python number or 0-dim tensor): only a higher kind wins."""
    return strong if strong.kind >= weak.kind else weak
