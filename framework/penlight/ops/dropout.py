# SPDX-License-Identifier: Apache-2.0
"""Dropout: the mask comes from a generator, so that a run repeats."""

from __future__ import annotations

import numpy as np

from penlight.backends.backend import backend_of, visiting
from penlight.errors import ArgumentError
from penlight.ops.convert import keeps_channels_last
from penlight.random import Generator, default_generator
from penlight.tape import mode
from penlight.tensor import Tensor, from_array


@keeps_channels_last
def dropout(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Returns the input with each element set to 0 with probability `p`, the others divided by 1 - p.

    Outside of training the input itself (Srivastava et al. 2014).

    Raises:
        ArgumentError: `p` is not in [0, 1].
    """
    return _drop(input, p, training, tuple(input._data.shape), generator)


@keeps_channels_last
def dropout2d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Returns the input (N, C, ...) with whole channels set to 0 with probability `p`, the others divided by 1 - p."""
    shape = tuple(input._data.shape)
    return _drop(input, p, training, (*shape[:2], *(1,) * (len(shape) - 2)), generator)


def _drop(input: Tensor, p: float, training: bool, shape: tuple[int, ...], generator: Generator | None) -> Tensor:
    if not 0 <= p <= 1:
        raise ArgumentError(f"dropout: p must be in [0, 1], came {p}")
    if not training or p == 0:
        return input
    if mode.tracer is not None:
        mode.tracer.refuse_random("dropout in training mode")
    if p == 1:
        return input * 0.0
    if (mask_on_device := drawn_on_device(input, p, shape, generator or default_generator)) is not None:
        return input * mask_on_device
    keep = (generator or default_generator).numpy.random(shape, dtype=np.float32) >= p
    mask = np.multiply(keep, 1 / (1 - p), dtype=np.float32).astype(input._data.dtype, copy=False)
    return input * from_array(np.asarray(mask)).to(input.device)


def drawn_on_device(input: Tensor, p: float, shape: tuple[int, ...], generator: Generator) -> Tensor | None:
    """The mask where the input's device draws for itself; other numbers than on the CPU."""
    backend = backend_of(input._data)
    kernel = backend.kernels.get("dropout_mask")
    if kernel is None:
        return None
    with visiting(input._data):
        mask = kernel(generator.on_device(input.device, backend.xp), shape, input._data.dtype, p)
    return None if mask is NotImplemented else from_array(mask)
