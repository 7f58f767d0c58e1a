# SPDX-License-Identifier: Apache-2.0
"""Prometheus metrics of one server, in a registry of its own."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Counts inference requests. A request for a model that is not served counts under the model "", so labels stay few."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "penlight_requests", "Inference requests answered, by HTTP status.", ("model", "code"), registry=self._registry
        )
        self._seconds = self._histogram("penlight_request_seconds", "From the request's headers to its answer.")
        self._runs = self._histogram("penlight_model_run_seconds", "Inside the engine.")
        self._counters: dict[tuple[str, int], Counter] = {}  # looking up labels costs more than counting
        self._histograms: dict[str, tuple[Histogram, Histogram]] = {}
        ProcessCollector(registry=self._registry)

    def _histogram(self, name: str, words: str) -> Histogram:
        return Histogram(name, words, ("model",), buckets=_SECONDS, registry=self._registry)

    def gauge(self, name: str, words: str, read: Callable[[], float]) -> None:
        """Adds a gauge that is read when somebody looks."""
        Gauge(name, words, registry=self._registry).set_function(read)

    def count(self, model: str, status: int, nanoseconds: int, run_nanoseconds: int | None) -> None:
        """Notes one answered request; `run_nanoseconds` is None when the model did not run."""
        counter = self._counters.get((model, status))
        if counter is None:
            counter = self._counters[model, status] = self._requests.labels(model, str(status))
        counter.inc()
        pair = self._histograms.get(model)
        if pair is None:
            pair = self._histograms[model] = (self._seconds.labels(model), self._runs.labels(model))
        pair[0].observe(nanoseconds * 1e-9)
        if run_nanoseconds is not None:
            pair[1].observe(run_nanoseconds * 1e-9)

    def text(self) -> bytes:
        """Returns the metrics in Prometheus' text format."""
        return generate_latest(self._registry)
