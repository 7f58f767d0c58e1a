# SPDX-License-Identifier: Apache-2.0
"""Further random tensors of PyTorch, new and in place: normal, poisson, `x.exponential_()` and the like."""

from __future__ import annotations

from typing import Any

import numpy as np

from penlight.errors import ArgumentError
from penlight.limits import iinfo
from penlight.ops import out as _out
from penlight.ops.arithmetic import add, mul
from penlight.ops.create import device_as_given
from penlight.random import Generator, _numpy, default_generator, rand, randint, randn
from penlight.tensor import Tensor


def normal(
    mean: Any, std: Any = 1.0, size: Any = None, *, generator: Generator | None = None, dtype: Any = None, device: Any = None
) -> Tensor:
    """Returns mean + std * z with normal z.

    Args:
        mean, std: tensors whose shapes go together, or numbers; two numbers need a `size`.
        size: the shape for two numbers.
    """
    given = [t for t in (mean, std) if isinstance(t, Tensor)]
    if size is None and not given:
        raise ArgumentError("normal: two numbers need size=, the shape of the result")
    like = add(mean, std) if len(given) == 2 else given[0] if given else None
    shape, dtype = (tuple(size), dtype) if like is None else (tuple(like.shape), like.dtype)
    z = randn(shape, generator=generator, dtype=dtype, device=device if like is None else like.device)
    return add(mul(z, std), mean)


def poisson(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Returns counts with the means `input`, in its shape and dtype."""
    counts = _numpy(generator).poisson(np.asarray(input.detach().cpu()._data, np.float64))
    return device_as_given(np.asarray(counts).astype(input.dtype.numpy), input.device)


def randint_like(input: Tensor, low: int, high: int | None = None, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Returns integers in [low, high), or [0, low), in the shape, dtype and device of `input`."""
    kind, place = input.dtype if dtype is None else dtype, input.device if device is None else device
    return randint(*((0, low) if high is None else (low, high)), tuple(input.shape), dtype=kind, device=place)


def initial_seed() -> int:
    """Returns the seed of the global generator."""
    return default_generator.initial_seed()


def random_(self: Tensor, from_: int = 0, to: int | None = None, *, generator: Generator | None = None) -> Tensor:
    """Fills with integers in [from, to), or [0, from); up to what the dtype holds exactly where no end is given."""
    low, high = (0, from_) if to is None and from_ else (from_, to)
    if high is None:
        digits = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53, "bool": 1}.get(self.dtype.name)
        high = 2**digits + (digits > 1) if digits else iinfo(self.dtype).max
    return self.copy_(randint(low, high, tuple(self.shape), generator=generator))


def bernoulli_(self: Tensor, p: Any = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Fills with 1 where a draw is below p, a number or a tensor, else with 0."""
    return self.copy_(rand(tuple(self.shape), generator=generator, device=self.device) < p)


def exponential_(self: Tensor, lambd: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Fills with values of the density lambd * exp(-lambd * x)."""
    return _filled(self, _numpy(generator).exponential(1 / lambd, tuple(self.shape)))


def geometric_(self: Tensor, p: float, *, generator: Generator | None = None) -> Tensor:
    """Fills with the number of trials up to the first success, at probability p."""
    return _filled(self, _numpy(generator).geometric(p, tuple(self.shape)))


def log_normal_(self: Tensor, mean: float = 1.0, std: float = 2.0, *, generator: Generator | None = None) -> Tensor:
    """Fills with exp of normal values of this mean and deviation."""
    return _filled(self, _numpy(generator).lognormal(mean, std, tuple(self.shape)))


def cauchy_(self: Tensor, median: float = 0.0, sigma: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Fills with values of the Cauchy distribution."""
    return _filled(self, _numpy(generator).standard_cauchy(tuple(self.shape)) * sigma + median)


def _filled(target: Tensor, values: Any) -> Tensor:
    return target.copy_(device_as_given(np.asarray(values).astype(target.dtype.numpy), target.device))


_out.accept_out(globals(), "normal")
