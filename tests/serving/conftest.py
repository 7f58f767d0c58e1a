# SPDX-License-Identifier: Apache-2.0
"""One server with a few small models for all tests that only ask it questions."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import serving_models

import penlight_serving


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    serving_models.mixer(folder / "mixer.onnx")
    serving_models.classifier(folder / "classifier.onnx")
    serving_models.lookup(folder / "lookup.onnx")
    for datatype in serving_models.ELEMENTS:
        serving_models.identity(folder / f"same_{datatype}.onnx", datatype)
    versioned = folder / "versioned"
    for version in ("1", "3", "03", "not-a-version"):
        (versioned / version).mkdir(parents=True)
        serving_models.mixer(versioned / version / "model.onnx")
    return folder


@pytest.fixture(scope="session")
def server(repository: Path) -> Iterator[penlight_serving.Running]:
    with penlight_serving.running_server(repository, threads=1, max_body_bytes=1 << 20, max_json_bytes=1 << 18) as running:
        yield running


@pytest.fixture
def client(server: penlight_serving.Running) -> Iterator[serving_models.Client]:
    connection = serving_models.Client(server.url)
    yield connection
    connection.close()
