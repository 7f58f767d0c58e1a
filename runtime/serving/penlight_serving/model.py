# SPDX-License-Identifier: Apache-2.0
"""A model being served: its description in the protocol's words, how fast it is, and its statistics."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from penlight_serving.engine import Engine
from penlight_serving.tensors import TensorInfo

_WINDOW = 32  # runs that the median looks back on
_GROWTH = 4  # an input this much larger than any measured one may be slower: it goes to a thread
_STALL_NS = 10_000_000  # a run this long held up every other client; its model goes to a thread for
_STALL_RUNS = 200  # this many runs


class Pace:
    """The median duration of recent runs, and with it the choice between the event loop and a thread."""

    def __init__(self, inline_below_us: float) -> None:
        self._limit_ns = inline_below_us * 1000
        self._runs: deque[int] = deque(maxlen=_WINDOW)
        self._largest_bytes = 0
        self._countdown = 1
        self._stalled = 0
        self.median_ns = float("inf")

    def record(self, nanoseconds: int, input_bytes: int) -> None:
        """Notes one run of the model."""
        self._runs.append(nanoseconds)
        self._stalled = _STALL_RUNS if nanoseconds > _STALL_NS else max(0, self._stalled - 1)
        self._largest_bytes = max(self._largest_bytes, input_bytes)
        self._countdown -= 1
        if self._countdown <= 0:
            self._countdown = _WINDOW // 2
            self.median_ns = statistics.median(self._runs)

    def is_inline(self, input_bytes: int) -> bool:
        """Returns whether a run with inputs of this size is short enough to hold up the event loop."""
        return self.median_ns < self._limit_ns and not self._stalled and input_bytes <= _GROWTH * self._largest_bytes


@dataclass
class Statistics:
    """Counts and durations in nanoseconds since the start, as the protocol's statistics extension names them."""

    success: int = 0
    fail: int = 0
    success_ns: int = 0
    fail_ns: int = 0
    queue_ns: int = 0
    input_ns: int = 0
    infer_ns: int = 0
    output_ns: int = 0
    last_inference_ms: int = 0

    def to_json(self, name: str, version: str) -> dict[str, Any]:
        """Returns one entry of `model_stats`."""

        def duration(count: int, nanoseconds: int) -> dict[str, int]:
            return {"count": count, "ns": nanoseconds}

        return {
            "name": name,
            "version": version,
            "last_inference": self.last_inference_ms,
            "inference_count": self.success,
            "execution_count": self.success,
            "inference_stats": {
                "success": duration(self.success, self.success_ns),
                "fail": duration(self.fail, self.fail_ns),
                "queue": duration(self.success, self.queue_ns),
                "compute_input": duration(self.success, self.input_ns),
                "compute_infer": duration(self.success, self.infer_ns),
                "compute_output": duration(self.success, self.output_ns),
                "cache_hit": duration(0, 0),
                "cache_miss": duration(0, 0),
            },
            "batch_stats": [],
        }


@dataclass
class ServedModel:
    """A loaded model under its name and version."""

    name: str
    version: str
    engine: Engine
    pace: Pace
    statistics: Statistics = field(default_factory=Statistics)

    def __post_init__(self) -> None:
        self.inputs = {info.name: info for info in self.engine.inputs}
        self.outputs = {info.name: info for info in self.engine.outputs}
        self.output_names = list(self.outputs)

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> tuple[list[np.ndarray], int, int]:
        """Returns the named outputs, when the run began and how long it took, both in nanoseconds."""
        started = time.perf_counter_ns()
        results = self.engine.run(inputs, outputs)
        return results, started, time.perf_counter_ns() - started

    def warm_up(self, runs: int = 5, at_most_ns: int = 200_000_000) -> None:
        """Runs the model on zeros, sizes of the caller's choice being 1, to load its code and to learn its pace."""
        inputs = {name: _zeros(info) for name, info in self.inputs.items()}
        input_bytes = sum(array.nbytes for array in inputs.values())
        spent = 0
        for index in range(runs):
            try:
                duration = self.run(inputs, self.output_names)[2]
            except Exception:
                return  # zeros need not suit the model; its pace is then learned from requests
            spent += duration
            if index > 0:  # the first run pays for memory and caches
                self.pace.record(duration, input_bytes)
            if spent > at_most_ns:
                return

    def metadata(self) -> dict[str, Any]:
        """Returns the answer to `GET /v2/models/{name}`."""
        return {
            "name": self.name,
            "versions": [self.version],
            "platform": self.engine.platform,
            "inputs": [_describe(info) for info in self.engine.inputs],
            "outputs": [_describe(info) for info in self.engine.outputs],
        }

    def config(self) -> dict[str, Any]:
        """Returns the answer to `/config`: Triton's fields that mean something here. Batches are an ordinary dimension."""
        return {
            "name": self.name,
            "platform": self.engine.platform,
            "backend": self.engine.backend,
            "version_policy": {"latest": {"num_versions": 1}},
            "max_batch_size": 0,
            "input": [_configure(info) for info in self.engine.inputs],
            "output": [_configure(info) for info in self.engine.outputs],
        }


def _zeros(info: TensorInfo) -> np.ndarray:
    shape = [max(size, 1) if size < 0 else size for size in info.shape]
    return np.full(shape, "", dtype=object) if info.datatype.name == "BYTES" else np.zeros(shape, info.datatype.dtype)


def _describe(info: TensorInfo) -> dict[str, Any]:
    return {"name": info.name, "datatype": info.datatype.name, "shape": info.shape}


def _configure(info: TensorInfo) -> dict[str, Any]:
    return {"name": info.name, "data_type": info.datatype.config_name, "dims": info.shape}
