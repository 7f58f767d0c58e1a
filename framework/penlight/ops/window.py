# SPDX-License-Identifier: Apache-2.0
"""Windows for spectra: Hann, Hamming, Blackman, Bartlett, Kaiser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from penlight.dtype import as_dtype, default_dtype
from penlight.errors import ArgumentError, DTypeError
from penlight.ops.create import device_as_given
from penlight.tensor import Tensor


def hann_window(window_length: int, periodic: bool = True, **options: Any) -> Tensor:
    """Returns 0.5 - 0.5 cos(2 pi n / (N - 1)), (window_length,).

    Args:
        window_length: how many samples; 0 gives none, and 1 gives a 1.
        periodic: leaves off the last of N = window_length + 1 samples, so that copies join; else N = window_length.
        options: dtype (floating point), device, requires_grad.

    Raises:
        ArgumentError: the length is negative.
        DTypeError: the dtype is not floating point.
    """
    return _window("hann_window", window_length, periodic, lambda n: 0.5 - 0.5 * np.cos(2 * np.pi * n), **options)


def hamming_window(window_length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46, **options: Any) -> Tensor:
    """Returns alpha - beta cos(2 pi n / (N - 1)); the other arguments are those of `hann_window`."""
    return _window("hamming_window", window_length, periodic, lambda n: alpha - beta * np.cos(2 * np.pi * n), **options)


def blackman_window(window_length: int, periodic: bool = True, **options: Any) -> Tensor:
    """Returns 0.42 - 0.5 cos(2 pi n / (N - 1)) + 0.08 cos(4 pi n / (N - 1)); arguments as in `hann_window`."""
    return _window(
        "blackman_window",
        window_length,
        periodic,
        lambda n: np.maximum(0.42 - 0.5 * np.cos(2 * np.pi * n) + 0.08 * np.cos(4 * np.pi * n), 0.0),  # -1e-17 at the ends
        **options,
    )


def bartlett_window(window_length: int, periodic: bool = True, **options: Any) -> Tensor:
    """Returns 1 - |2 n / (N - 1) - 1|, a triangle; arguments as in `hann_window`."""
    return _window("bartlett_window", window_length, periodic, lambda n: 1 - np.abs(2 * n - 1), **options)


def kaiser_window(window_length: int, periodic: bool = True, beta: float = 12.0, **options: Any) -> Tensor:
    """Returns I0(beta sqrt(1 - (2 n / (N - 1) - 1)^2)) / I0(beta); the other arguments are those of `hann_window`."""
    return _window(
        "kaiser_window", window_length, periodic, lambda n: np.i0(beta * 2 * np.sqrt(n * (1 - n))) / np.i0(beta), **options
    )


def _window(
    name: str,
    length: int,
    periodic: bool,
    formula: Callable[[np.ndarray], np.ndarray],
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """A window as a function of the place in it, from 0 to 1."""
    kind = as_dtype(dtype or default_dtype)
    if length < 0:
        raise ArgumentError(f"{name}: window_length must be 0 or more, came {length}")
    if not kind.is_floating_point:
        raise DTypeError(f"{name}: expected a floating-point dtype, came {kind}")
    values = formula(np.arange(length) / (length if periodic else length - 1)) if length > 1 else np.ones(length)
    return device_as_given(values.astype(kind.numpy), device, requires_grad)
