# SPDX-License-Identifier: Apache-2.0
"""What flows between the operators of an imported model.

A value is a Tensor; an array where it is known without running (a constant, and what is computed of constants and sizes alone);
`Sizes` where it is computed of sizes that vary in a trace; a list for a sequence; None for one that is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import penlight as pl
from penlight.ops.create import SymbolicScalar
from penlight.ops.dispatch import apply
from penlight.symbolic import SymInt
from penlight.tape import mode

DTYPES = {np.dtype(entry.numpy): entry for entry in vars(pl).values() if isinstance(entry, pl.dtype)}


@dataclass(frozen=True)
class Sizes:
    """Numbers some of which are `SymInt`, in an array of objects; `dtype` is that of the tensor that it stands for."""

    array: np.ndarray
    dtype: np.dtype

    def tensor(self) -> pl.Tensor:
        """The same numbers as a tensor that the trace can compute."""
        dtype = DTYPES[self.dtype]
        parts = [
            apply(SymbolicScalar(size, dtype)) if isinstance(size, SymInt) else pl.tensor(size, dtype=dtype)
            for size in self.array.reshape(-1).tolist()
        ]
        return pl.stack(parts).reshape(self.array.shape) if self.array.ndim else parts[0]


def sizes_value(array: Any, dtype: Any = np.int64) -> Any:
    """Sizes where a number varies, else a plain array."""
    array = np.asarray(array, object)
    if any(isinstance(entry, SymInt) for entry in array.reshape(-1).tolist()):
        return Sizes(array, np.dtype(dtype))
    return array.astype(dtype)


def shape_value(shape: Any) -> Any:
    """The value of a tensor's shape."""
    array = np.empty(len(shape), object)
    array[:] = list(shape)
    return sizes_value(array)


def as_tensor(value: Any) -> Any:
    """A value as the framework's operators take it; lists and None stay."""
    if isinstance(value, Sizes):
        return value.tensor()
    if isinstance(value, np.ndarray):
        return pl.from_numpy(value)
    return value


def as_known(value: Any) -> Any:
    """A value as an array whose entries a program may branch on; reads a tensor's, which a trace refuses if an input led to it."""
    if isinstance(value, Sizes):
        return value.array
    return value.detach().numpy() if isinstance(value, pl.Tensor) else value


def is_known(value: Any) -> bool:
    """Whether a value is an array, or left out."""
    return value is None or isinstance(value, np.ndarray)


def folded(result: Any) -> Any:
    """Results of operators whose inputs were all known, as arrays."""
    if isinstance(result, tuple):
        return tuple(map(folded, result))
    if isinstance(result, pl.Tensor) and result._traced is None and not result.requires_grad:
        return result.numpy()
    return result


def numbers(value: Any) -> list[Any]:
    """The entries of a known value, flat, as Python's numbers or `SymInt`."""
    return list(np.asarray(value).reshape(-1).tolist())


def is_traced() -> bool:
    """Whether a trace is being recorded."""
    return mode.tracer is not None
