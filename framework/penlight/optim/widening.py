# SPDX-License-Identifier: Apache-2.0
"""Steps of float16 and bfloat16 parameters: state and arithmetic are float32, and the parameter is rounded once a step.

PyTorch keeps the state in the parameter's own type, where the square of a small gradient is 0 in float16 and an average
in bfloat16 stands still. It takes our states, which it rounds, and we take its.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from penlight.backends import half
from penlight.dtype import FROM_NUMPY, float32
from penlight.tensor import Tensor


def is_half(array: Any) -> bool:
    """Whether an array is float16 or bfloat16."""
    return array.itemsize == 2 and FROM_NUMPY[array.dtype].is_floating_point


def widened(array: Any) -> Any:
    """A 16-bit array in float32; others as they are."""
    if not is_half(array):
        return array
    return half.widened(array) if isinstance(array, np.ndarray) else array.astype(float32.numpy)


@contextlib.contextmanager
def in_float32(parameters: Iterable[Tensor]) -> Iterator[None]:
    """Shows 16-bit parameters and their gradients as float32; what the block makes of the parameters is rounded back."""
    narrow = [(p, p._data, p.grad, p.grad._data) for p in parameters if is_half(p._data) and p.grad is not None]
    for p, array, grad, gradient in narrow:
        p._data, grad._data = widened(array), widened(gradient)
    wide = [p._data for p, *_ in narrow]
    try:
        yield
    finally:
        for (p, array, grad, gradient), result in zip(narrow, wide, strict=True):
            p._data, grad._data = array, gradient
            array[...] = half.rounded(result, array.dtype) if isinstance(array, np.ndarray) else result.astype(array.dtype)
