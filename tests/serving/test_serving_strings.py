# SPDX-License-Identifier: Apache-2.0
"""Strings behind the server: BYTES in the protocol, as JSON and as raw bytes."""

import json
import urllib.error
import urllib.request

import numpy as np
import pytest
from onnx_text import model_from_text

import penlight_export
import penlight_serving


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("strings")
    weights = {"bang": np.array(["!"], object)}
    proto = model_from_text("g (string[N] x) => (string[N] y) { y = StringConcat(x, bang) }", 20, weights)
    (folder / "shout.onnx").write_bytes(proto.SerializeToString())
    pen = penlight_export.convert(folder / "shout.onnx", folder / "shout.pen", max_string_bytes=16).path
    with penlight_serving.running_server([pen], threads=1) as running:
        yield running


def ask(server, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(f"http://{server.host}:{server.port}/v2/models/shout{path}", data, timeout=120) as answer:
        return json.load(answer)


def test_metadata(server):
    facts = ask(server, "")
    assert facts["inputs"] == [{"name": "x", "datatype": "BYTES", "shape": [-1]}]
    assert facts["outputs"] == [{"name": "y", "datatype": "BYTES", "shape": [-1]}]


def test_json(server):
    body = {"inputs": [{"name": "x", "datatype": "BYTES", "shape": [3], "data": ["a", "été", ""]}]}
    (output,) = ask(server, "/infer", body)["outputs"]
    assert output == {"name": "y", "datatype": "BYTES", "shape": [3], "data": ["a!", "été!", "!"]}


@pytest.mark.parametrize("binary", [True, False])
def test_client(binary, server):
    triton = pytest.importorskip("tritonclient.http")
    tensor = triton.InferInput("x", [2], "BYTES")
    tensor.set_data_from_numpy(np.array(["a", "été"], object), binary_data=binary)
    with triton.InferenceServerClient(f"{server.host}:{server.port}") as client:
        found = client.infer("shout", [tensor]).as_numpy("y")
    assert [text.decode() if isinstance(text, bytes) else text for text in found.tolist()] == ["a!", "été!"]


def test_too_long(server):
    body = {"inputs": [{"name": "x", "datatype": "BYTES", "shape": [1], "data": ["x" * 17]}]}
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(server, "/infer", body)
    assert refused.value.code == 400
    assert "at most 16" in json.load(refused.value)["error"]
