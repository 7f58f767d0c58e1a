# SPDX-License-Identifier: Apache-2.0
"""Small ONNX models for the tests of the server, and a plain HTTP client that hides nothing."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import onnx
from onnx import TensorProto, helper

Headers = dict[str, str]
ELEMENTS = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}


def tensor(name: str, element: int, *dims: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, element, list(dims))


def save(path: Path, nodes: list[onnx.NodeProto], inputs: list, outputs: list, initializers: list | tuple = ()) -> Path:
    graph = helper.make_graph(nodes, path.stem, inputs, outputs, list(initializers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def mixer(path: Path) -> Path:
    """x, y: FP32 (batch, 4) -> total = x + y, product = x * y."""
    return save(
        path,
        [helper.make_node("Add", ["x", "y"], ["total"], name="add"), helper.make_node("Mul", ["x", "y"], ["product"], name="mul")],
        [tensor("x", TensorProto.FLOAT, "batch", 4), tensor("y", TensorProto.FLOAT, "batch", 4)],
        [tensor("total", TensorProto.FLOAT, "batch", 4), tensor("product", TensorProto.FLOAT, "batch", 4)],
    )


def classifier(path: Path) -> Path:
    """image: FP32 (batch, 16) -> probabilities (batch, 10): Gemm, Relu, Gemm, Softmax on fixed random weights."""
    random = np.random.default_rng(7)
    shapes = {"w1": (16, 32), "b1": (32,), "w2": (32, 10), "b2": (10,)}
    weights = [onnx.numpy_helper.from_array(random.standard_normal(shape).astype("f4"), name) for name, shape in shapes.items()]
    nodes = [
        helper.make_node("Gemm", ["image", "w1", "b1"], ["hidden"], name="fc1"),
        helper.make_node("Relu", ["hidden"], ["active"], name="act"),
        helper.make_node("Gemm", ["active", "w2", "b2"], ["logits"], name="fc2"),
        helper.make_node("Softmax", ["logits"], ["probabilities"], name="softmax", axis=1),
    ]
    image, output = tensor("image", TensorProto.FLOAT, "batch", 16), tensor("probabilities", TensorProto.FLOAT, "batch", 10)
    return save(path, nodes, [image], [output], weights)


def digits_cnn(path: Path) -> Path:
    """image: FP32 (batch, 1, 8, 8) -> logits (batch, 10): two convolutions, a pooling and two Gemm on fixed random weights."""
    random = np.random.default_rng(3)
    shapes = {"c1": (16, 1, 3, 3), "c2": (32, 16, 3, 3), "w1": (512, 64), "w2": (64, 10)}
    weights = [
        onnx.numpy_helper.from_array((random.standard_normal(shape) / 8).astype("f4"), name) for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["image", "c1"], ["a"], name="conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], name="relu1"),
        helper.make_node("Conv", ["b", "c2"], ["c"], name="conv2", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["d"], name="relu2"),
        helper.make_node("MaxPool", ["d"], ["e"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["e"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "w1"], ["g"], name="fc1"),
        helper.make_node("Relu", ["g"], ["h"], name="relu3"),
        helper.make_node("Gemm", ["h", "w2"], ["logits"], name="fc2"),
    ]
    image, logits = tensor("image", TensorProto.FLOAT, "batch", 1, 8, 8), tensor("logits", TensorProto.FLOAT, "batch", 10)
    return save(path, nodes, [image], [logits], weights)


def identity(path: Path, datatype: str) -> Path:
    """x -> y of one datatype and any length."""
    element = ELEMENTS[datatype]
    return save(path, [helper.make_node("Identity", ["x"], ["y"])], [tensor("x", element, "n")], [tensor("y", element, "n")])


def lookup(path: Path) -> Path:
    """index: INT64 (n) -> row: FP32 (n, 2) of a table with three rows; another index is refused while running."""
    table = onnx.numpy_helper.from_array(np.arange(6, dtype=np.float32).reshape(3, 2), "table")
    node = helper.make_node("Gather", ["table", "index"], ["row"], name="pick")
    return save(path, [node], [tensor("index", TensorProto.INT64, "n")], [tensor("row", TensorProto.FLOAT, "n", 2)], [table])


def zeros(path: Path) -> Path:
    """size: INT64 (1) -> y: FP32 (size): a small request with a large answer."""
    return save(
        path, [helper.make_node("ConstantOfShape", ["size"], ["y"])],
        [tensor("size", TensorProto.INT64, 1)], [tensor("y", TensorProto.FLOAT, "n")],
    )  # fmt: skip


def counter(path: Path) -> Path:
    """rounds: INT64 () -> y: FP32 (1), ones added in a loop: as long as the request says."""
    body = helper.make_graph(
        [helper.make_node("Add", ["before", "one"], ["after"]), helper.make_node("Identity", ["go"], ["go_on"])],
        "body",
        [tensor("round", TensorProto.INT64), tensor("go", TensorProto.BOOL), tensor("before", TensorProto.FLOAT, 1)],
        [tensor("go_on", TensorProto.BOOL), tensor("after", TensorProto.FLOAT, 1)],
        [onnx.numpy_helper.from_array(np.ones(1, np.float32), "one")],
    )
    zero = onnx.numpy_helper.from_array(np.zeros(1, np.float32), "zero")
    node = helper.make_node("Loop", ["rounds", "", "zero"], ["y"], name="loop", body=body)
    return save(path, [node], [tensor("rounds", TensorProto.INT64)], [tensor("y", TensorProto.FLOAT, 1)], [zero])


def counter_request(rounds: int) -> dict[str, Any]:
    """A request that keeps the counter busy for about a microsecond per round."""
    return {"inputs": [{"name": "rounds", "shape": [], "datatype": "INT64", "data": [rounds]}]}


class Client:
    """One keep-alive connection to a server."""

    def __init__(self, url: str, timeout: float = 120.0) -> None:
        self.host, self.port = urlsplit(url).hostname, urlsplit(url).port
        self._connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)

    def request(self, method: str, path: str, body: Any = None, headers: Headers | None = None) -> tuple[int, Headers, bytes]:
        """Returns status, headers (names in lower case) and body; a dict or list is sent as JSON."""
        content = json.dumps(body).encode() if isinstance(body, dict | list) else body
        self._connection.request(method, path, content, headers or {})
        answer = self._connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def json(self, method: str, path: str, body: Any = None, headers: Headers | None = None) -> tuple[int, Any]:
        """Returns status and the parsed body."""
        status, _, content = self.request(method, path, body, headers)
        return status, json.loads(content)

    def close(self) -> None:
        self._connection.close()


def ask_once(url: str, path: str) -> tuple[int, bytes]:
    """Returns status and body of a GET on a connection of its own."""
    client = Client(url)
    try:
        status, _, content = client.request("GET", path)
        return status, content
    finally:
        client.close()


def in_flight(url: str) -> int:
    """How many inference requests the server has in hand."""
    lines = ask_once(url, "/metrics")[1].decode().splitlines()
    return int(float(next(line for line in lines if line.startswith("penlight_requests_in_flight ")).split()[1]))


def wait_for(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    """Waits until a condition holds; the limit is for a server that is broken, not for a machine that is busy."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it did not come true within {seconds:g} seconds"
        time.sleep(0.02)


def mixer_request(rows: int = 1) -> dict[str, Any]:
    """A valid JSON request for the mixer."""
    values = [float(index) for index in range(rows * 4)]
    return {"inputs": [{"name": name, "shape": [rows, 4], "datatype": "FP32", "data": values} for name in ("x", "y")]}
