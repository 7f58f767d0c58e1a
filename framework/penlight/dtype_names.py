# SPDX-License-Identifier: Apache-2.0
"""PyTorch's second names of dtypes (`penlight.float`), and its constructors by dtype (`penlight.FloatTensor`)."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

from penlight.dtype import WORDS, complex64, complex128, default_dtype, float16, float32, float64, int16, int32, int64
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


def _constructor(word: str) -> Callable[..., Tensor]:
    def make(*arguments: Any) -> Tensor:
        if all(isinstance(a, builtins.int) for a in arguments):
            return zeros(*(arguments or (0,)), dtype=WORDS[word])
        return tensor(arguments[0], dtype=WORDS[word])

    make.__name__ = make.__qualname__ = f"{word}Tensor"
    make.__doc__ = f"Returns a {WORDS[word].name} tensor of data, or of sizes (zeros); `tensor(data, dtype=...)` says it clearer."
    return make


FloatTensor, DoubleTensor, HalfTensor, BFloat16Tensor = map(_constructor, ("Float", "Double", "Half", "BFloat16"))
LongTensor, IntTensor, ShortTensor = map(_constructor, ("Long", "Int", "Short"))
CharTensor, ByteTensor, BoolTensor = map(_constructor, ("Char", "Byte", "Bool"))
