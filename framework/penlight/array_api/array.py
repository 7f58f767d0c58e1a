# SPDX-License-Identifier: Apache-2.0
"""Array: a Tensor with the attributes and conversions of the array API standard.

Its operators are attached by `operators.py`, so that this module knows none of the functions.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from penlight.backends.backend import backend_of
from penlight.errors import ArgumentError, DTypeError, GradientError, ShapeError
from penlight.ops.convert import to
from penlight.ops.shape import reshape, transpose
from penlight.tape import mode
from penlight.tensor import Tensor

VERSION = "2024.12"


class Array(Tensor):
    """A Tensor whose operators promote by the standard's rules instead of PyTorch's.

    It shares memory with the Tensor or array that it was made from, and takes part in gradients like any Tensor. `size` is
    a number here, not a method.
    """

    @property
    def size(self) -> int:  # type: ignore[override]  # an attribute in the standard
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def T(self) -> Array:
        """The transpose of a matrix."""
        if self.ndim != 2:
            raise ShapeError(f"T: expected 2 dimensions, came {self.ndim}; use .mT or permute_dims")
        return wrap(transpose(self, 0, 1))

    @property
    def mT(self) -> Array:
        """The transpose of the last two dimensions."""
        if self.ndim < 2:
            raise ShapeError(f"mT: expected 2 or more dimensions, came {self.ndim}")
        return wrap(transpose(self, -1, -2))

    def to_device(self, device: Any, /, *, stream: Any = None) -> Array:
        """Returns the array on another device, itself if it is there already."""
        return wrap(to(self, device=device), self)

    def __array_namespace__(self, /, *, api_version: str | None = None) -> Any:
        if api_version not in (None, "2021.12", "2022.12", "2023.12", VERSION):
            raise ArgumentError(f"__array_namespace__: version {api_version!r} is not there; the newest is {VERSION}")
        from penlight import array_api  # late: the namespace is made of modules that use this one

        return array_api

    def __complex__(self) -> complex:
        return complex(self.item())

    def __float__(self) -> float:
        if self.dtype.kind == 3:
            raise DTypeError("float: the array is complex; take real() first")
        return float(self.item())

    def __int__(self) -> int:
        if self.dtype.kind == 3:
            raise DTypeError("int: the array is complex; take real() first")
        return int(self.item())

    def __index__(self) -> int:
        if self.dtype.kind != 1 or self.ndim:
            raise DTypeError(f"index: expected a 0-dim integer array, came {self.dtype} of shape {tuple(self.shape)}")
        return int(self.item())


def wrap(result: Any, *inputs: Any) -> Array:
    """The result of an operator or of NumPy as an Array; one that is an input itself is not changed but shared."""
    if type(result) is Array:
        return result
    if not isinstance(result, Tensor):
        array = Array.__new__(Array)
        array._data = result if hasattr(result, "strides") and not isinstance(result, np.generic) else np.asarray(result)
        return array
    if type(result) is not Tensor or any(result is t for t in inputs):
        result = alias(result)
    result.__class__ = Array  # the object is new: nobody else has it
    return result


def alias(t: Tensor) -> Tensor:
    """Another tensor on the same memory, and on the tape behind `t` if that has a gradient."""
    if t.requires_grad or t._traced is not None:
        shared = reshape(t, tuple(t.shape))
        return shared if shared is not t else t.clone()
    return t.detach()


def arrays_of(name: str, *tensors: Tensor) -> list[Any]:
    """The NumPy or CuPy arrays of tensors, for functions that have no operator.

    Raises:
        GradientError: one of them wants a gradient.
        TraceError: one of them is traced.
    """
    for t in tensors:
        if t._traced is not None:
            mode.tracer.refuse_value(f"array_api.{name}()")
        if t.requires_grad and mode.enabled:
            raise GradientError(f"array_api.{name}: there is no gradient of it yet; use .detach(), or call it under no_grad()")
    return [t._data for t in tensors]


def is_recorded(*tensors: Tensor) -> bool:
    """Whether a gradient or a trace wants to know what happens to them, so that an operator must do it."""
    return any(t._traced is not None or (t.requires_grad and mode.enabled) for t in tensors)


def module_of(*tensors: Tensor) -> Any:
    """NumPy, or CuPy where the tensors live on a GPU."""
    return backend_of(tensors[0]._data).xp


def check_array(name: str, *values: Any) -> None:
    """Refuses what is no array, such as a list, naming the function."""
    for value in values:
        if not isinstance(value, Tensor):
            raise DTypeError(f"array_api.{name}: expected an array, came {type(value).__name__}; use asarray")
