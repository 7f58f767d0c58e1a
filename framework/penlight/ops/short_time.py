# SPDX-License-Identifier: Apache-2.0
"""The short-time Fourier transform and its inverse."""

from __future__ import annotations

import numpy as np

from penlight.errors import ArgumentError, ShapeError
from penlight.ops.complex_parts import imag, real
from penlight.ops.dispatch import apply
from penlight.ops.padding import pad
from penlight.ops.rearrange import UnfoldAdd, unfold
from penlight.ops.shape import narrow, stack
from penlight.ops.spectrum import fft, ifft, irfft, rfft
from penlight.tensor import Tensor, from_numpy


def stft(
    input: Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Tensor | None = None,
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool = False,
    onesided: bool | None = None,
    return_complex: bool | None = None,
) -> Tensor:
    """Returns the spectra of windows of a signal.

    Args:
        input: (L,) or (B, L), real or complex.
        n_fft: samples per window. hop_length: samples from one to the next, n_fft // 4 by default.
        win_length: size of `window`, n_fft by default; a shorter one lies in the middle. window: ones by default.
        center: pads the signal by n_fft // 2 at both ends, by `pad_mode`, so that window t is around sample t * hop_length.
        normalized: divides by the root of n_fft.
        onesided: only the n_fft // 2 + 1 frequencies that say all of a real signal, by default for one.
        return_complex: for real input it must be named: False gives real and imaginary parts as a last dimension.

    Returns:
        (F, T) or (B, F, T): F frequencies, T windows.

    Raises:
        ShapeError: the signal is no vector or matrix, is shorter than a window, or the window has another size.
        ArgumentError: `return_complex` is missing, or `onesided` for complex numbers.
    """
    complex_signal = input.dtype.kind == 3
    if input.ndim not in (1, 2):
        raise ShapeError(f"stft: expected (L,) or (B, L), came {tuple(input.shape)}")
    if return_complex is None and not complex_signal and (window is None or window.dtype.kind != 3):
        raise ArgumentError("stft: name return_complex=True, or False for real and imaginary parts as a last dimension")
    signal = input if input.ndim == 2 else input.unsqueeze(0)
    hop = n_fft // 4 if hop_length is None else hop_length
    if center:
        signal = pad(signal.unsqueeze(1), (n_fft // 2, n_fft // 2), pad_mode).squeeze(1)
    if not 0 < n_fft <= signal.shape[1] or hop <= 0:
        raise ShapeError(f"stft: n_fft={n_fft} and hop_length={hop} must be positive and fit into {signal.shape[1]} samples")
    shape = _window(window, n_fft, win_length)
    frames = unfold(signal, 1, n_fft, hop).transpose(1, 2)  # (B, n_fft, T)
    frames = frames if shape is None else frames * shape.unsqueeze(-1)
    half = frames.dtype.kind != 3 if onesided is None else onesided
    if half and frames.dtype.kind == 3:
        raise ArgumentError("stft: complex input or window has no one-sided spectrum; use onesided=False")
    result = (rfft if half else fft)(frames, dim=1, norm="ortho" if normalized else None)
    result = result if input.ndim == 2 else result.squeeze(0)
    return stack([real(result), imag(result)], -1) if return_complex is False else result


def _window(window: Tensor | None, n_fft: int, win_length: int | None) -> Tensor | None:
    """The window with zeros on both sides up to `n_fft`; None for one that changes nothing."""
    size = n_fft if win_length is None else win_length
    if not 0 < size <= n_fft or (window is not None and tuple(window.shape) != (size,)):
        came = f"win_length={size}, window {None if window is None else tuple(window.shape)}"
        raise ShapeError(f"stft: expected a window of win_length <= n_fft={n_fft} samples, came {came}")
    if size == n_fft:
        return window
    left = (n_fft - size) // 2
    if window is None:
        window = from_numpy(np.ones(size, np.float32))
    if window.dtype.kind == 3:
        place = np.zeros((n_fft, size), window.dtype.numpy)
        place[left + np.arange(size), np.arange(size)] = 1
        return from_numpy(place) @ window
    return pad(window, (left, n_fft - size - left))


def istft(
    input: Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Tensor | None = None,
    center: bool = True,
    normalized: bool = False,
    onesided: bool | None = None,
    length: int | None = None,
    return_complex: bool = False,
) -> Tensor:
    """Returns the signal whose `stft` is nearest to the input (Griffin and Lim 1984).

    Args:
        input: (F, T) or (B, F, T), complex; the other arguments are those of `stft`.
        onesided: whether the input holds n_fft // 2 + 1 frequencies; told by its size by default.
        length: samples of the result; by default as many as the windows cover.
        return_complex: whether the signal is complex.

    Returns:
        (L,) or (B, L).

    Raises:
        ShapeError: the input does not hold the frequencies of n_fft.
        ArgumentError: the input is real, or the windows leave samples uncovered.
    """
    if input.dtype.kind != 3:
        raise ArgumentError(f"istft: expected a complex spectrum, came {input.dtype}; join two parts with penlight.complex")
    spectrum = input if input.ndim == 3 else input.unsqueeze(0)
    half = spectrum.shape[-2] != n_fft if onesided is None else onesided
    if spectrum.ndim != 3 or spectrum.shape[1] != (n_fft // 2 + 1 if half else n_fft):
        raise ShapeError(f"istft: expected {'n_fft // 2 + 1' if half else 'n_fft'} frequencies, came {tuple(input.shape)}")
    if return_complex and half:
        raise ArgumentError("istft: a one-sided spectrum has a real signal; use onesided=False or return_complex=False")
    hop = n_fft // 4 if hop_length is None else hop_length
    windowed = _frames(spectrum, n_fft, normalized, half, return_complex)
    shape = _window(window, n_fft, win_length)
    windowed = windowed if shape is None else windowed * shape
    total = n_fft + hop * (spectrum.shape[2] - 1)
    start = n_fft // 2 if center else 0
    end = total - (n_fft // 2 if center else 0) if length is None else start + length
    kept = max(min(end, total) - start, 0)
    add = UnfoldAdd(1, n_fft, hop, total)
    squares = _squares(shape, windowed).expand(windowed.shape[1:]).unsqueeze(0)
    cover = narrow(apply(add, squares), 1, start, kept)
    if cover.numel() and float(abs(cover.detach()).min()) < 1e-11:
        raise ArgumentError("istft: some samples lie under no window; use another window, hop_length or center")
    signal = narrow(apply(add, windowed), 1, start, kept) / cover
    signal = pad(signal, (0, end - total)) if end > total else signal
    return signal if input.ndim == 3 else signal.squeeze(0)


def _frames(spectrum: Tensor, n_fft: int, normalized: bool, half: bool, complex_signal: bool) -> Tensor:
    """The inverse transforms (B, T, n_fft), real unless the signal is complex."""
    norm = "ortho" if normalized else None
    columns = spectrum.transpose(1, 2)
    if complex_signal:
        return ifft(columns, dim=2, norm=norm)
    return irfft(columns if half else columns[..., : n_fft // 2 + 1], n_fft, dim=2, norm=norm)


def _squares(window: Tensor | None, like: Tensor) -> Tensor:
    if window is None:
        return from_numpy(np.ones(like.shape[-1], like.dtype.numpy))
    return window * window
