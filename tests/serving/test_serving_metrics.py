# SPDX-License-Identifier: Apache-2.0
"""What /metrics says, and that it says no more than it may."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import serving_models

import penlight_serving


@pytest.fixture
def client(tmp_path: Path) -> Iterator[serving_models.Client]:
    serving_models.mixer(tmp_path / "mixer.onnx")
    with penlight_serving.running_server(tmp_path, threads=1) as running:
        connection = serving_models.Client(running.url)
        yield connection
        connection.close()


def _metrics(client: serving_models.Client) -> dict[str, float]:
    status, headers, content = client.request("GET", "/metrics")
    assert status == 200 and headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = [line for line in content.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_requests_are_counted_by_model_and_status(client: serving_models.Client) -> None:
    for _ in range(3):
        client.request("POST", "/v2/models/mixer/infer", serving_models.mixer_request())
    client.request("POST", "/v2/models/mixer/infer", b"no")
    for name in ("absent", "also-absent", "%0a"):
        client.request("POST", f"/v2/models/{name}/infer", b"no")
    metrics = _metrics(client)
    assert metrics['penlight_requests_total{code="200",model="mixer"}'] == 3
    assert metrics['penlight_requests_total{code="400",model="mixer"}'] == 1
    assert metrics['penlight_requests_total{code="404",model=""}'] == 3  # names that a client makes up are no labels
    assert metrics['penlight_request_seconds_count{model="mixer"}'] == 4
    assert metrics['penlight_model_run_seconds_count{model="mixer"}'] == 3
    assert metrics['penlight_model_run_seconds_sum{model="mixer"}'] < metrics['penlight_request_seconds_sum{model="mixer"}']
    assert metrics["penlight_requests_in_flight"] == 0
    assert metrics["penlight_queue_waiting"] == 0
    assert metrics["penlight_body_bytes"] == 0
    assert metrics["penlight_models"] == 1
    assert metrics["penlight_ready"] == 1


def test_every_name_is_ours_or_the_process(client: serving_models.Client) -> None:
    assert all(re.match(r"(penlight|process)_[a-z_]+", name) for name in _metrics(client))


def test_statistics_agree_with_the_metrics(client: serving_models.Client) -> None:
    for _ in range(2):
        client.request("POST", "/v2/models/mixer/infer", serving_models.mixer_request())
    client.request("POST", "/v2/models/mixer/infer", b"no")
    inference = client.json("GET", "/v2/models/stats")[1]["model_stats"][0]["inference_stats"]
    assert (inference["success"]["count"], inference["fail"]["count"]) == (2, 1)
    parts = sum(inference[name]["ns"] for name in ("queue", "compute_input", "compute_infer", "compute_output"))
    assert 0 < parts <= inference["success"]["ns"]
