# SPDX-License-Identifier: Apache-2.0
"""The numbers of penlight_dtype as NumPy dtypes."""

from __future__ import annotations

import numpy as np

from penlight_runtime.errors import MissingDtypeSupport

BFLOAT16 = 3

_NUMPY: dict[int, np.dtype] = {
    1: np.dtype(np.float32),
    2: np.dtype(np.float16),
    4: np.dtype(np.float64),
    5: np.dtype(np.int8),
    6: np.dtype(np.uint8),
    7: np.dtype(np.int16),
    8: np.dtype(np.uint16),
    9: np.dtype(np.int32),
    10: np.dtype(np.uint32),
    11: np.dtype(np.int64),
    12: np.dtype(np.uint64),
    13: np.dtype(np.bool_),
}


def numpy_dtype(number: int) -> np.dtype:
    """Returns the dtype of a penlight_dtype; bfloat16 needs the package ml_dtypes.

    Raises:
        MissingDtypeSupport: bfloat16 without ml_dtypes.
    """
    if number != BFLOAT16:
        return _NUMPY[number]
    try:
        import ml_dtypes  # only programs with bfloat16 need it
    except ImportError as error:
        raise MissingDtypeSupport("the program uses bfloat16, which NumPy lacks: pip install ml_dtypes") from error
    return np.dtype(ml_dtypes.bfloat16)


def empty(shape: tuple[int, ...], number: int) -> np.ndarray:
    """Returns an array for the binding to fill: bfloat16 as uint16, since Python's buffer protocol does not know it."""
    return np.empty(shape, np.uint16 if number == BFLOAT16 else _NUMPY[number])
