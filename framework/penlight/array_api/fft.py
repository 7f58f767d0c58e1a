# SPDX-License-Identifier: Apache-2.0
"""The fft extension: 14 functions, computed by NumPy or CuPy, without gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from penlight.array_api.array import Array, arrays_of, check_array, module_of, wrap
from penlight.array_api.manipulation import axis_of
from penlight.array_api.promotion import check_kind
from penlight.dtype import as_dtype, default_dtype
from penlight.errors import ArgumentError
from penlight.ops.convert import to
from penlight.tensor import from_array

_COMPLEX = "complex floating-point"
_REAL = "real floating-point"
_NORMS = ("backward", "ortho", "forward")


def _check(name: str, kinds: str, x: Any, norm: str) -> Any:
    check_array(name, x)
    check_kind(name, kinds, x.dtype)
    if norm not in _NORMS:
        raise ArgumentError(f"{name}: norm must be one of {', '.join(_NORMS)}, came {norm!r}")
    return arrays_of(name, x)[0]


def _one(name: str, kinds: str, what: str) -> Callable[..., Array]:
    def call(x: Any, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Array:
        array = _check(name, kinds, x, norm)
        return wrap(getattr(module_of(x).fft, name)(array, n=n, axis=axis_of(name, axis, x.ndim), norm=norm))

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"Returns the {what} along a dimension, of length n; x: {kinds}."
    return call


def _many(name: str, kinds: str, what: str) -> Callable[..., Array]:
    def call(x: Any, /, *, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str = "backward") -> Array:
        array = _check(name, kinds, x, norm)
        if s is not None and axes is None:
            axes = tuple(range(x.ndim - len(s), x.ndim))
        return wrap(getattr(module_of(x).fft, name)(array, s=s, axes=axes, norm=norm))

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"Returns the {what} along dimensions, of lengths s; x: {kinds}."
    return call


fft = _one("fft", _COMPLEX, "discrete Fourier transform")
ifft = _one("ifft", _COMPLEX, "inverse of the discrete Fourier transform")
fftn = _many("fftn", _COMPLEX, "discrete Fourier transform")
ifftn = _many("ifftn", _COMPLEX, "inverse of the discrete Fourier transform")
rfft = _one("rfft", _REAL, "first half of the Fourier transform of real numbers")
irfft = _one("irfft", _COMPLEX, "inverse of rfft")
rfftn = _many("rfftn", _REAL, "first half of the Fourier transform of real numbers")
irfftn = _many("irfftn", _COMPLEX, "inverse of rfftn")
hfft = _one("hfft", _COMPLEX, "Fourier transform of a Hermitian signal")
ihfft = _one("ihfft", _REAL, "inverse of hfft")


def fftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: Any = None) -> Array:
    """Returns the frequencies of the places of `fft` for n samples at distances d."""
    return _frequencies(np.fft.fftfreq, n, d, dtype, device)


def rfftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: Any = None) -> Array:
    """Returns the frequencies of the places of `rfft` for n samples at distances d."""
    return _frequencies(np.fft.rfftfreq, n, d, dtype, device)


def _frequencies(function: Callable[..., Any], n: int, d: float, dtype: Any, device: Any) -> Array:
    kind = as_dtype(dtype or default_dtype)
    check_kind("fftfreq", _REAL, kind)
    t = from_array(function(n, d=d).astype(kind.numpy))
    return wrap(t if device is None else to(t, device=device))


def fftshift(x: Any, /, *, axes: int | Sequence[int] | None = None) -> Array:
    """Returns the elements with the frequency 0 in the middle."""
    check_array("fftshift", x)
    check_kind("fftshift", "floating-point", x.dtype)
    return wrap(module_of(x).fft.fftshift(arrays_of("fftshift", x)[0], axes=axes))


def ifftshift(x: Any, /, *, axes: int | Sequence[int] | None = None) -> Array:
    """Returns the inverse of `fftshift`."""
    check_array("ifftshift", x)
    check_kind("ifftshift", "floating-point", x.dtype)
    return wrap(module_of(x).fft.ifftshift(arrays_of("ifftshift", x)[0], axes=axes))
