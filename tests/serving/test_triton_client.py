# SPDX-License-Identifier: Apache-2.0
"""The real tritonclient against the real server: same numbers as the engine gives directly, binary and JSON."""

import concurrent.futures
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

import penlight_serving

triton = pytest.importorskip("tritonclient.http")
VALUES = {
    "BOOL": np.array([True, False, True]),
    "UINT8": np.array([0, 255], np.uint8),
    "UINT16": np.array([0, 65535], np.uint16),
    "UINT32": np.array([0, 2**32 - 1], np.uint32),
    "UINT64": np.array([0, 2**64 - 1], np.uint64),
    "INT8": np.array([-128, 127], np.int8),
    "INT16": np.array([-(2**15), 2**15 - 1], np.int16),
    "INT32": np.array([-(2**31), 2**31 - 1], np.int32),
    "INT64": np.array([-(2**63), 2**63 - 1], np.int64),
    "FP16": np.array([-0.0, 65504.0, 6e-8], np.float16),
    "FP32": np.array([-0.0, 3.4028235e38, 1e-45, 0.1], np.float32),
    "FP64": np.array([-0.0, 1.7976931348623157e308, 5e-324, 0.1]),
    "BYTES": np.array(["", "word", "na\u00efve \u2603"], dtype=object),
}


@pytest.fixture(scope="module")
def client(server: penlight_serving.Running):
    with triton.InferenceServerClient(f"{server.host}:{server.port}", concurrency=8) as connection:
        yield connection


def _input(name: str, array: np.ndarray, datatype: str, binary: bool):
    tensor = triton.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
@pytest.mark.parametrize("rows", [1, 2, 17])
def test_classifier_gives_the_numbers_of_onnxruntime(client, repository: Path, rows, binary_in, binary_out) -> None:
    image = np.random.default_rng(rows).standard_normal((rows, 16)).astype(np.float32)
    outputs = [triton.InferRequestedOutput("probabilities", binary_data=binary_out)]
    answer = client.infer("classifier", [_input("image", image, "FP32", binary_in)], outputs=outputs, request_id="mark 7")
    direct = ort.InferenceSession(repository / "classifier.onnx", providers=["CPUExecutionProvider"]).run(None, {"image": image})[0]
    np.testing.assert_allclose(answer.as_numpy("probabilities"), direct, rtol=1e-6, atol=0)  # threads may split sums otherwise
    assert answer.get_response()["id"] == "mark 7"
    assert ("data" in answer.get_output("probabilities")) is not binary_out


@pytest.mark.parametrize("datatype", sorted(VALUES))
@pytest.mark.parametrize("binary", [True, False])
def test_every_datatype_goes_both_ways_unchanged(client, datatype: str, binary: bool) -> None:
    array = VALUES[datatype]
    sent = _input("x", array, datatype, True) if binary or datatype == "FP16" else _input("x", array, datatype, False)
    answer = client.infer(f"same_{datatype}", [sent], outputs=[triton.InferRequestedOutput("y", binary_data=binary)]).as_numpy("y")
    if datatype == "BYTES":
        texts = [text.decode() if isinstance(text, bytes) else text for text in answer]
        assert texts == list(array)
    else:
        assert answer.dtype == array.dtype
        assert answer.tobytes() == array.tobytes()


def test_no_outputs_named_means_all_of_them_as_bytes(client) -> None:
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    answer = client.infer("mixer", [_input("x", x, "FP32", True), _input("y", -x, "FP32", False)])
    assert [output["name"] for output in answer.get_response()["outputs"]] == ["total", "product"]
    np.testing.assert_array_equal(answer.as_numpy("total"), np.zeros((2, 4)))
    np.testing.assert_array_equal(answer.as_numpy("product"), -x * x)


def test_empty_batch(client) -> None:
    x = np.zeros((0, 4), np.float32)
    answer = client.infer("mixer", [_input("x", x, "FP32", True), _input("y", x, "FP32", True)])
    assert answer.as_numpy("total").shape == (0, 4)


def test_metadata_and_health(client) -> None:
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("mixer") and not client.is_model_ready("absent")
    assert client.get_server_metadata()["name"] == "penlight"
    assert client.get_model_metadata("mixer")["inputs"][0] == {"name": "x", "datatype": "FP32", "shape": [-1, 4]}
    assert client.get_model_config("mixer")["input"][0] == {"name": "x", "data_type": "TYPE_FP32", "dims": [-1, 4]}
    index = client.get_model_repository_index()
    assert {"name": "versioned", "version": "3", "state": "READY", "reason": ""} in index


def test_statistics_grow_by_what_was_asked(client) -> None:
    def count() -> int:
        return client.get_inference_statistics("lookup")["model_stats"][0]["inference_stats"]["queue"]["count"]

    before = count()
    for _ in range(3):
        client.infer("lookup", [_input("index", np.array([1]), "INT64", True)])
    assert count() == before + 3


def test_the_version_is_the_highest_and_may_be_named(client) -> None:
    x = np.ones((1, 4), np.float32)
    inputs = [_input("x", x, "FP32", True), _input("y", x, "FP32", True)]
    assert client.infer("versioned", inputs).get_response()["model_version"] == "3"
    assert client.infer("versioned", inputs, model_version="3").get_response()["model_version"] == "3"
    with pytest.raises(triton.InferenceServerException, match="served in version 3 only"):
        client.infer("versioned", inputs, model_version="1")


def test_wrong_model_name_is_told(client) -> None:
    with pytest.raises(triton.InferenceServerException, match="no model named absent"):
        client.infer("absent", [])


def test_compressed_bodies_are_refused(client) -> None:
    x = np.ones((1, 4), np.float32)
    inputs = [_input("x", x, "FP32", True), _input("y", x, "FP32", True)]
    with pytest.raises(triton.InferenceServerException, match="compressed bodies"):
        client.infer("mixer", inputs, request_compression_algorithm="gzip")
    assert client.infer("mixer", inputs, response_compression_algorithm="gzip").as_numpy("total").tolist() == [[2.0] * 4]


def test_requests_at_once_do_not_mix(server: penlight_serving.Running) -> None:
    def ask(seed: int) -> None:
        random = np.random.default_rng(seed)
        with triton.InferenceServerClient(f"{server.host}:{server.port}") as mine:
            for _ in range(25):
                x, y = random.standard_normal((2, random.integers(1, 40), 4)).astype(np.float32)
                answer = mine.infer("mixer", [_input("x", x, "FP32", True), _input("y", y, "FP32", bool(seed % 2))])
                np.testing.assert_array_equal(answer.as_numpy("total"), x + y)

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        for result in [threads.submit(ask, seed) for seed in range(8)]:
            result.result()
