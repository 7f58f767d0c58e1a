# SPDX-License-Identifier: Apache-2.0
"""Fair timing: engines take turns in rounds, so that a slow moment of the machine hits all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from penlight_cli.arrays import InputInfo
from penlight_cli.engines import Engine
from penlight_cli.errors import UsageProblem


def measure(
    engines: Mapping[str, Engine],
    inputs: Mapping[str, np.ndarray],
    rounds: int,
    calls: int,
    on_round: Callable[[], object] = lambda: None,
) -> dict[str, np.ndarray]:
    """Returns the seconds of each call by engine, after one round that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in engines}
    for number in range(rounds + 1):
        for name, engine in engines.items():
            taken = [_one_call(engine, inputs) for _ in range(calls)]
            times[name] += taken if number else []
        on_round()
    return {name: np.array(values) for name, values in times.items()}


def _one_call(engine: Engine, inputs: Mapping[str, np.ndarray]) -> float:
    start = time.perf_counter()
    engine.run(inputs)
    return time.perf_counter() - start


def percentiles(seconds: np.ndarray) -> dict[str, float]:
    """Microseconds at p50, p90, p99 and the mean."""
    p50, p90, p99 = np.percentile(seconds, [50, 90, 99]) * 1e6
    return {"p50_us": float(p50), "p90_us": float(p90), "p99_us": float(p99), "mean_us": float(seconds.mean() * 1e6)}


def random_inputs(
    declared: Sequence[InputInfo], batch: int, shapes: Mapping[str, Sequence[int]], seed: int
) -> dict[str, np.ndarray]:
    """Seeded numbers for each input: normal, else 0..9, strings too; an open first size is `batch`, others must be given."""
    generator = np.random.default_rng(seed)
    arrays = {}
    for info in declared:
        shape = tuple(shapes.get(info.name) or _sizes(info, batch))
        values = (
            generator.standard_normal(shape)
            if info.dtype.kind == "f"
            else generator.integers(0, 2 if info.dtype.kind == "b" else 10, shape)
        )
        arrays[info.name] = values.astype(np.str_).astype(object) if info.is_text else np.asarray(values, info.dtype)
    return arrays


def _sizes(info: InputInfo, batch: int) -> list[int]:
    if any(isinstance(size, str) for size in info.shape[1:]):
        example = "x".join("1" if isinstance(size, str) else str(size) for size in info.shape)
        raise UsageProblem(f"input {info.name!r} is {info}, with open sizes; add --shape {info.name}:{example}")
    return [batch if isinstance(size, str) else size for size in info.shape]


def parse_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """Reads `name:1x3x224x224`.

    Raises:
        UsageProblem: it is written otherwise.
    """
    name, colon, sizes = text.rpartition(":")
    if not colon or not name or not all(size.isdigit() for size in sizes.split("x")):
        raise UsageProblem(f"--shape {text}: expected NAME:SIZExSIZE..., such as x:1x3x224x224")
    return name, tuple(int(size) for size in sizes.split("x"))
