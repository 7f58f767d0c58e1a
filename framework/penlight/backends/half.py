# SPDX-License-Identifier: Apache-2.0
"""float16 and bfloat16 on the CPU: operators widen them to float32, compute there, and round once to the nearest even.

NumPy's float16 takes 20 to 40 times as long as float32, the bfloat16 of ml_dtypes 5 to 30 times. What only moves elements runs
on the 16 bits as they are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from penlight import _native
from penlight.dtype import FROM_NUMPY, bfloat16, float16
from penlight.layout import dims_in_memory
from penlight.ops.operator import Spec

_half: Any = None if os.environ.get("PENLIGHT_NATIVE", "1") == "0" else _native.half

Kernel = Callable[..., Any]

_BFLOAT = bfloat16.numpy
_ZERO = np.zeros(1, np.uint16)
_TYPES = (float16.numpy, _BFLOAT)

# Operators that move elements without computing with them; views move nothing at all.
AS_STORED = frozenset(
    (
        "advanced_index",
        "advanced_index_put",
        "cat",
        "channels_last",
        "clone",
        "contiguous",
        "diagonal_scatter",
        "flip",
        "full",
        "gather",
        "pad",
        "slice",
        "slice_scatter",
        "slice_write",
        "take",
        "to_device",
        "tril",
        "triu",
        "view_scatter",
        "where",
    )
)


def among(arrays: Sequence[Any]) -> bool:
    """Whether one of the arrays is a NumPy array of float16 or bfloat16."""
    for a in arrays:  # noqa: SIM110  a third of the time of any(...), and every reference call pays it
        if type(a) is np.ndarray and a.itemsize == 2 and a.dtype in _TYPES:
            return True
    return False


def forward(operator: Any, arrays: Sequence[Any], run: Callable[..., Any]) -> Any:
    """The result of an operator with 16-bit inputs; NotImplemented where it is to run on them as they are.

    Args:
        operator: what to compute.
        arrays: its inputs, one of them float16 or bfloat16.
        run: `run(operator, arrays, on_cpu)`, which computes it in float32.
    """
    kernel = _KERNELS.get(operator.name)
    result = NotImplemented if kernel is None else kernel(operator, *arrays)
    if result is not NotImplemented or operator.is_view or operator.name in AS_STORED:
        return result
    kinds = list({a.dtype for a in arrays if a is not None and a.dtype.kind in "fV"})
    if len(kinds) > 1 or operator.outputs > 1:  # mixed types are for infer to refuse, or to name the type of each output
        specs = operator.infer(*(None if a is None else Spec(tuple(a.shape), FROM_NUMPY[a.dtype]) for a in arrays))
        kinds = [s.dtype.numpy for s in (specs if type(specs) is tuple else (specs,))]
    results = run(operator, [widened(a) for a in arrays], True)
    if type(results) is tuple:
        return tuple(rounded(r, kind) for r, kind in zip(results, kinds, strict=True))
    return rounded(results, kinds[0])


class Widened:
    """A node of the tape as a gradient in float32 sees it."""

    def __init__(self, node: Any, tensor: Callable[[Any], Any]) -> None:
        self.operator, self.edges = node.operator, node.edges
        self.outputs = None if node.outputs is None else tuple(widened(a) for a in node.outputs)
        self.inputs = [self._input(t, tensor) for t in node.inputs]

    @staticmethod
    def _input(t: Any, tensor: Callable[[Any], Any]) -> Any:
        array = getattr(t, "_data", None)
        if array is None or array.dtype not in _TYPES:
            return t
        result = tensor(widened(array))
        result.requires_grad = t.requires_grad
        return result


def backward(node: Any, grads: Sequence[Any], run: Callable[..., Any], tensor: Callable[[Any], Any]) -> Any:
    """The gradients of a node's inputs, each rounded once to its input's type; NotImplemented as in `forward`."""
    operator = node.operator
    if operator.is_view or operator.name in AS_STORED:
        return NotImplemented
    kernel = _BACKWARD.get(operator.name)
    results = NotImplemented if kernel is None else kernel(node, grads[0])
    if results is not NotImplemented:
        return results
    results = run(Widened(node, tensor), [None if g is None else widened(g) for g in grads])
    return [None if r is None else rounded(r, t.dtype.numpy) for r, t in zip(results, node.inputs, strict=True)]


def add(a: Any, b: Any) -> Any:
    """The sum of two arrays of one shape and one 16-bit type, such as gradients that meet."""
    result = NotImplemented if _half is None else _sum(None, a, b)  # declines what lies differently in memory
    return rounded(np.asarray(np.add(widened(a), widened(b))), a.dtype) if result is NotImplemented else result


def widened(array: Any) -> Any:
    """A 16-bit array in float32, with its order in memory; anything else as it is."""
    if array is None or array.dtype not in _TYPES:
        return array
    if _half is None:
        return array.astype(np.float32)
    rows, back = _in_rows(array)
    result = np.empty(rows.shape, np.float32)
    _half.widen(rows.view(np.uint16), result, array.dtype == _BFLOAT)
    return result if back is None else result.transpose(back)


def rounded(array: Any, dtype: Any) -> Any:
    """A float32 array in a 16-bit type, with its order in memory; anything else as it is."""
    if dtype not in _TYPES or array.dtype != np.float32:
        return array
    if _half is None:
        return array.astype(dtype)
    rows, back = _in_rows(array)
    result = np.empty(rows.shape, dtype)
    _half.round(rows, result.view(np.uint16), dtype == _BFLOAT)
    return result if back is None else result.transpose(back)


def _in_rows(array: Any) -> tuple[Any, Any]:
    """The elements in the order of memory as a row-major array, and the permutation that leads back (None: none)."""
    if array.flags.c_contiguous:
        return array, None
    dims = dims_in_memory(array)
    return (np.ascontiguousarray(array), None) if dims is None else (array.transpose(dims), np.argsort(dims))


def cast(operator: Any, x: Any) -> Any:
    """The operator `cast` where one of the types has 16 bits."""
    target = operator.dtype.numpy
    if x.dtype in _TYPES:
        wide = widened(x)
        return rounded(wide, target) if target in _TYPES else wide if target == np.float32 else _quiet(wide, target)
    return rounded(x, target) if target in _TYPES and x.dtype == np.float32 else NotImplemented


def _quiet(array: Any, dtype: Any) -> Any:
    with np.errstate(all="ignore"):  # NaN to an integer
        return array.astype(dtype)


def _unary(name: str, *parameters: str | float) -> Kernel:
    """A kernel of one input; parameters are numbers, or fields of the operator."""

    def kernel(operator: Any, x: Any) -> Any:
        rows, back = _in_rows(x)
        result = np.empty(rows.shape, x.dtype)
        values = [float(getattr(operator, p)) if isinstance(p, str) else p for p in parameters]
        _half.unary(name, rows.view(np.uint16), result.view(np.uint16), x.dtype == _BFLOAT, *values)
        return result if back is None else result.transpose(back)

    return kernel


def _relu(operator: Any, x: Any) -> Any:
    rows, back = _in_rows(x)
    result = np.empty(rows.shape, x.dtype)
    _half.binary("maximum", rows.view(np.uint16), _ZERO, result.view(np.uint16), False, x.dtype == _BFLOAT)
    return result if back is None else result.transpose(back)


def _gelu(operator: Any, x: Any) -> Any:
    return _GELU[operator.approximate](operator, x)


def _binary(name: str) -> Kernel:
    def kernel(operator: Any, a: Any, b: Any) -> Any:
        if a.dtype != b.dtype or not a.size or not b.size:
            return NotImplemented
        swapped = a.size < b.size
        long, short = (b, a) if swapped else (a, b)
        if long.shape == short.shape and long.strides == short.strides:
            rows, back = _in_rows(long)
            repeated = rows if short is long else _in_rows(short)[0]
        elif _repeats(short, long):
            (rows, back), repeated = _in_rows(long) if short.size == 1 else (long, None), short
        else:
            return NotImplemented
        result = np.empty(rows.shape, a.dtype)
        operands = rows.view(np.uint16), np.ascontiguousarray(repeated).view(np.uint16)
        _half.binary(name, *operands, result.view(np.uint16), swapped, a.dtype == _BFLOAT)
        return result if back is None else result.transpose(back)

    return kernel


def _repeats(short: Any, long: Any) -> bool:
    """Whether broadcasting `short` to `long` repeats all of it, one after the other, along the memory of `long`."""
    if short.ndim > long.ndim:
        return False
    if short.size == 1:
        return True
    shape = short.shape
    while shape and shape[0] == 1:
        shape = shape[1:]
    return shape == long.shape[long.ndim - len(shape) :] and long.flags.c_contiguous and short.flags.c_contiguous


def _reduction(name: str) -> Kernel:
    def kernel(operator: Any, x: Any) -> Any:
        dims = operator.dims
        if not x.size or not dims or not x.flags.c_contiguous or sorted(dims) != list(range(x.ndim - len(dims), x.ndim)):
            return NotImplemented
        lead = x.shape[: x.ndim - len(dims)]
        total = np.empty((*lead, *(1,) * len(dims)) if operator.keepdim else lead, np.float32)
        _half.reduce("sum" if name == "mean" else name, x.view(np.uint16), total, x.dtype == _BFLOAT)
        if name == "mean":
            total /= np.float32(x.size // max(total.size, 1))
        return rounded(total, x.dtype)

    return kernel


def _needs(node: Any) -> list[bool]:
    return [edge is not None for edge in node.edges]


def _add_backward(node: Any, grad: Any) -> Any:
    if any(t.shape != grad.shape for t in node.inputs):
        return NotImplemented
    return [grad if needed else None for needed in _needs(node)]


def _mul_backward(node: Any, grad: Any) -> Any:
    if any(t.shape != grad.shape for t in node.inputs):
        return NotImplemented
    factors = reversed(node.inputs)
    results = [_product(None, grad, t._data) if needed else None for t, needed in zip(factors, _needs(node), strict=True)]
    return NotImplemented if any(r is NotImplemented for r in results) else results


def _relu_backward(node: Any, grad: Any) -> Any:
    output = node.outputs[0]
    positive = output.view(np.int16) > 0  # as numbers they are in the order of their bits
    return [(grad.view(np.uint16) * positive).view(grad.dtype)]


def _sum_backward(node: Any, grad: Any) -> Any:
    return [node.operator.spread(np, grad, node.inputs[0].shape)]


_sum, _product = _binary("add"), _binary("mul")
_GELU = {"none": _unary("gelu"), "tanh": _unary("gelu_tanh")}
_UNARY = ("abs", "ceil", "erf", "exp", "floor", "neg", "reciprocal", "round", "sigmoid", "sqrt", "tanh")
_KERNELS: dict[str, Kernel] = {"cast": cast}
if _half is not None:
    _KERNELS |= {name: _unary(name) for name in _UNARY}
    _KERNELS |= {
        "relu": _relu,
        "gelu": _gelu,
        "leaky_relu": _unary("leaky_relu", "slope"),
        "elu": _unary("elu", "alpha"),
        "silu": _unary("silu", 1.0),
    }
    _KERNELS |= {"add": _sum, "mul": _product, **{name: _binary(name) for name in ("sub", "div", "minimum", "maximum")}}
    _KERNELS |= {name: _reduction(name) for name in ("sum", "mean", "amax", "amin")}
_BACKWARD: dict[str, Kernel] = {"add": _add_backward, "relu": _relu_backward, "sum": _sum_backward}
if _half is not None:
    _BACKWARD["mul"] = _mul_backward
