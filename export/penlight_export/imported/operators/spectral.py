# SPDX-License-Identifier: Apache-2.0
"""Fourier transforms; complex numbers are pairs in the last dimension."""

from __future__ import annotations

from typing import Any

import penlight as pl
from penlight_export.imported.registry import operator
from penlight_export.imported.values import numbers

Tensor = pl.Tensor


def _complex(x: Tensor) -> Tensor:
    """Of pairs, or of single real numbers."""
    return pl.view_as_complex(x.contiguous()) if x.shape[-1] == 2 else x.squeeze(-1)


@operator("DFT", known=(1, 2))
def dft(x: Tensor, length: Any = None, axis: Any = None, *, inverse: int = 0, onesided: int = 0) -> Tensor:
    """Along one dimension; one-sided gives, or takes when inverse, the half that determines the rest."""
    place = -2 if axis is None else int(numbers(axis)[0])
    place = place % x.ndim
    count = None if length is None else int(numbers(length)[0])
    z = _complex(x)
    if inverse and onesided:
        return pl.fft.irfft(z, count, place).unsqueeze(-1)
    if onesided:
        return pl.view_as_real(pl.fft.rfft(z, count, place))
    return pl.view_as_real((pl.fft.ifft if inverse else pl.fft.fft)(z, count, place))


@operator("STFT", known=(1, 3))
def stft(signal: Tensor, step: Any, window: Tensor | None = None, length: Any = None, *, onesided: int = 1) -> Tensor:
    """Of windows that begin every so many steps."""
    width = int(numbers(length)[0]) if length is not None else int(window.shape[0]) if window is not None else None
    if width is None:
        raise ValueError("neither a window nor a frame_length is given")
    hop = int(numbers(step)[0])
    parts = [part.unfold(1, width, hop) for part in ([signal] if signal.ndim == 2 else list(pl.unbind(signal, -1)))]
    parts = parts if window is None else [part * window for part in parts]
    if len(parts) == 2:
        return pl.view_as_real(pl.fft.fft(pl.complex(*parts)))
    return pl.view_as_real((pl.fft.rfft if onesided else pl.fft.fft)(parts[0]))
