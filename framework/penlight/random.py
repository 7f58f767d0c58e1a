# SPDX-License-Identifier: Apache-2.0
"""Random numbers: generators whose state can be saved as plain data, and the functions that draw from them.

Philox is a counter-based generator (Salmon et al. 2011): its state is a key and a counter, the same on every machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np

from penlight.backends.backend import backend_of, visiting
from penlight.backends.cuda import recording
from penlight.dtype import as_dtype, default_dtype, int64
from penlight.errors import ArgumentError
from penlight.layout import memory_format, preserve_format
from penlight.ops.create import device_as_given, in_format
from penlight.ops.dims import shape_arguments
from penlight.tape import mode
from penlight.tensor import Tensor, from_array

State = dict[str, Any]


def _unforeseen() -> int:
    """A seed of 63 bits from the system."""
    return int.from_bytes(os.urandom(8), "little") >> 1


class Generator:
    """A stream of random numbers: `Generator(seed)`; equal seeds give equal streams."""

    def __init__(self, seed: int | None = None) -> None:
        self._devices: dict[str, Any] = {}
        self.manual_seed(_unforeseen() if seed is None else seed)

    def manual_seed(self, seed: int) -> Generator:
        """Starts the stream of `seed` anew and returns the generator."""
        if not isinstance(seed, int) or isinstance(seed, bool):
            raise ArgumentError(f"manual_seed: expected an integer, came {seed!r}")
        self._seed = seed
        self.__dict__.pop("numpy", None)
        self._restart_devices({})
        return self

    def on_device(self, device: Any, xp: Any) -> Any:
        """(seed, offset), uint64, in the memory of a device whose kernels draw from it and move the offset on.

        One array for each device and for good: a captured step has its address.
        """
        name = str(device)
        state = self._devices.get(name)
        if state is None:
            state = self._devices[name] = xp.empty(2, np.uint64)
            state.set(np.array(self._waiting.pop(name, (self._seed % (1 << 64), 0)), np.uint64))
        return state

    def _restart_devices(self, states: dict[str, list[int]]) -> None:
        """Sets the states of devices; those not named start anew, those not met yet wait until they are."""
        for name, state in self._devices.items():
            with visiting(state):
                state.set(np.array(states.get(name, (self._seed % (1 << 64), 0)), np.uint64))
        self._waiting = {name: state for name, state in states.items() if name not in self._devices}

    @cached_property
    def numpy(self) -> np.random.Generator:
        """The stream itself, made when it is first drawn from: importing numpy.random takes a tenth of importing penlight."""
        return np.random.Generator(np.random.Philox(np.random.SeedSequence(self._seed % (1 << 128))))

    def initial_seed(self) -> int:
        """The seed that the stream started from."""
        return self._seed

    def get_state(self) -> State:
        """The whole state as plain data (numbers, texts, lists) that JSON can hold."""
        state = self.numpy.bit_generator.state
        devices = {
            name: [int(v) for v in backend_of(array).to_numpy(array)] for name, array in self._devices.items()
        } | self._waiting
        return {
            **({"devices": devices} if devices else {}),
            "seed": self._seed,
            "counter": [int(v) for v in state["state"]["counter"]],
            "key": [int(v) for v in state["state"]["key"]],
            "buffer": [int(v) for v in state["buffer"]],
            "buffer_pos": int(state["buffer_pos"]),
            "has_uint32": int(state["has_uint32"]),
            "uinteger": int(state["uinteger"]),
        }

    def set_state(self, state: State) -> Generator:
        """Continues from a state that `get_state` returned.

        Raises:
            ArgumentError: the state lacks a part or holds something else.
        """
        try:
            words = {name: np.array(state[name], dtype=np.uint64) for name in ("counter", "key", "buffer")}
            self.numpy.bit_generator.state = {
                "bit_generator": "Philox",
                "state": {"counter": words["counter"], "key": words["key"]},
                "buffer": words["buffer"],
                "buffer_pos": int(state["buffer_pos"]),
                "has_uint32": int(state["has_uint32"]),
                "uinteger": int(state["uinteger"]),
            }
            self._seed = int(state["seed"])
            self._restart_devices({name: [int(v) for v in words] for name, words in state.get("devices", {}).items()})
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ArgumentError(f"set_state: not a generator state ({error}); pass what get_state() returned") from error
        return self


default_generator = Generator(0)


def manual_seed(seed: int) -> Generator:
    """Seeds the default generator, which all functions use that are given none, and returns it."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Seeds the default generator with a number that nobody can foresee, and returns it."""
    return default_generator.manual_seed(_unforeseen()).initial_seed()


def get_rng_state() -> State:
    """The state of the default generator, as plain data."""
    return default_generator.get_state()


def set_rng_state(state: State) -> None:
    """Sets the state of the default generator."""
    default_generator.set_state(state)


@contextmanager
def fork_rng() -> Iterator[None]:
    """Within it the default generator may be used or seeded; afterwards it goes on as if nothing had happened."""
    state = default_generator.get_state()
    try:
        yield
    finally:
        default_generator.set_state(state)


def _numpy(generator: Generator | None) -> np.random.Generator:
    if mode.tracer is not None:
        mode.tracer.refuse_random("a random function")
    recording.refuse_random("a random function")
    return (generator or default_generator).numpy


def rand(
    *size: Any, generator: Generator | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Returns a tensor of `size`, uniform in [0, 1)."""
    kind = default_dtype if dtype is None else as_dtype(dtype)
    draw = kind.numpy if kind.itemsize >= 4 else np.dtype(np.float32)
    array = np.asarray(_numpy(generator).random(shape_arguments(size), dtype=draw)).astype(kind.numpy, copy=False)
    return device_as_given(array, device, requires_grad)


def randn(
    *size: Any, generator: Generator | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Returns a tensor of `size` from the normal distribution with mean 0 and variance 1."""
    kind = default_dtype if dtype is None else as_dtype(dtype)
    draw = kind.numpy if kind.itemsize >= 4 else np.dtype(np.float32)
    array = np.asarray(_numpy(generator).standard_normal(shape_arguments(size), dtype=draw)).astype(kind.numpy, copy=False)
    return device_as_given(array, device, requires_grad)


def randint(
    low: Any = None,
    high: Any = None,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: Any = int64,
    device: Any = None,
) -> Tensor:
    """Returns integers in [low, high), or in [0, high) for `randint(high, size)`, where also `high=` may be named.

    Raises:
        ArgumentError: the range is empty.
    """
    if low is None:
        low = 0
    elif size is None or high is None or isinstance(high, (tuple, list)):
        low, high, size = 0, low, size if high is None else high
    if high <= low:
        raise ArgumentError(f"randint: the range [{low}, {high}) is empty")
    return device_as_given(np.asarray(_numpy(generator).integers(low, high, tuple(size))).astype(as_dtype(dtype).numpy), device)


def randperm(n: int, *, generator: Generator | None = None, dtype: Any = int64, device: Any = None) -> Tensor:
    """Returns a random permutation of 0..n-1."""
    return device_as_given(_numpy(generator).permutation(n).astype(as_dtype(dtype).numpy), device)


def bernoulli(input: Tensor, *, generator: Generator | None = None) -> Tensor:
    """Returns 1 with the probability that `input` says, else 0; shape and dtype of `input`."""
    draw = _numpy(generator).random(tuple(input.shape), dtype=np.float32)
    return from_array(np.asarray(draw < input._data).astype(input._data.dtype))


def multinomial(input: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None) -> Tensor:
    """Returns `num_samples` indices per row, drawn with the weights `input` (..., C) that need not sum to 1; int64.

    Raises:
        ArgumentError: a weight is negative or not finite, a row sums to 0, or too many are drawn without replacement.
    """
    weights = np.asarray(input._data, dtype=np.float64)
    rows = weights.reshape(-1, weights.shape[-1])
    if not np.isfinite(rows).all() or (rows < 0).any() or not (rows.sum(1) > 0).all():
        raise ArgumentError("multinomial: expected finite weights >= 0, at least one positive in each row")
    draw = _numpy(generator)
    if not replacement and num_samples > int((rows > 0).sum(1).min()):
        raise ArgumentError(f"multinomial: {num_samples} draws without replacement from fewer positive weights")
    picks = [draw.choice(rows.shape[1], num_samples, replace=replacement, p=row / row.sum()) for row in rows]
    return from_array(np.array(picks, dtype=np.int64).reshape(*weights.shape[:-1], num_samples))


def rand_like(input: Tensor, *, generator: Generator | None = None, memory_format: memory_format = preserve_format) -> Tensor:
    """Returns `rand` in the shape, dtype, device and order in memory of `input`."""
    return in_format(rand(tuple(input.shape), generator=generator, dtype=input.dtype, device=input.device), memory_format, input)


def randn_like(input: Tensor, *, generator: Generator | None = None, memory_format: memory_format = preserve_format) -> Tensor:
    """Returns `randn` in the shape, dtype, device and order in memory of `input`."""
    return in_format(randn(tuple(input.shape), generator=generator, dtype=input.dtype, device=input.device), memory_format, input)


def uniform_(input: Tensor, low: float = 0.0, high: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Fills the tensor with values uniform in [low, high), in place."""
    values = rand(tuple(input.shape), generator=generator, dtype=input.dtype, device=input.device)
    return input.copy_(values * (high - low) + low)


def normal_(input: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Fills the tensor with values of the normal distribution, in place."""
    values = randn(tuple(input.shape), generator=generator, dtype=input.dtype, device=input.device)
    return input.copy_(values * std + mean)
