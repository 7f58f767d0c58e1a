# SPDX-License-Identifier: Apache-2.0
"""Prometheus metrics of one server, in a registry of its own.

Counts are kept in plain numbers and turned into prometheus_client's families only when somebody looks: its own counters lock a
mutex for every bucket, which is felt in a request of 100 us.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class _Histogram:
    """Counts of durations by bucket, the last one without bound, and their sum."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_SECONDS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(_SECONDS, seconds)] += 1
        self.sum += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Returns the bounds and the counts up to each, as the text format wants them."""
        total, rows = 0, []
        for bound, count in zip((*map(str, _SECONDS), "+Inf"), self._counts, strict=True):
            total += count
            rows.append((bound, float(total)))
        return rows


class Metrics(Collector):
    """Counts inference requests, on the event loop's thread. A request for a model that is not served counts under the model "",
    so that clients cannot make up labels."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, int], int] = {}
        self._seconds: dict[str, _Histogram] = {}
        self._runs: dict[str, _Histogram] = {}
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def gauge(self, name: str, words: str, read: Callable[[], float]) -> None:
        """Adds a gauge that is read when somebody looks."""
        Gauge(name, words, registry=self._registry).set_function(read)

    def count(self, model: str, status: int, nanoseconds: int, run_nanoseconds: int | None) -> None:
        """Notes one answered request; `run_nanoseconds` is None when the model did not run."""
        self._requests[model, status] = self._requests.get((model, status), 0) + 1
        if model not in self._seconds:
            self._seconds[model], self._runs[model] = _Histogram(), _Histogram()
        self._seconds[model].observe(nanoseconds * 1e-9)
        if run_nanoseconds is not None:
            self._runs[model].observe(run_nanoseconds * 1e-9)

    def collect(self) -> Iterator[Metric]:
        """Yields the families, as prometheus_client asks for them."""
        requests = CounterMetricFamily(
            "penlight_requests", "Inference requests answered, by HTTP status.", labels=("model", "code")
        )
        for (model, status), count in self._requests.items():
            requests.add_metric((model, str(status)), count)
        yield requests
        yield _family("penlight_request_seconds", "From the request's headers to its answer.", self._seconds)
        yield _family("penlight_model_run_seconds", "Inside the engine.", self._runs)

    def text(self) -> bytes:
        """Returns the metrics in Prometheus' text format."""
        return generate_latest(self._registry)


def _family(name: str, words: str, histograms: dict[str, _Histogram]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, words, labels=("model",))
    for model, histogram in histograms.items():
        family.add_metric((model,), histogram.buckets(), histogram.sum)
    return family
