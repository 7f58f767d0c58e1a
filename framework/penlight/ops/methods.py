# SPDX-License-Identifier: Apache-2.0
"""Attaches the operators to Tensor as methods and as Python operators, in-place forms included."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from penlight import autograd, random
from penlight.dtype import as_dtype
from penlight.errors import DTypeError
from penlight.ops import (
    activation,
    arithmetic,
    compare,
    convert,
    elementwise,
    gather,
    index,
    mask,
    matmul,
    reduction,
    shape,
    softmax,
    sort,
)
from penlight.ops.broadcast import operand
from penlight.ops.dispatch import write
from penlight.tensor import Tensor

_METHODS: dict[Any, str] = {
    arithmetic: "add sub mul div floor_divide remainder pow maximum minimum clamp square",
    elementwise: "neg abs sign floor ceil round exp log log1p expm1 sqrt rsqrt reciprocal sin cos erf",
    activation: "relu sigmoid tanh",
    compare: "eq ne lt le gt ge logical_and logical_or logical_xor logical_not isnan isinf isfinite",
    reduction: "sum sum_to mean var std amax amin max min prod argmax argmin any all cumsum",
    shape: "reshape view flatten unflatten permute transpose expand unsqueeze squeeze narrow split chunk unbind flip roll "
    "repeat pad",
    gather: "index_select gather take_along_dim scatter_add",
    mask: "masked_fill masked_select nonzero tril triu one_hot",
    sort: "argsort sort topk",
    matmul: "matmul bmm mm dot outer",
    softmax: "softmax log_softmax logsumexp",
    convert: "to clone contiguous cpu cuda",
}
_IN_PLACE = (
    "add", "sub", "mul", "div", "pow", "clamp", "neg", "abs", "exp", "log", "sqrt", "relu", "sigmoid", "tanh", "masked_fill",
    "floor", "ceil", "round", "scatter_add",
)  # fmt: skip
_CASTS = {
    "float": "float32",
    "double": "float64",
    "half": "float16",
    "bfloat16": "bfloat16",
    "long": "int64",
    "int": "int32",
    "bool": "bool",
}
_SYMBOLS = {
    "add": "add", "sub": "sub", "mul": "mul", "truediv": "div", "floordiv": "floor_divide", "mod": "remainder", "pow": "pow",
    "matmul": "matmul",
}  # fmt: skip


def attach() -> None:
    """Sets the methods; called once, when `penlight.ops` is imported."""
    for module, names in _METHODS.items():
        for name in names.split():
            setattr(Tensor, name, getattr(module, name))
    for name in _IN_PLACE:
        setattr(Tensor, f"{name}_", _in_place(name, getattr(Tensor, name)))
    for symbol, name in _SYMBOLS.items():
        function = getattr(Tensor, name)
        setattr(Tensor, f"__{symbol}__", function)
        setattr(Tensor, f"__r{symbol}__", _reflected(function))
        setattr(Tensor, f"__i{symbol}__", _in_place(name, function))
    for name in ("lt", "le", "gt", "ge"):
        setattr(Tensor, f"__{name}__", getattr(Tensor, name))
    for name, dtype in _CASTS.items():
        setattr(Tensor, name, _cast(dtype))
    for name, function in _SPECIAL.items():
        setattr(Tensor, name, function)


def _cast(dtype: str) -> Callable[[Tensor], Tensor]:
    def cast(self: Tensor) -> Tensor:
        return convert.to(self, as_dtype(dtype))

    cast.__doc__ = f"Returns the tensor as {dtype}."
    return cast


def _reflected(function: Callable[..., Tensor]) -> Callable[[Tensor, Any], Tensor]:
    def reflected(self: Tensor, other: Any) -> Tensor:
        return function(operand(other), self) if not isinstance(other, (bool, int, float, complex)) else function(other, self)

    return reflected


def _in_place(name: str, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    @functools.wraps(function)
    def in_place(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return write(self, function(self, *args, **kwargs), f"{name}_")

    in_place.__doc__ = f"Does `{name}` in place and returns the tensor."
    return in_place


def copy_(self: Tensor, source: Any) -> Tensor:
    """Writes `source`, broadcast and converted, into the tensor."""
    value = operand(source).to(self.dtype).to(self.device)
    return write(self, value if value._data.shape == self._data.shape else value.expand(tuple(self.shape)), "copy_")


def fill_(self: Tensor, value: float) -> Tensor:
    """Writes one number everywhere."""
    return copy_(self, value)


def zero_(self: Tensor) -> Tensor:
    """Writes 0 everywhere."""
    return copy_(self, 0)


def backward(self: Tensor, gradient: Tensor | None = None, retain_graph: bool | None = None, create_graph: bool = False) -> None:
    """Adds the gradients of this tensor to `.grad` of the leaves it was computed from.

    Args:
        gradient: of the loss with respect to this tensor, same shape; 1 for a single element.
        retain_graph: keeps the tape for another backward; as `create_graph` by default.
        create_graph: makes the gradients themselves differentiable.

    Raises:
        GradientError: the tensor does not require a gradient, has several elements and no `gradient`, or its tape was freed.
    """
    autograd.backward([self], [gradient], retain_graph, create_graph)


def _and(self: Tensor, other: Any) -> Tensor:
    return compare.logical_and(self, _bools(self, other))


def _or(self: Tensor, other: Any) -> Tensor:
    return compare.logical_or(self, _bools(self, other))


def _xor(self: Tensor, other: Any) -> Tensor:
    return compare.logical_xor(self, _bools(self, other))


def _invert(self: Tensor) -> Tensor:
    _bools(self, self)
    return compare.logical_not(self)


def _bools(a: Tensor, b: Any) -> Tensor:
    b = operand(b)
    if a.dtype.name != "bool" or b.dtype.name != "bool":
        raise DTypeError(f"&, |, ^ and ~ expect bool tensors, came {a.dtype} and {b.dtype}")
    return b


def _equal(self: Tensor, other: Any) -> Any:
    return compare.eq(self, other) if _comparable(other) else NotImplemented


def _not_equal(self: Tensor, other: Any) -> Any:
    return compare.ne(self, other) if _comparable(other) else NotImplemented


def _comparable(other: Any) -> bool:
    return isinstance(other, (Tensor, bool, int, float, complex)) or hasattr(other, "__array__")


def _type_as(self: Tensor, other: Tensor) -> Tensor:
    return self.to(other.dtype)


def _view_as(self: Tensor, other: Tensor) -> Tensor:
    return self.view(tuple(other.shape))


def _reshape_as(self: Tensor, other: Tensor) -> Tensor:
    return self.reshape(tuple(other.shape))


def _expand_as(self: Tensor, other: Tensor) -> Tensor:
    return self.expand(tuple(other.shape))


def _clamp_min(self: Tensor, min: float) -> Tensor:
    return self.clamp(min=min)


def _clamp_max(self: Tensor, max: float) -> Tensor:
    return self.clamp(max=max)


def _swap_last(self: Tensor) -> Tensor:
    return self.transpose(-1, -2)


def _reversed(self: Tensor) -> Tensor:
    return self.permute(tuple(range(self.ndim))[::-1])


_SPECIAL: dict[str, Any] = {
    "__neg__": elementwise.neg,
    "__abs__": elementwise.abs,
    "__eq__": _equal,
    "__ne__": _not_equal,
    "__and__": _and,
    "__or__": _or,
    "__xor__": _xor,
    "__invert__": _invert,
    "__getitem__": index.getitem,
    "__setitem__": index.setitem,
    "copy_": copy_,
    "fill_": fill_,
    "zero_": zero_,
    "backward": backward,
    "retain_grad": autograd.keep_gradient,
    "where": lambda self, condition, other: arithmetic.where(condition, self, other),
    "type_as": _type_as,
    "view_as": _view_as,
    "reshape_as": _reshape_as,
    "expand_as": _expand_as,
    "clamp_min": _clamp_min,
    "clamp_max": _clamp_max,
    "clip": arithmetic.clamp,
    "t": _swap_last,
    "T": property(_reversed),
    "mT": property(_swap_last),
    "uniform_": random.uniform_,
    "normal_": random.normal_,
}
attach()
