# SPDX-License-Identifier: Apache-2.0
"""First values of parameters, in place, with PyTorch's names, formulas and defaults."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from penlight.backends.backend import visiting
from penlight.random import Generator, rand, randn, randperm
from penlight.tensor import Tensor, from_numpy

_LINEAR = "linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d"
GAINS = {**dict.fromkeys(_LINEAR.split(), 1.0), "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}


def empty(*shape: int) -> Tensor:
    """Returns a float32 tensor to be filled."""
    return full(shape, 0)


def full(shape: Sequence[int], value: float) -> Tensor:
    """Returns a float32 tensor of one value."""
    return from_numpy(np.full(tuple(shape), value, np.float32))


def _write(tensor: Tensor, values: Tensor) -> Tensor:
    """Writes float32 draws into a tensor of any device and dtype, outside the tape."""
    target = tensor.detach()
    with visiting(target._data):
        target._data[...] = values.to(target.device)._data
    target.bump_version()
    return tensor


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fills with draws from [a, b)."""
    return _write(tensor, rand(*tensor.shape, generator=generator) * (b - a) + a)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fills with normal draws."""
    return _write(tensor, randn(*tensor.shape, generator=generator) * std + mean)


def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, generator: Generator | None = None
) -> Tensor:
    """Fills with normal draws between a and b; draws outside are drawn again."""
    values = normal_(full(tensor.shape, 0), mean, std, generator)
    while (outside := (values._data < a) | (values._data > b)).any():
        values._data[outside] = normal_(full((int(outside.sum()),), 0), mean, std, generator)._data
    return _write(tensor, values)


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fills with one value."""
    target = tensor.detach()
    with visiting(target._data):
        target._data[...] = val
    target.bump_version()
    return tensor


def zeros_(tensor: Tensor) -> Tensor:
    """Fills with 0."""
    return constant_(tensor, 0)


def ones_(tensor: Tensor) -> Tensor:
    """Fills with 1."""
    return constant_(tensor, 1)


def eye_(tensor: Tensor) -> Tensor:
    """Fills a matrix with 1 on the diagonal and 0 elsewhere."""
    rows, columns = tensor.shape
    return _write(tensor, from_numpy(np.eye(rows, columns, dtype=np.float32)))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Fills a convolution's weight (out, in, ...) so that it copies its input channels, in each group."""
    if tensor.ndim not in (3, 4, 5) or tensor.shape[0] % groups:
        raise ValueError(
            f"dirac_: expected (out, in, ...) of 3 to 5 dimensions, out divisible by {groups}, got {tuple(tensor.shape)}"
        )
    values = np.zeros(tuple(tensor.shape), np.float32)
    per_group = tensor.shape[0] // groups
    middle = tuple(size // 2 for size in tensor.shape[2:])
    for group in range(groups):
        for channel in range(min(per_group, tensor.shape[1])):
            place = (group * per_group + channel, channel, *middle)
            values[place] = 1
    return _write(tensor, from_numpy(values))


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None) -> Tensor:
    """Fills a matrix with normal draws, and a part of each column with zeros (Martens 2010)."""
    if tensor.ndim != 2:
        raise ValueError(f"sparse_: expected a matrix, got {tuple(tensor.shape)}")
    rows, columns = tensor.shape
    values = (randn(rows, columns, generator=generator) * std).numpy().copy()
    for column in range(columns):
        values[randperm(rows, generator=generator).numpy()[: math.ceil(sparsity * rows)], column] = 0
    return _write(tensor, from_numpy(values))


def orthogonal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fills a matrix (further dimensions are flattened) with orthonormal rows or columns (Saxe et al. 2013)."""
    rows = tensor.shape[0]
    columns = math.prod(tensor.shape[1:])
    draws = randn(max(rows, columns), min(rows, columns), generator=generator).numpy()
    q, r = np.linalg.qr(draws)
    q = q * np.sign(np.diag(r))  # makes the distribution uniform
    matrix = q if rows >= columns else q.T
    return _write(tensor, from_numpy(np.ascontiguousarray(gain * matrix, np.float32).reshape(tensor.shape)))


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Returns the factor that keeps the variance through a nonlinearity; `param` is the slope of "leaky_relu"."""
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in GAINS:
        raise ValueError(f"calculate_gain: unknown nonlinearity {nonlinearity!r}; expected leaky_relu or one of {', '.join(GAINS)}")
    return GAINS[nonlinearity]


def fans(tensor: Tensor) -> tuple[int, int]:
    """Returns (fan_in, fan_out) of a weight (out, in, ...)."""
    if len(tensor.shape) < 2:
        raise ValueError(f"init: fan_in and fan_out need at least two dimensions, got shape {tuple(tensor.shape)}")
    window = math.prod(tensor.shape[2:])
    return tensor.shape[1] * window, tensor.shape[0] * window


def uniform_fan_(tensor: Tensor, fan_in: int) -> Tensor:
    """Fills with draws from +-1/sqrt(fan_in), as PyTorch does for biases."""
    bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
    return uniform_(tensor, -bound, bound)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fills with draws from +-gain * sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010)."""
    bound = gain * math.sqrt(6 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fills with normal draws of standard deviation gain * sqrt(2 / (fan_in + fan_out))."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(fans(tensor))), generator)


def kaiming_uniform_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Generator | None = None
) -> Tensor:
    """Fills with draws from +-gain * sqrt(3 / fan) (He et al. 2015)."""
    bound = math.sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Generator | None = None
) -> Tensor:
    """Fills with normal draws of standard deviation gain / sqrt(fan)."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in {"fan_in", "fan_out"}:
        raise ValueError(f"kaiming init: mode must be 'fan_in' or 'fan_out', got {mode!r}")
    fan = fans(tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan) if fan else 0.0
