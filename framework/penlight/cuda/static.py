# SPDX-License-Identifier: Apache-2.0
"""The tensors that a graph reads its arguments from, at fixed addresses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from penlight.backends.backend import Backend, visiting
from penlight.layout import copy_in_order, dims_in_memory
from penlight.tensor import Tensor, from_array
from penlight.tree import Rebuild


class Inputs:
    """Static copies of the tensors among the arguments; other arguments are what they were."""

    def __init__(self, backend: Backend, leaves: Sequence[Any], rebuild: Rebuild) -> None:
        self._rebuild = rebuild
        self._leaves = [from_array(_buffer(backend, leaf._data)) if isinstance(leaf, Tensor) else leaf for leaf in leaves]

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The positional and named arguments for the step, with the static tensors in them."""
        return self._rebuild(self._leaves)

    def fill(self, leaves: Sequence[Any]) -> None:
        """Copies the values of a call; ordered with the work of the current stream."""
        for static, given in zip(self._leaves, leaves, strict=True):
            if isinstance(static, Tensor) and static is not given:
                _copy(static._data, given._data)


def _buffer(backend: Backend, array: Any) -> Any:
    dims = dims_in_memory(array)
    if dims is None or array.flags.c_contiguous:
        return backend.empty(array.shape, array.dtype)
    back = sorted(range(len(dims)), key=lambda d: dims[d])
    return backend.empty(tuple(array.shape[d] for d in dims), array.dtype).transpose(back)


def _copy(target: Any, source: Any) -> None:
    if not isinstance(source, np.ndarray):
        target[...] = source
        return
    dims = dims_in_memory(target) or tuple(range(target.ndim))
    plain = source.transpose(dims)
    target.transpose(dims).set(plain if plain.flags.c_contiguous else plain.copy())


def detached_copy(leaf: Any) -> Any:
    """A result as the caller gets it: a tensor that the next launch does not overwrite; anything else as it is."""
    if not isinstance(leaf, Tensor):
        return leaf
    dims = None if leaf._data.flags.c_contiguous else dims_in_memory(leaf._data)
    with visiting(leaf._data):
        return from_array(leaf._data.copy() if dims is None else copy_in_order(leaf._data, dims))
