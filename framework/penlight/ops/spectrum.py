# SPDX-License-Identifier: Apache-2.0
"""Discrete Fourier transforms; `penlight.fft` is this module's public face.

One operator transforms complex input; those of real input and output are made of it, so that gradients come with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from penlight.dtype import complex64, complex128, float64
from penlight.errors import ArgumentError
from penlight.ops import dims as _dims
from penlight.ops.complex_parts import conj, real, to_complex
from penlight.ops.dispatch import apply
from penlight.ops.operator import Operator, Spec
from penlight.ops.registry import register
from penlight.ops.samples import shapes
from penlight.ops.shape import cat, flip, narrow, roll
from penlight.ops.shape import pad as pad_zeros
from penlight.tensor import Tensor, from_array

_INVERSE = {"forward": "backward", "backward": "forward", "ortho": "ortho"}
_WORDS = ("forward", "backward", "ortho", None)


@register
class Fft(Operator):
    """The discrete Fourier transform over `dims`, or its inverse; `norm` says which of the two divides by N"""

    name = "fft"
    saves_inputs = False
    complex_gradient = True
    samples = (shapes(4, 3, dims=(0,)), shapes(2, 4, 3, dims=(1, 2), inverse=True))

    dims: tuple[int, ...]
    inverse: bool = False
    norm: str = "backward"

    def infer(self, x: Spec) -> Spec:
        return Spec(x.shape, complex128 if x.dtype in (float64, complex128) else complex64)

    def forward(self, xp, x):
        transform = xp.fft.ifftn if self.inverse else xp.fft.fftn
        result = transform(x, axes=self.dims, norm=self.norm)
        return result.astype(xp.complex128 if x.dtype in (xp.float64, xp.complex128) else xp.complex64, copy=False)

    def vjp(self, grad, output, x):
        result = apply(Fft(self.dims, not self.inverse, _INVERSE[self.norm]), grad)
        return (result if x.dtype.kind == 3 else real(result),)


def _norm(norm: str | None) -> str:
    if norm not in _WORDS:
        raise ArgumentError(f'fft: norm must be "forward", "backward" or "ortho", came {norm!r}')
    return norm or "backward"


def _sized(x: Tensor, dim: int, size: int | None) -> Tensor:
    """The tensor cut or padded with zeros to `size` elements along `dim`."""
    if size is None or size == x.shape[dim]:
        return x
    if size < x.shape[dim]:
        return narrow(x, dim, 0, size)
    if x.dtype.kind == 3:
        shape = (*x.shape[:dim], size - x.shape[dim], *x.shape[dim + 1 :])
        return cat([x, from_array(np.zeros(shape, x.dtype.numpy))], dim)
    return pad_zeros(x, (0, 0) * (x.ndim - 1 - dim) + (0, size - x.shape[dim]))


def _axes(x: Tensor, s: Any, dim: Any) -> tuple[list[int], list[Any]]:
    """The dimensions and their sizes, as numpy and torch resolve them."""
    if dim is None:
        dim = range(x.ndim) if s is None else range(x.ndim - len(s), x.ndim)
    dims = [_dims.one("fft", d, x.ndim) for d in ((dim,) if isinstance(dim, int) else dim)]
    sizes = [None] * len(dims) if s is None else [None if n == -1 else n for n in ((s,) if isinstance(s, int) else s)]
    return dims, sizes


def _transform(input: Tensor, s: Any, dim: Any, norm: str | None, inverse: bool) -> Tensor:
    x = to_complex(input)
    dims, sizes = _axes(x, s, dim)
    for d, size in zip(dims, sizes, strict=True):
        x = _sized(x, d, size)
    return apply(Fft(tuple(dims), inverse, _norm(norm)), x) if dims else x


def fftn(input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None) -> Tensor:
    """Returns the discrete Fourier transform over `dim` (all for None), cut or padded to the sizes `s`; complex."""
    return _transform(input, s, dim, norm, False)


def ifftn(input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None) -> Tensor:
    """Returns the inverse of `fftn`."""
    return _transform(input, s, dim, norm, True)


def fft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """Returns the discrete Fourier transform along `dim`, cut or padded to `n` elements; complex."""
    return fftn(input, None if n is None else (n,), (dim,), norm)


def ifft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """Returns the inverse of `fft`."""
    return ifftn(input, None if n is None else (n,), (dim,), norm)


def fft2(input: Tensor, s: Any = None, dim: Any = (-2, -1), norm: str | None = None) -> Tensor:
    """Returns `fftn` over the last two dimensions."""
    return fftn(input, s, dim, norm)


def ifft2(input: Tensor, s: Any = None, dim: Any = (-2, -1), norm: str | None = None) -> Tensor:
    """Returns `ifftn` over the last two dimensions."""
    return ifftn(input, s, dim, norm)


def rfftn(input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None) -> Tensor:
    """Returns the half of `fftn` of real input that says all: n // 2 + 1 elements along the last of `dim`."""
    return _half(_transform(input, s, dim, norm, False), _axes(input, s, dim)[0][-1])


def ihfftn(input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None) -> Tensor:
    """Returns the half of `ifftn` of real input that says all."""
    return _half(_transform(input, s, dim, norm, True), _axes(input, s, dim)[0][-1])


def _half(x: Tensor, dim: int) -> Tensor:
    return narrow(x, dim, 0, x.shape[dim] // 2 + 1)


def irfftn(input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None) -> Tensor:
    """Returns the real inverse of `rfftn`; the last of `dim` gets 2 * (n - 1) elements unless `s` says otherwise."""
    return _from_half(input, s, dim, norm, True)


def hfftn(input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None) -> Tensor:
    """Returns the real transform of a half that stands for Hermitian input."""
    return _from_half(input, s, dim, norm, False)


def _from_half(input: Tensor, s: Any, dim: Any, norm: str | None, inverse: bool) -> Tensor:
    x = to_complex(input)
    dims, sizes = _axes(x, s, dim)
    last = dims[-1]
    size = 2 * (x.shape[last] - 1) if sizes[-1] is None else sizes[-1]
    if size < 1:
        raise ArgumentError(f"fft: the result would have {size} elements along dimension {last}; expected at least 1")
    for d, n in zip(dims[:-1], sizes[:-1], strict=True):
        x = _sized(x, d, n)
    if len(dims) > 1:
        x = apply(Fft(tuple(dims[:-1]), inverse, _norm(norm)), x)
    x = _sized(x, last, size // 2 + 1)
    rest = flip(conj(narrow(x, last, 1, (size - 1) // 2)), last)
    return real(apply(Fft((last,), inverse, _norm(norm)), cat([x, rest], last)))


def rfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """Returns `rfftn` along one dimension."""
    return rfftn(input, None if n is None else (n,), (dim,), norm)


def irfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """Returns `irfftn` along one dimension."""
    return irfftn(input, None if n is None else (n,), (dim,), norm)


def hfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """Returns `hfftn` along one dimension."""
    return hfftn(input, None if n is None else (n,), (dim,), norm)


def ihfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """Returns `ihfftn` along one dimension."""
    return ihfftn(input, None if n is None else (n,), (dim,), norm)


def rfft2(input: Tensor, s: Any = None, dim: Any = (-2, -1), norm: str | None = None) -> Tensor:
    """Returns `rfftn` over the last two dimensions."""
    return rfftn(input, s, dim, norm)


def irfft2(input: Tensor, s: Any = None, dim: Any = (-2, -1), norm: str | None = None) -> Tensor:
    """Returns `irfftn` over the last two dimensions."""
    return irfftn(input, s, dim, norm)


def hfft2(input: Tensor, s: Any = None, dim: Any = (-2, -1), norm: str | None = None) -> Tensor:
    """Returns `hfftn` over the last two dimensions."""
    return hfftn(input, s, dim, norm)


def ihfft2(input: Tensor, s: Any = None, dim: Any = (-2, -1), norm: str | None = None) -> Tensor:
    """Returns `ihfftn` over the last two dimensions."""
    return ihfftn(input, s, dim, norm)


def fftshift(input: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """Returns the input rolled by half its size, so that frequency 0 is in the middle."""
    dims = _dims.many("fftshift", dim, input.ndim)
    return roll(input, tuple(input.shape[d] // 2 for d in dims), dims)


def ifftshift(input: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """Returns the inverse of `fftshift`."""
    dims = _dims.many("ifftshift", dim, input.ndim)
    return roll(input, tuple((input.shape[d] + 1) // 2 for d in dims), dims)


def fftfreq(n: int, d: float = 1.0, *, dtype: Any = None) -> Tensor:
    """Returns the frequencies of `fft` for samples `d` apart, float32 unless named."""
    return Tensor(np.fft.fftfreq(n, d).astype(np.float32)) if dtype is None else Tensor(np.fft.fftfreq(n, d)).to(dtype)


def rfftfreq(n: int, d: float = 1.0, *, dtype: Any = None) -> Tensor:
    """Returns the frequencies of `rfft` for samples `d` apart, float32 unless named."""
    return Tensor(np.fft.rfftfreq(n, d).astype(np.float32)) if dtype is None else Tensor(np.fft.rfftfreq(n, d)).to(dtype)
