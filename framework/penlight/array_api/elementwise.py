# SPDX-License-Identifier: Apache-2.0
"""The elementwise functions: one row of a table each.

Floating-point inputs go through the framework's operator of the same meaning where there is one, with its gradient and
trace; everything else is computed by NumPy or CuPy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from penlight.array_api.array import Array, arrays_of, check_array, module_of, wrap
from penlight.array_api.promotion import check_kind, in_dtype, operands
from penlight.ops.arithmetic import maximum as maximum_operator
from penlight.ops.arithmetic import minimum as minimum_operator
from penlight.ops.dispatch import apply
from penlight.ops.registry import operators
from penlight.tape import mode
from penlight.tensor import Tensor

# name: (kinds of the input, name in NumPy, name of the operator)
UNARY: dict[str, tuple[str, str, str]] = {
    "abs": ("numeric", "abs", "abs"),
    "acos": ("floating-point", "arccos", "acos"),
    "acosh": ("floating-point", "arccosh", "acosh"),
    "asin": ("floating-point", "arcsin", "asin"),
    "asinh": ("floating-point", "arcsinh", "asinh"),
    "atan": ("floating-point", "arctan", "atan"),
    "atanh": ("floating-point", "arctanh", "atanh"),
    "bitwise_invert": ("boolean or integer", "invert", ""),
    "ceil": ("real", "ceil", "ceil"),
    "conj": ("numeric", "conj", ""),
    "cos": ("floating-point", "cos", "cos"),
    "cosh": ("floating-point", "cosh", "cosh"),
    "exp": ("floating-point", "exp", "exp"),
    "expm1": ("floating-point", "expm1", "expm1"),
    "floor": ("real", "floor", "floor"),
    "imag": ("complex floating-point", "imag", ""),
    "isfinite": ("numeric", "isfinite", ""),
    "isinf": ("numeric", "isinf", "isinf"),
    "isnan": ("numeric", "isnan", "isnan"),
    "log": ("floating-point", "log", "log"),
    "log1p": ("floating-point", "log1p", "log1p"),
    "log2": ("floating-point", "log2", "log2"),
    "log10": ("floating-point", "log10", "log10"),
    "logical_not": ("boolean", "logical_not", "logical_not"),
    "negative": ("numeric", "negative", "neg"),
    "positive": ("numeric", "positive", "positive"),
    "real": ("numeric", "real", ""),
    "reciprocal": ("floating-point", "reciprocal", "reciprocal"),
    "round": ("numeric", "round", "round"),
    "sign": ("numeric", "sign", "sign"),
    "signbit": ("real floating-point", "signbit", ""),
    "sin": ("floating-point", "sin", "sin"),
    "sinh": ("floating-point", "sinh", "sinh"),
    "sqrt": ("floating-point", "sqrt", "sqrt"),
    "square": ("numeric", "square", ""),
    "tan": ("floating-point", "tan", "tan"),
    "tanh": ("floating-point", "tanh", "tanh"),
    "trunc": ("real", "trunc", "trunc"),
}
BINARY: dict[str, tuple[str, str, str]] = {
    "add": ("numeric", "add", "add"),
    "atan2": ("real floating-point", "arctan2", "atan2"),
    "bitwise_and": ("boolean or integer", "bitwise_and", ""),
    "bitwise_left_shift": ("integer", "left_shift", ""),
    "bitwise_or": ("boolean or integer", "bitwise_or", ""),
    "bitwise_right_shift": ("integer", "right_shift", ""),
    "bitwise_xor": ("boolean or integer", "bitwise_xor", ""),
    "copysign": ("real floating-point", "copysign", "copysign"),
    "divide": ("floating-point", "divide", "div"),
    "equal": ("any", "equal", "eq"),
    "floor_divide": ("real", "floor_divide", "floor_divide"),
    "greater": ("real", "greater", "gt"),
    "greater_equal": ("real", "greater_equal", "ge"),
    "hypot": ("real floating-point", "hypot", "hypot"),
    "less": ("real", "less", "lt"),
    "less_equal": ("real", "less_equal", "le"),
    "logaddexp": ("real floating-point", "logaddexp", "logaddexp"),
    "logical_and": ("boolean", "logical_and", "logical_and"),
    "logical_or": ("boolean", "logical_or", "logical_or"),
    "logical_xor": ("boolean", "logical_xor", "logical_xor"),
    "maximum": ("real", "maximum", "maximum"),
    "minimum": ("real", "minimum", "minimum"),
    "multiply": ("numeric", "multiply", "mul"),
    "nextafter": ("real floating-point", "nextafter", ""),
    "not_equal": ("any", "not_equal", "ne"),
    "pow": ("numeric", "power", "pow"),
    "remainder": ("real", "remainder", "remainder"),
    "subtract": ("numeric", "subtract", "sub"),
}


def _operator(name: str, *inputs: Tensor) -> Any:
    """The operator to use, if there is one and it suits the inputs: floating point, or recorded by a trace."""
    found = operators().get(name)
    if found is None or not (inputs[0].dtype.is_floating_point or mode.tracer is not None):
        return None
    return found()


def _compute(name: str, function: str, operator_name: str, *inputs: Tensor) -> Array:
    operator = _operator(operator_name, *inputs)
    if operator is not None:
        return wrap(apply(operator, *inputs), *inputs)
    arrays = arrays_of(name, *inputs)
    with np.errstate(all="ignore"):
        return wrap(_SPECIAL.get(function, _plain)(module_of(*inputs), function, *arrays))


def _plain(xp: Any, function: str, *arrays: Any) -> Any:
    return getattr(xp, function)(*arrays)


def _keep_integers(xp: Any, function: str, x: Any) -> Any:
    """NumPy before 2.1 rounds integers to floating point."""
    return x.copy() if x.dtype.kind in "iu" else getattr(xp, function)(x)


def _expm1(xp: Any, function: str, z: Any) -> Any:
    """exp(z) - 1 of complex z, exact near 0 and with the standard's values at infinity, where NumPy gives NaN."""
    if z.dtype.kind != "c":
        return xp.expm1(z)
    x, y = z.real, z.imag
    low, high = x == -xp.inf, x == xp.inf
    real = xp.expm1(x) * xp.cos(y) - 2 * xp.sin(y / 2) ** 2 + 0.0
    real = xp.where(low, -1, xp.where(high & ~xp.isfinite(y), x, real))
    imaginary = xp.where(y == 0, y, xp.exp(x) * xp.sin(y))
    return _joined(xp, z, real, xp.where(low & ~xp.isfinite(y), 0, imaginary))


def _tanh(xp: Any, function: str, z: Any) -> Any:
    """tanh of complex z; where its real part is infinite the sign of the imaginary part is that of z."""
    if z.dtype.kind != "c":
        return xp.tanh(z)
    result, ends = xp.tanh(z), xp.isinf(z.real)
    real = xp.where(ends, xp.sign(z.real), result.real)
    return _joined(xp, z, real, xp.where(ends, xp.copysign(xp.zeros_like(z.imag), z.imag), result.imag))


def _joined(xp: Any, like: Any, real: Any, imaginary: Any) -> Any:
    """A complex array of its parts; real + 1j * imaginary would turn inf into NaN."""
    result = xp.empty(like.shape, like.dtype)
    result.real, result.imag = real, imaginary
    return result


_SPECIAL: dict[str, Callable[..., Any]] = dict.fromkeys(("ceil", "floor", "round", "trunc"), _keep_integers)
_SPECIAL |= {"expm1": _expm1, "tanh": _tanh}


def _unary(name: str, kinds: str, function: str, operator: str) -> Callable[[Any], Array]:
    def call(x: Any, /) -> Array:
        check_array(name, x)
        check_kind(name, kinds, x.dtype)
        return _compute(name, function, operator, x)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"Returns {name} of each element; x: any shape, {kinds} dtype."
    return call


def _binary(name: str, kinds: str, function: str, operator: str) -> Callable[[Any, Any], Array]:
    def call(x1: Any, x2: Any, /) -> Array:
        return _compute(name, function, operator, *operands(name, kinds, x1, x2))

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"Returns {name} of the elements of two arrays that broadcast, or of an array and a number; {kinds} dtypes."
    return call


FUNCTIONS: dict[str, Callable[..., Array]] = {
    **{name: _unary(name, *row) for name, row in UNARY.items()},
    **{name: _binary(name, *row) for name, row in BINARY.items()},
}


def floor_divide(x1: Any, x2: Any, /) -> Array:
    """Returns floor(x1 / x2); of infinities what the standard says, where NumPy gives NaN or -1."""
    a, b = operands("floor_divide", "real", x1, x2)
    result = _compute("floor_divide", "floor_divide", "floor_divide", a, b)
    if result.dtype.kind == 2 and result._traced is None:
        xp, x, y = module_of(a), a._data, b._data
        odd = xp.isinf(x) | xp.isinf(y)
        if odd.any():
            with np.errstate(all="ignore"):
                result._data[...] = xp.where(odd, xp.floor(x / y), result._data)
    return result


def clip(x: Any, /, min: Any = None, max: Any = None) -> Array:
    """Returns the elements of x within [min, max], each an array that broadcasts with x, a number or None."""
    check_array("clip", x)
    check_kind("clip", "real", x.dtype)
    result: Any = x
    for bound, limit in ((min, maximum_operator), (max, minimum_operator)):
        if bound is not None:
            result = _limited(result, _bound(x, bound), limit)
    return wrap(result.clone() if result is x else result, x)


def _bound(x: Tensor, bound: Any) -> Tensor:
    """A bound in the dtype of x; a number outside an integer dtype's range bounds nothing further than the range."""
    if not isinstance(bound, Tensor):
        operands("clip", "real", x, 0 if isinstance(bound, int) else bound)
        if x.dtype.kind == 1:
            limits = np.iinfo(x.dtype.numpy)
            bound = np.clip(bound, int(limits.min), int(limits.max)) if limits.min > bound or bound > limits.max else bound
    elif bound.dtype.kind != x.dtype.kind:
        operands("clip", "real", x, bound)
    return in_dtype(bound, x.dtype, x)


def _limited(x: Tensor, bound: Tensor, limit: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    if x.dtype.is_floating_point or mode.tracer is not None:
        return limit(x, bound)
    name = "maximum" if limit is maximum_operator else "minimum"
    return _compute(name, name, name, x, bound)
