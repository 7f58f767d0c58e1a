# SPDX-License-Identifier: Apache-2.0
"""`.pen` files behind the server: the numbers of onnxruntime, refusals in words, budgets."""

import concurrent.futures
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pen_builder
import pytest
import serving_models

import penlight_export
import penlight_runtime
import penlight_serving


def _mixer(path: Path) -> Path:
    """The mixer of serving_models, written by hand."""
    builder = pen_builder.PenBuilder()
    inputs = [builder.input(name, "float32", ("batch", 4)) for name in ("x", "y")]
    for operator, name in (("Add", "total"), ("Mul", "product")):
        builder.output(builder.node(operator, inputs, [name]), "float32", ("batch", 4))
    path.write_bytes(builder.build())
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pen")
    serving_models.classifier(folder / "classifier.onnx")
    serving_models.lookup(folder / "lookup.onnx")
    for name in ("classifier", "lookup"):
        penlight_export.convert(folder / f"{name}.onnx", folder / f"{name}.pen")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[penlight_serving.Running]:
    paths = [_mixer(folder / "mixer.pen"), folder / "classifier.pen", folder / "lookup.pen"]
    with penlight_serving.running_server(paths, threads=1, concurrency=3) as running:
        yield running


def _infer(server: penlight_serving.Running, model: str, inputs: dict[str, np.ndarray], binary: bool) -> dict[str, np.ndarray]:
    triton = pytest.importorskip("tritonclient.http")
    names = {"float32": "FP32", "int64": "INT64"}
    tensors = []
    for name, array in inputs.items():
        tensors.append(triton.InferInput(name, list(array.shape), names[array.dtype.name]))
        tensors[-1].set_data_from_numpy(array, binary_data=binary)
    with triton.InferenceServerClient(f"{server.host}:{server.port}") as client:
        answer = client.infer(model, tensors)
        return {output["name"]: answer.as_numpy(output["name"]) for output in answer.get_response()["outputs"]}


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("rows", [1, 3, 32])
def test_the_numbers_are_those_of_onnxruntime(server, folder: Path, rows: int, binary: bool) -> None:
    image = np.random.default_rng(rows).standard_normal((rows, 16)).astype(np.float32)
    served = _infer(server, "classifier", {"image": image}, binary)["probabilities"]
    direct = ort.InferenceSession(folder / "classifier.onnx", providers=["CPUExecutionProvider"]).run(None, {"image": image})[0]
    np.testing.assert_allclose(served, direct, rtol=1e-5, atol=1e-7)  # sums in another order
    own = penlight_runtime.Program.open(folder / "classifier.pen").session().run({"image": image})["probabilities"]
    np.testing.assert_array_equal(served, own)


def test_metadata_names_the_sizes_that_vary(server) -> None:
    client = serving_models.Client(server.url)
    metadata = client.json("GET", "/v2/models/mixer")[1]
    assert metadata["platform"] == "penlight_pen"
    assert metadata["inputs"] == [{"name": name, "datatype": "FP32", "shape": [-1, 4]} for name in ("x", "y")]
    assert client.json("GET", "/v2/models/mixer/config")[1]["backend"] == "penlight"
    status, answer = client.json("POST", "/v2/models/mixer/infer", {"inputs": [{"name": "x", "shape": [4], "datatype": "FP32"}]})
    assert status == 400 and "expected FP32[batch,4], got FP32[4]" in answer["error"]
    client.close()


def test_requests_at_once_and_of_many_sizes_do_not_mix(server) -> None:
    def ask(seed: int) -> None:
        random = np.random.default_rng(seed)
        for _ in range(15):
            x, y = random.standard_normal((2, random.integers(1, 3000), 4)).astype(np.float32)
            served = _infer(server, "mixer", {"x": x, "y": y}, binary=True)
            np.testing.assert_array_equal(served["total"], x + y)
            np.testing.assert_array_equal(served["product"], x * y)

    with concurrent.futures.ThreadPoolExecutor(6) as threads:
        for result in [threads.submit(ask, seed) for seed in range(6)]:
            result.result()


def test_a_value_that_the_program_refuses_is_a_400_with_the_code_of_the_runtime(server) -> None:
    client = serving_models.Client(server.url)
    request = {"inputs": [{"name": "index", "shape": [2], "datatype": "INT64", "data": [1, 3]}]}
    status, answer = client.json("POST", "/v2/models/lookup/infer", request)
    assert (status, answer["code"]) == (400, penlight_runtime.InvalidValue.code)
    assert "Gather" in answer["error"] and "/" not in answer["error"].replace("3/", "")
    request["inputs"][0]["data"] = [1, 2]
    assert client.json("POST", "/v2/models/lookup/infer", request)[1]["outputs"][0]["data"] == [2.0, 3.0, 4.0, 5.0]
    client.close()


def test_a_program_beyond_its_budget(tmp_path: Path) -> None:
    path = _mixer(tmp_path / "mixer.pen")
    with pytest.raises(penlight_serving.ServingError, match=r"mixer\.pen") as caught:
        penlight_serving.load_models(path, penlight_serving.Options(pen_memory_bytes=64))
    assert (caught.value.code, caught.value.exit_code) == ("PL-E4603", 3)
    with penlight_serving.running_server(path, threads=1, pen_mac_budget=100) as running:
        client = serving_models.Client(running.url)
        assert client.json("POST", "/v2/models/mixer/infer", serving_models.mixer_request())[0] == 200
        status, answer = client.json("POST", "/v2/models/mixer/infer", serving_models.mixer_request(1000))
        assert (status, answer["code"]) == (400, penlight_runtime.BudgetExceeded.code)
        client.close()


def test_a_file_with_a_byte_changed_is_refused_or_served_and_never_more(tmp_path: Path) -> None:
    whole = _mixer(tmp_path / "whole.pen").read_bytes()
    refused = 0
    for position in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[position] ^= 0x5A
        (tmp_path / "changed.pen").write_bytes(changed)
        try:
            models = penlight_serving.load_models(tmp_path / "changed.pen", penlight_serving.Options(threads=1))
        except penlight_serving.ServingError as error:
            assert error.code == "PL-E4603"
            refused += 1
        else:
            assert len(models) == 1
    assert refused > len(whole) / 7 / 2
