# SPDX-License-Identifier: Apache-2.0
"""How the operands of one elementwise launch lie in memory: broadcast, merged into few dimensions, in packs where possible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from penlight.backends.cuda import source

# Kernels divide element numbers in 32 bits.
MAX_COUNT = 1 << 32
# Matrices with fewer rows or columns than that are copied element by element.
_TILED = 8

Dims = list[tuple[int, tuple[int, ...]]]  # (size, stride of each operand in elements), outermost first


def describe(shape: Sequence[int], operands: Sequence[Any], pack: int, in_order: bool = False) -> np.ndarray | None:
    """The Layout of operands that broadcast to `shape`; the first one is the output. None where it has too many dimensions.

    Args:
        shape: sizes of the whole.
        operands: arrays whose shapes broadcast to it.
        pack: how many elements the kernel would like to take at once.
        in_order: elements are numbered in row-major order, else as the output has them in memory.
    """
    dims = merged(_dims(shape, operands, in_order)) or [(1, (0,) * len(operands))]
    if len(dims) > source.MAX_DIMS:
        return None
    result = np.zeros((), source.LAYOUT)
    result["dims"], result["packed"] = len(dims), _is_packed(dims, pack)
    result["inner"][: len(operands)] = dims[-1][1]
    for d, (size, strides) in enumerate(dims):
        result["sizes"][d] = size
        result["strides"][: len(operands), d] = strides
    return result


def transposed(shape: Sequence[int], operands: Sequence[Any]) -> np.ndarray | None:
    """The Layout of a copy in three dimensions (batch, columns, rows) where x has its columns innermost; None for other copies."""
    dims = merged(_dims(shape, operands, False))
    if len(dims) == 2:
        dims = [(1, (0, 0)), *dims]
    if len(dims) != 3 or dims[2][1][0] != 1 or dims[1][1][1] != 1 or min(dims[1][0], dims[2][0]) < _TILED:
        return None
    result = np.zeros((), source.LAYOUT)
    result["dims"], result["sizes"][:3] = 3, [size for size, _ in dims]
    result["strides"][:2, :3] = np.array([strides for _, strides in dims]).T
    return result


def _dims(shape: Sequence[int], operands: Sequence[Any], in_order: bool) -> Dims:
    """Dimensions of more than one element, in their order or with that which the output has innermost last."""
    strides = [_strides(len(shape), array) for array in operands]
    dims = [(size, tuple(own[d] for own in strides)) for d, size in enumerate(shape) if size != 1]
    return dims if in_order else sorted(dims, key=lambda dim: -abs(dim[1][0]))


def _strides(ndim: int, array: Any) -> list[int]:
    itemsize = array.dtype.itemsize
    own = [0 if size == 1 else stride // itemsize for size, stride in zip(array.shape, array.strides, strict=True)]
    return [0] * (ndim - len(own)) + own


def merged(dims: Dims) -> Dims:
    """The same with neighbours as one dimension where every operand steps evenly through both."""
    result: Dims = []
    for size, strides in dims:
        if result and all(outer == size * inner for outer, inner in zip(result[-1][1], strides, strict=True)):
            result[-1] = (result[-1][0] * size, strides)
        else:
            result.append((size, strides))
    return result


def _is_packed(dims: Dims, pack: int) -> bool:
    """Whether runs of `pack` elements stay within the last dimension and start at multiples of it."""
    size, inner = dims[-1]
    if inner[0] != 1 or any(stride not in (0, 1) for stride in inner):
        return False
    if len(dims) == 1:
        return True
    whole = all(stride % pack == 0 for _, strides in dims[:-1] for stride, last in zip(strides, inner, strict=True) if last)
    return size % pack == 0 and whole
