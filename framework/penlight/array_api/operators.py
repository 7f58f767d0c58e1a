# SPDX-License-Identifier: Apache-2.0
"""Attaches the Python operators to Array: the functions of the same meaning, with the standard's promotion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penlight.array_api.array import Array, wrap
from penlight.array_api.elementwise import FUNCTIONS, floor_divide
from penlight.array_api.linalg import matmul
from penlight.array_api.promotion import as_dtype, in_dtype, with_scalar
from penlight.errors import DTypeError, ShapeError
from penlight.ops.dispatch import write
from penlight.ops.index import getitem, setitem
from penlight.tensor import Tensor

_BINARY = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "mod": "remainder", "pow": "pow",
    "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor", "lshift": "bitwise_left_shift",
    "rshift": "bitwise_right_shift",
}  # fmt: skip
_COMPARE = {"eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal"}
_UNARY = {"neg": "negative", "pos": "positive", "abs": "abs", "invert": "bitwise_invert"}
_OPERANDS = (Tensor, bool, int, float, complex)


def _forward(function: Callable[[Any, Any], Array]) -> Callable[[Array, Any], Any]:
    def method(self: Array, other: Any, /) -> Any:
        return function(self, other) if isinstance(other, _OPERANDS) else NotImplemented

    return method


def _reflected(function: Callable[[Any, Any], Array]) -> Callable[[Array, Any], Any]:
    def method(self: Array, other: Any, /) -> Any:
        return function(other, self) if isinstance(other, _OPERANDS) else NotImplemented

    return method


def _in_place(name: str, function: Callable[[Any, Any], Array]) -> Callable[[Array, Any], Any]:
    def method(self: Array, other: Any, /) -> Any:
        if not isinstance(other, _OPERANDS):
            return NotImplemented
        value = function(self, other)
        if value.dtype is not self.dtype:
            raise DTypeError(f"{name}=: the result is {value.dtype.name} and does not fit into {self.dtype.name}")
        if value.shape != self.shape:
            raise ShapeError(f"{name}=: the result has shape {tuple(value.shape)} and does not fit into {tuple(self.shape)}")
        return write(self, value, name)

    return method


def _getitem(self: Array, key: Any, /) -> Array:
    return wrap(getitem(self, key), self)


def _setitem(self: Array, key: Any, value: Any, /) -> None:
    if isinstance(value, Tensor):
        if as_dtype(value).kind > self.dtype.kind:
            raise DTypeError(f"setitem: {value.dtype.name} does not fit into {self.dtype.name}; convert it with astype")
    else:
        value = in_dtype(value, with_scalar(self.dtype, value), self)
        if value.dtype is not self.dtype:
            raise DTypeError(f"setitem: a complex number does not fit into {self.dtype.name}")
    setitem(self, key, value)


def attach() -> None:
    """Sets the methods; called once, when the namespace is imported."""
    named = [(symbol, FUNCTIONS[name]) for symbol, name in _BINARY.items()]
    for symbol, function in [*named, ("floordiv", floor_divide), ("matmul", matmul)]:
        setattr(Array, f"__{symbol}__", _forward(function))
        setattr(Array, f"__r{symbol}__", _reflected(function))
        setattr(Array, f"__i{symbol}__", _in_place(symbol, function))
    for symbol, name in _COMPARE.items():
        setattr(Array, f"__{symbol}__", _forward(FUNCTIONS[name]))
    for symbol, name in _UNARY.items():
        setattr(Array, f"__{symbol}__", FUNCTIONS[name])
    for special, method in (("__getitem__", _getitem), ("__setitem__", _setitem), ("__hash__", Tensor.__hash__)):
        setattr(Array, special, method)  # a class that gets __eq__ is no longer hashable by itself


attach()
