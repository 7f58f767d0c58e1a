# SPDX-License-Identifier: Apache-2.0
"""Making arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from penlight.array_api.array import Array, arrays_of, check_array, module_of, wrap
from penlight.array_api.promotion import default_of, type_of_scalar
from penlight.dtype import as_dtype, default_dtype, from_numpy_dtype, int64
from penlight.errors import ArgumentError, ShapeError
from penlight.ops.convert import to
from penlight.ops.mask import tril as tril_operator
from penlight.ops.mask import triu as triu_operator
from penlight.tensor import Tensor, from_array

Shape = int | tuple[int, ...]


def _place(array: Any, device: Any) -> Array:
    """The array as an Array on a device, the CPU by default."""
    t = from_array(array)
    return wrap(t if device is None else to(t, device=device))


def asarray(obj: Any, /, *, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Array:
    """Returns `obj` as an Array: an array, a number, nested sequences of numbers, or a buffer.

    Args:
        obj: what to convert; Python floats become float32 and complex numbers complex64 by default.
        dtype: of the result. device: of the result.
        copy: True always copies, None only where needed, False raises ValueError where a copy is needed.
    """
    if isinstance(obj, Tensor):
        return _convert(obj, dtype, device, copy)
    is_plain = isinstance(obj, (bool, int, float, complex, list, tuple))
    if is_plain and copy is False:
        raise ArgumentError("asarray: Python numbers and sequences need a copy; pass copy=None")
    source = _numbers(obj) if is_plain else obj
    target = None if dtype is None else as_dtype(dtype).numpy
    try:
        array = np.array(source, dtype=target, copy=True if is_plain else copy)
    except TypeError as error:
        raise ShapeError(f"asarray: expected numbers or evenly nested sequences of them ({error})") from error
    if is_plain and dtype is None:
        array = default_of(array) if array.size or array.dtype.kind != "f" else array.astype(default_dtype.numpy)
    from_numpy_dtype(array.dtype)
    return _place(array, device)


def _convert(t: Tensor, dtype: Any, device: Any, copy: bool | None) -> Array:
    result = to(t, dtype=dtype, device=device)
    if copy is False and result is not t:
        raise ArgumentError(f"asarray: {t.dtype} on {t.device} needs a copy here; pass copy=None")
    return wrap(result.clone() if copy and result is t else result, t)


def _numbers(obj: Any) -> Any:
    """Nested sequences with the 0-dim arrays in them replaced by their values."""
    if isinstance(obj, (list, tuple)):
        return [_numbers(item) for item in obj]
    return obj._data if isinstance(obj, Tensor) else obj


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Array:
    """Returns an array that shares the memory of an object of another library, through DLPack."""
    array = np.from_dlpack(x, copy=copy) if copy is not None else np.from_dlpack(x)
    from_numpy_dtype(array.dtype)
    return _place(array, device)


def arange(start: float, /, stop: float | None = None, step: float = 1, *, dtype: Any = None, device: Any = None) -> Array:
    """Returns start, start + step, ... below stop; int64 if all three are integers, else float32."""
    first, last = (0, start) if stop is None else (start, stop)
    if dtype is None:
        dtype = int64 if all(isinstance(n, int) for n in (first, last, step)) else default_dtype
    return _place(np.arange(first, last, step, dtype=as_dtype(dtype).numpy), device)


def linspace(start: Any, stop: Any, /, num: int, *, dtype: Any = None, device: Any = None, endpoint: bool = True) -> Array:
    """Returns `num` numbers from start to stop at equal distances; stop itself is the last with `endpoint`."""
    if dtype is None:
        dtype = type_of_scalar(1j) if isinstance(start, complex) or isinstance(stop, complex) else default_dtype
    with np.errstate(all="ignore"):
        return _place(np.linspace(start, stop, num, endpoint=endpoint, dtype=as_dtype(dtype).numpy), device)


def empty(shape: Shape, *, dtype: Any = None, device: Any = None) -> Array:
    """Returns an array with undefined content."""
    return _place(np.empty(shape, as_dtype(dtype or default_dtype).numpy), device)


def zeros(shape: Shape, *, dtype: Any = None, device: Any = None) -> Array:
    """Returns zeros, float32 by default."""
    return _place(np.zeros(shape, as_dtype(dtype or default_dtype).numpy), device)


def ones(shape: Shape, *, dtype: Any = None, device: Any = None) -> Array:
    """Returns ones, float32 by default."""
    return _place(np.ones(shape, as_dtype(dtype or default_dtype).numpy), device)


def full(shape: Shape, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Array:
    """Returns an array of one number, in the default dtype of its kind unless `dtype` says otherwise."""
    kind = as_dtype(dtype) if dtype is not None else type_of_scalar(fill_value)
    return _place(np.full(shape, fill_value, kind.numpy), device)


def empty_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Array:
    """Returns an array of the shape, dtype and device of x with undefined content."""
    check_array("empty_like", x)
    return empty(tuple(x.shape), dtype=dtype or x.dtype, device=device or x.device)


def zeros_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Array:
    """Returns zeros of the shape, dtype and device of x."""
    check_array("zeros_like", x)
    return zeros(tuple(x.shape), dtype=dtype or x.dtype, device=device or x.device)


def ones_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Array:
    """Returns ones of the shape, dtype and device of x."""
    check_array("ones_like", x)
    return ones(tuple(x.shape), dtype=dtype or x.dtype, device=device or x.device)


def full_like(x: Any, /, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Array:
    """Returns one number in the shape, dtype and device of x."""
    check_array("full_like", x)
    return full(tuple(x.shape), fill_value, dtype=dtype or x.dtype, device=device or x.device)


def eye(n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: Any = None, device: Any = None) -> Array:
    """Returns ones on diagonal `k` and zeros elsewhere."""
    return _place(np.eye(n_rows, n_cols, k, as_dtype(dtype or default_dtype).numpy), device)


def meshgrid(*arrays: Any, indexing: str = "xy") -> list[Array]:
    """Returns the coordinates of a grid, one array per axis, of 1-dim arrays of one dtype."""
    check_array("meshgrid", *arrays)
    if indexing not in ("xy", "ij"):
        raise ArgumentError(f'meshgrid: indexing must be "xy" or "ij", came {indexing!r}')
    if not arrays:
        return []
    return [wrap(a) for a in module_of(*arrays).meshgrid(*arrays_of("meshgrid", *arrays), indexing=indexing)]


def tril(x: Any, /, *, k: int = 0) -> Array:
    """Returns the elements on and below diagonal k of the last two dimensions, zeros elsewhere."""
    return _triangle("tril", x, k)


def triu(x: Any, /, *, k: int = 0) -> Array:
    """Returns the elements on and above diagonal k of the last two dimensions, zeros elsewhere."""
    return _triangle("triu", x, k)


def _triangle(name: str, x: Any, k: int) -> Array:
    check_array(name, x)
    if x.ndim < 2:
        raise ShapeError(f"{name}: expected 2 or more dimensions, came {x.ndim}")
    return wrap((tril_operator if name == "tril" else triu_operator)(x, k), x)
