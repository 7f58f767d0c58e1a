# SPDX-License-Identifier: Apache-2.0
"""PyTorch's second names of functions, and its questions about tensors."""

from __future__ import annotations

from typing import Any

from penlight.dtype import dtype as DType
from penlight.ops.activation import sigmoid
from penlight.ops.arithmetic import clamp, div, mul, sub
from penlight.ops.arithmetic import where as _chosen
from penlight.ops.broadcast import operand, promoted_type
from penlight.ops.compare import ge, gt, le, lt, ne
from penlight.ops.elementwise import abs as magnitude
from penlight.ops.elementwise import neg
from penlight.ops.gamma import digamma, lgamma, multigammaln
from penlight.ops.mask import nonzero
from penlight.ops.matmul import outer
from penlight.ops.rearrange import movedim, vstack
from penlight.ops.rounding import trunc
from penlight.ops.shape import cat, transpose
from penlight.ops.trigonometry import acos, acosh, asin, asinh, atan, atan2, atanh
from penlight.tensor import Tensor

absolute = magnitude
arccos = acos
arccosh = acosh
arcsin = asin
arcsinh = asinh
arctan = atan
arctan2 = atan2
arctanh = atanh
clip = clamp
concat = cat
concatenate = cat
divide = div
expit = sigmoid
fix = trunc
gammaln = lgamma
ger = outer
greater = gt
greater_equal = ge
less = lt
less_equal = le
moveaxis = movedim
multiply = mul
mvlgamma = multigammaln
negative = neg
not_equal = ne
psi = digamma
row_stack = vstack
subtract = sub
swapaxes = transpose
swapdims = transpose


def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """Returns `input` where `condition` (bool) holds, else `other`; all three broadcast.

    With the condition alone it returns its places: one vector of indices for each dimension.
    """
    return nonzero(condition, as_tuple=True) if input is None and other is None else _chosen(condition, input, other)


def equal(input: Tensor, other: Tensor) -> bool:
    """Returns whether both have the same shape and elements; NaN equals nothing."""
    return tuple(input.shape) == tuple(other.shape) and bool((input == other).all())


def is_tensor(obj: Any) -> bool:
    """Returns whether an object is a tensor."""
    return isinstance(obj, Tensor)


def is_floating_point(input: Tensor) -> bool:
    """Returns whether the elements are floating-point numbers."""
    return bool(input.dtype.is_floating_point)


def numel(input: Tensor) -> int:
    """Returns the number of elements."""
    return input.numel()


def result_type(tensor1: Any, tensor2: Any) -> DType:
    """Returns the dtype of `tensor1 + tensor2`: a Python number or a 0-dim tensor does not widen within its kind."""
    a, b = operand(tensor1), operand(tensor2)
    return promoted_type(a, b)


def t(input: Tensor) -> Tensor:
    """Returns a matrix with its dimensions exchanged; a vector stays."""
    return input.t()
