# SPDX-License-Identifier: Apache-2.0
"""PyTorch's second names of dtypes (`penlight.float`), and its constructors by dtype (`penlight.FloatTensor`)."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

from penlight.dtype import (
    bfloat16,
    bool_,
    complex64,
    complex128,
    default_dtype,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
)
from penlight.dtype import dtype as DType
from penlight.dtype import promote_types as promote_types
from penlight.ops.create import zeros
from penlight.tensor import Tensor, tensor

short, int, long = int16, int32, int64
half, float, double = float16, float32, float64
cfloat, cdouble = complex64, complex128


def can_cast(from_: DType, to: DType) -> bool:
    """Returns whether numbers may go from one dtype into the other in an in-place operation: never to a lower kind."""
    return from_.kind <= to.kind


def get_default_dtype() -> DType:
    """Returns the dtype of Python floats: float32."""
    return default_dtype


def _constructor(name: str, kind: DType) -> Callable[..., Tensor]:
    def make(*arguments: Any) -> Tensor:
        if all(isinstance(a, builtins.int) for a in arguments):
            return zeros(*(arguments or (0,)), dtype=kind)
        return tensor(arguments[0], dtype=kind)

    make.__name__ = make.__qualname__ = name
    make.__doc__ = f"Returns a {kind.name} tensor of data, or of sizes (filled with 0); `tensor(data, dtype=...)` says it clearer."
    return make


FloatTensor, DoubleTensor = _constructor("FloatTensor", float), _constructor("DoubleTensor", double)
HalfTensor, BFloat16Tensor = _constructor("HalfTensor", half), _constructor("BFloat16Tensor", bfloat16)
LongTensor, IntTensor, ShortTensor = (_constructor(f"{n}Tensor", k) for n, k in (("Long", long), ("Int", int), ("Short", short)))
CharTensor, ByteTensor = _constructor("CharTensor", int8), _constructor("ByteTensor", uint8)
BoolTensor = _constructor("BoolTensor", bool_)
