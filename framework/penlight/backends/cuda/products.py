# SPDX-License-Identifier: Apache-2.0
"""`matmul` and `linear` by cuBLASLt: the bias is added, and its gradient summed, within the product."""

from __future__ import annotations

import itertools
import math
from typing import Any

from penlight.backends.cuda import wrapper
from penlight.backends.cuda.cublaslt import Matrix, Products
from penlight.ops.broadcast import reduced

_DTYPES = ("float32", "float64", "float16", "bfloat16")


def table(xp: Any, launcher: wrapper.Launcher) -> dict[str, wrapper.Wrapper]:
    """The wrappers by operator name; they decline where the library is not there."""
    products = MatrixProducts(xp, launcher, Products(xp, launcher))
    return {
        "matmul": products.matmul,
        "matmul.backward": products.matmul_backward,
        "linear": products.linear,
        "linear.backward": products.linear_backward,
    }


class MatrixProducts:
    """Products of arrays of one dtype; matrices whose rows or columns lie without gaps are read where they are."""

    def __init__(self, xp: Any, launcher: wrapper.Launcher, products: Products) -> None:
        self._xp, self._launcher, self._products = xp, launcher, products
        self._is_there: bool | None = None

    def matmul(self, operator: Any, a: Any, b: Any) -> Any:
        """a (..., M, K) @ b (..., K, N)."""
        if not self._takes(a, b) or min(a.ndim, b.ndim) < 2 or a.shape[-1] != b.shape[-2]:
            return NotImplemented
        if b.ndim == 2 and a.ndim > 2:
            result = self._product(self._rows(a), b)
            return result if result is NotImplemented else result.reshape(*a.shape[:-1], b.shape[1])
        return self._product(a, b)

    def matmul_backward(self, operator: Any, needs: Any, grad: Any, output: Any, a: Any, b: Any) -> Any:
        """Gradients of a and b, None where not needed."""
        ga = gb = None
        if needs[0]:
            if not self._takes(grad, b):
                return NotImplemented
            ga = self.matmul(operator, grad, b.swapaxes(-1, -2))
        if needs[1]:
            if not self._takes(grad, a):
                return NotImplemented
            if len(b.shape) == 2 and a.ndim > 2:
                gb = self._product(self._rows(a).T, self._rows(grad))
            else:
                gb = self._product(a.swapaxes(-1, -2), grad)
        if ga is NotImplemented or gb is NotImplemented:
            return NotImplemented
        return None if ga is None else reduced(ga, a), None if gb is None else reduced(gb, b)

    def linear(self, operator: Any, x: Any, weight: Any, bias: Any = None) -> Any:
        """x (..., in) @ weight (out, in).T + bias."""
        parameters = (weight,) if bias is None else (weight, bias)
        if not self._takes(x, *parameters) or weight.ndim != 2 or x.ndim < 1 or x.shape[-1] != weight.shape[1]:
            return NotImplemented
        if bias is not None and bias.shape != weight.shape[:1]:
            return NotImplemented
        result = self._product(self._rows(x), weight.T, *(() if bias is None else ("bias", self._xp.ascontiguousarray(bias))))
        return result if result is NotImplemented else result.reshape(*x.shape[:-1], weight.shape[0])

    def linear_backward(self, operator: Any, needs: Any, grad: Any, output: Any, x: Any, weight: Any, bias: Any = None) -> Any:
        """Gradients of x, weight and bias, None where not needed."""
        rows, gx, gw, gb = None, None, None, None
        if needs[0]:
            if not self._takes(grad, weight):
                return NotImplemented
            rows = self._rows(grad)
            gx = self._product(rows, weight)
            if gx is NotImplemented:
                return NotImplemented
            gx = gx.reshape(*grad.shape[:-1], weight.shape[1])
        if needs[1]:
            if not self._takes(grad, x):
                return NotImplemented
            rows = self._rows(grad)
            if needs[2]:
                gb = self._xp.empty(rows.shape[1], rows.dtype)
                gw = self._product(rows.T, self._rows(x), "bgrad_b", gb)
            if gw is None or gw is NotImplemented:
                gb, gw = None, self._product(rows.T, self._rows(x))
            if gw is NotImplemented:
                return NotImplemented
        if needs[2] and gb is None:
            gb = grad.reshape(-1, grad.shape[-1]).sum(axis=0)
        return gx, gw, gb

    def _takes(self, *arrays: Any) -> bool:
        dtypes = {str(getattr(array, "dtype", None)) for array in arrays}
        if len(dtypes) != 1 or not dtypes <= set(_DTYPES) or not all(hasattr(a, "strides") and a.size for a in arrays):
            return False
        if self._is_there is None:
            self._is_there = self._products.is_there()
        return self._is_there

    def _rows(self, x: Any) -> Any:
        return x if x.ndim == 2 else self._xp.ascontiguousarray(x).reshape(-1, x.shape[-1])

    def _product(self, a: Any, b: Any, epilogue: str = "none", bias: Any = None) -> Any:
        lead = a.shape[:-2] if a.ndim >= b.ndim else b.shape[:-2]
        # Copies live in these names until the product is queued: freed earlier, one could become the memory of the result.
        a, b = self._readable(a), self._readable(b)
        left, right = self._matrix(a, lead), self._matrix(b, lead)
        if left is None or right is None:
            return NotImplemented
        m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
        result = self._xp.empty((*lead, m, n), a.dtype)
        target = Matrix(self._launcher.pointer(result), n, False, m * n)
        sizes = (math.prod(lead), m, n, k)
        done = self._products.multiply(str(a.dtype), sizes, left, right, target, epilogue=epilogue, bias=bias)
        return result if done else NotImplemented

    def _matrix(self, array: Any, lead: tuple[int, ...]) -> Matrix | None:
        """How the library reads an array as a batch of shape `lead`; None where it would have to be repeated in part."""
        if array.ndim > 2 and array.shape[:-2] != lead:
            return None
        ld, is_transposed = _layout(array) or (array.shape[-1], False)
        stride = 0 if array.ndim == 2 else array.strides[-3] // array.itemsize
        return Matrix(self._launcher.pointer(array), ld, is_transposed, stride)

    def _readable(self, array: Any) -> Any:
        """The array, or a copy where the library cannot read its strides."""
        return array if _layout(array) else _contiguous(self._xp, array)


def _contiguous(xp: Any, array: Any) -> Any:
    return xp.ascontiguousarray(array)


def _layout(array: Any) -> tuple[int, bool] | None:
    """(ld, whether columns lie without gaps) of evenly spaced matrices; None where the library cannot read them."""
    *batch, row, column = (stride // array.itemsize for stride in array.strides)
    rows, columns = array.shape[-2:]
    outer = list(zip(array.shape[:-2], batch, strict=True))
    if any(step <= 0 for step in batch) or any(a != size * b for (_, a), (size, b) in itertools.pairwise(outer)):
        return None
    if (column == 1 or columns == 1) and (row >= columns or rows == 1):
        return (columns if rows == 1 else row), False
    if (row == 1 or rows == 1) and (column >= rows or columns == 1):
        return (rows if columns == 1 else column), True
    return None
