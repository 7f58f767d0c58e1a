# SPDX-License-Identifier: Apache-2.0
"""The compiled matrix products: threaded, and with the same bits for any number of threads, which those of NumPy's BLAS are not."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from penlight import _native

SMALLEST = 1 << 20  # multiply-adds; below this NumPy's call is as fast
LARGE = 8 << 20  # elements; from here on the C library would map every array anew


def product_kernels() -> dict[str, Callable[..., Any]]:
    """Operator name -> kernel, and `<name>.backward` -> kernel of its gradient."""
    return {
        "linear": _linear,
        "linear.backward": _linear_backward,
        "matmul": _matmul,
        "matmul.backward": _matmul_backward,
    }


def empty(shape: tuple[int, ...]) -> Any:
    """Uninitialised float32."""
    return np.empty(shape, np.float32) if math.prod(shape) < LARGE else _native.large_floats(shape)


def multiply(a: Any, b: Any, bias: Any = None) -> Any:
    """a (M, K) times b (K, N), of any strides, plus bias (N)."""
    result = empty((a.shape[0], b.shape[1]))
    _native.matmul(a, b, bias, result)
    return result


def column_sums(rows: Any) -> Any:
    """The sums of (M, N) over M."""
    result = np.empty(rows.shape[1], np.float32)
    _native.column_sums(rows, result)
    return result


def _is_large(*arrays: Any, work: int) -> bool:
    return work >= SMALLEST and all(type(a) is np.ndarray and a.dtype == np.float32 for a in arrays)


def _rows(array: Any) -> Any:
    return array if array.ndim == 2 else np.ascontiguousarray(array).reshape(-1, array.shape[-1])


def _linear(operator: Any, x: Any, weight: Any, bias: Any) -> Any:
    if weight.ndim != 2 or x.ndim < 2 or not _is_large(x, weight, work=x.size * len(weight)) or x.shape[-1] != weight.shape[1]:
        return NotImplemented
    if bias is not None and (bias.dtype != np.float32 or bias.shape != weight.shape[:1] or not bias.flags.c_contiguous):
        return NotImplemented
    result = multiply(_rows(x), weight.T, bias)
    return result if x.ndim == 2 else result.reshape(*x.shape[:-1], len(weight))


def _linear_backward(operator: Any, needs: Any, grad: Any, output: Any, x: Any, weight: Any, bias: Any) -> Any:
    arrays = [grad, *([weight] if needs[0] else []), *([x] if needs[1] else [])]
    if grad.ndim < 2 or not _is_large(*arrays, work=grad.size * weight.shape[1]):
        return NotImplemented
    rows = np.ascontiguousarray(_rows(grad))
    gx = multiply(rows, weight) if needs[0] else None
    if gx is not None and grad.ndim > 2:
        gx = gx.reshape(*grad.shape[:-1], weight.shape[1])
    return gx, multiply(rows.T, _rows(x)) if needs[1] else None, column_sums(rows) if needs[2] else None


def _matmul(operator: Any, a: Any, b: Any) -> Any:
    if b.ndim != 2 or a.ndim < 2 or not _is_large(a, b, work=a.size * b.shape[1]) or a.shape[-1] != len(b):
        return NotImplemented
    result = multiply(_rows(a), b)
    return result if a.ndim == 2 else result.reshape(*a.shape[:-1], b.shape[1])


def _matmul_backward(operator: Any, needs: Any, grad: Any, output: Any, a: Any, b: Any) -> Any:
    arrays = [grad, *([b] if needs[0] else []), *([a] if needs[1] else [])]
    if len(b.shape) != 2 or grad.ndim < 2 or not _is_large(*arrays, work=grad.size * b.shape[0]):
        return NotImplemented
    rows = _rows(grad)
    ga = multiply(rows, b.T) if needs[0] else None
    if ga is not None and grad.ndim > 2:
        ga = ga.reshape(*grad.shape[:-1], b.shape[0])
    return ga, multiply(_rows(a).T, rows) if needs[1] else None
