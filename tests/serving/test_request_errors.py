# SPDX-License-Identifier: Apache-2.0
"""What a client gets back when its request is wrong: the right status, code and words, and a server that goes on."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import serving_models

INFER = "/v2/models/mixer/infer"


def _changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    request = serving_models.mixer_request()
    change(request)
    return request


def _first(**fields: Any) -> dict[str, Any]:
    return _changed(lambda request: request["inputs"][0].update(fields))


def _nested(depth: int) -> bytes:
    return b'{"inputs":' + b"[" * depth + b"]" * depth + b"}"


CASES = {
    "empty body": (b"", "PL-E4101", "not JSON"),
    "not JSON": (b"{,}", "PL-E4101", "not JSON"),
    "not UTF-8": (b'{"id": "\xff"}', "PL-E4101", "not JSON"),
    "a list": ([], "PL-E4101", "JSON object"),
    "deep nesting": (_nested(100_000), "PL-E4101", "not JSON"),
    "nesting as data": (_nested(500), "PL-E4101", 'each input must be an object with a text "name"'),
    "no inputs": ({}, "PL-E4101", '"inputs" must be a list'),
    "inputs is an object": ({"inputs": {}}, "PL-E4101", '"inputs" must be a list'),
    "inputs is empty": ({"inputs": []}, "PL-E4101", '"inputs" must be a list'),
    "input is a text": ({"inputs": ["x"]}, "PL-E4101", "each input must be an object"),
    "name is a number": (_first(name=3), "PL-E4101", "each input must be an object"),
    "id is a number": (_changed(lambda r: r.update(id=3)), "PL-E4101", '"id" must be a text'),
    "unknown input": (_first(name="xx"), "PL-E4104", 'no input "xx"; did you mean "x"?'),
    "input with control characters": (_first(name="\x1b[31m\r\n"), "PL-E4104", 'no input "?[31m??"; it has "x"'),
    "input twice": (_first(name="y"), "PL-E4104", 'input "y" is given twice'),
    "input missing": (_changed(lambda r: r["inputs"].pop()), "PL-E4104", 'missing input "y": model mixer needs "x" FP32[batch,4]'),
    "shape missing": (_changed(lambda r: r["inputs"][0].pop("shape")), "PL-E4102", '"shape" must be a list of whole numbers'),
    "shape of texts": (_first(shape=["1", 4]), "PL-E4102", '"shape" must be a list of whole numbers'),
    "shape of truths": (_first(shape=[True, 4]), "PL-E4102", '"shape" must be a list of whole numbers'),
    "shape of fractions": (_first(shape=[1.0, 4]), "PL-E4102", '"shape" must be a list of whole numbers'),
    "negative size": (_first(shape=[-1, 4]), "PL-E4102", '"shape" must be a list of whole numbers'),
    "size beyond 64 bits": (_first(shape=[2**64, 4]), "PL-E4102", '"shape" must be a list of whole numbers'),
    "sizes that multiply to much": (_first(shape=[2**31 - 1, 4]), "PL-E4102", "larger than any body"),
    "wrong rank": (_first(shape=[4]), "PL-E4102", 'input "x": expected FP32[batch,4], got FP32[4]'),
    "wrong size": (_first(shape=[1, 5]), "PL-E4102", "expected FP32[batch,4], got FP32[1, 5]"),
    "wrong datatype": (_first(datatype="INT64"), "PL-E4102", "expected FP32[batch,4], got INT64[1, 4]; convert"),
    "texts for a model of numbers": (_first(datatype="BYTES"), "PL-E4102", "expected FP32[batch,4], got BYTES[1, 4]"),
    "no such datatype": (_first(datatype="BF17"), "PL-E4102", "a datatype that the protocol does not have"),
    "datatype missing": (_changed(lambda r: r["inputs"][0].pop("datatype")), "PL-E4102", "a datatype that the protocol"),
    "too few values": (_first(data=[1.0]), "PL-E4102", "shape [1, 4] holds 4 values, the data has 1"),
    "too many values": (_first(data=[1.0] * 5), "PL-E4102", "the data has 5"),
    "values nested wrongly": (_first(data=[[1.0, 2.0], [3.0, 4.0]]), "PL-E4102", "not as shape [1, 4] says"),
    "values nested unevenly": (_first(data=[[1.0, 2.0, 3.0, [4.0]]]), "PL-E4102", "FP32 values are integers or numbers"),
    "text among numbers": (_first(data=[1, 2, 3, "4"]), "PL-E4102", "got texts"),
    "truth among numbers": (_first(data=[1, 2, 3, True]), "PL-E4102", "got true/false"),
    "null among numbers": (_first(data=[1, 2, 3, None]), "PL-E4102", "got null"),
    "value beyond the datatype": (_first(data=[1, 2, 3, 1e39]), "PL-E4102", "out of the range of FP32"),
    "data is an object": (_first(data={}), "PL-E4102", '"data" is objects'),
    "data missing": (_changed(lambda r: r["inputs"][0].pop("data")), "PL-E4101", 'neither "data" nor'),
    "both data and bytes": (_first(parameters={"binary_data_size": 16}), "PL-E4101", "both"),
    "binary size without bytes": (
        _changed(lambda r: [r["inputs"][0].pop("data"), r["inputs"][0].update(parameters={"binary_data_size": 16})]),
        "PL-E4103",
        "the body has only 0 bytes left",
    ),
    "parameters is a list": (_first(parameters=[]), "PL-E4101", '"parameters" must be an object'),
    "shared memory": (_first(parameters={"shared_memory_region": "a"}), "PL-E4106", "shared_memory_region is not supported"),
    "sequence": (_changed(lambda r: r.update(parameters={"sequence_id": 3})), "PL-E4106", "sequence_id is not supported"),
    "outputs is an object": (_changed(lambda r: r.update(outputs={})), "PL-E4101", '"outputs" must be a list'),
    "unknown output": (_changed(lambda r: r.update(outputs=[{"name": "totl"}])), "PL-E4104", 'no output "totl"; did you mean'),
    "output twice": (_changed(lambda r: r.update(outputs=[{"name": "total"}] * 2)), "PL-E4104", "given twice"),
    "binary_data is a number": (
        _changed(lambda r: r.update(outputs=[{"name": "total", "parameters": {"binary_data": 1}}])),
        "PL-E4101",
        '"binary_data" must be true or false',
    ),
    "classification": (
        _changed(lambda r: r.update(outputs=[{"name": "total", "parameters": {"classification": 1}}])),
        "PL-E4106",
        "classification is not supported",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_request_is_a_400_with_code_and_words(client: serving_models.Client, case: str) -> None:
    body, code, words = CASES[case]
    status, headers, content = client.request("POST", INFER, body)
    answer = json.loads(content)
    assert (status, answer["code"]) == (400, code)
    assert words in answer["error"]
    assert headers["content-type"] == "application/json"
    assert "/work" not in answer["error"] and "0x" not in answer["error"] and ".py" not in answer["error"]
    assert client.json("POST", INFER, serving_models.mixer_request())[0] == 200  # on the same connection


def _binary(head: dict[str, Any] | bytes, tail: bytes, length: int | str | None = None) -> tuple[bytes, dict[str, str]]:
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    return text + tail, {"Inference-Header-Content-Length": str(len(text) if length is None else length)}


def _binary_inputs(*sizes: Any) -> dict[str, Any]:
    inputs = [
        {"name": name, "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": size}}
        for name, size in zip(("x", "y"), sizes, strict=True)
    ]
    return {"inputs": inputs}


BINARY_CASES = {
    "truncated": (_binary(_binary_inputs(16, 16), bytes(31)), "PL-E4103", "the body has only 15 bytes left"),
    "too long": (_binary(_binary_inputs(16, 16), bytes(33)), "PL-E4103", "1 bytes follow the last binary input"),
    "size and shape differ": (_binary(_binary_inputs(12, 20), bytes(32)), "PL-E4103", "needs 16 bytes, binary_data_size is 12"),
    "negative size": (_binary(_binary_inputs(-16, 16), bytes(32)), "PL-E4103", "must be a whole number"),
    "huge size": (_binary(_binary_inputs(2**63, 16), bytes(32)), "PL-E4103", "the body has only 32 bytes left"),
    "header length beyond the body": (_binary(_binary_inputs(16, 16), b"", 10**9), "PL-E4103", "the body has only"),
    "header length cuts the JSON": (_binary(_binary_inputs(16, 16), bytes(32), 20), "PL-E4101", "not JSON"),
    "header length is no number": (_binary(b"{}", b"", "1e3"), "PL-E4103", "must be the number of bytes"),
    "header length is negative": (_binary(b"{}", b"", "-1"), "PL-E4103", "must be the number of bytes"),
    "header length is beyond any": (_binary(b"{}", b"", "9" * 40), "PL-E4103", "must be the number of bytes"),
    "no JSON for two inputs": (_binary(b"", bytes(32), 0), "PL-E4103", "needs a model with one input, mixer has 2"),
}


@pytest.mark.parametrize("case", BINARY_CASES)
def test_a_wrong_binary_request_is_a_400(client: serving_models.Client, case: str) -> None:
    (body, headers), code, words = BINARY_CASES[case]
    status, answer = client.json("POST", INFER, body, headers)
    assert (status, answer["code"]) == (400, code)
    assert words in answer["error"]


@pytest.mark.parametrize("values", [[0, 3], [-4], [2**40]])
def test_values_that_the_model_refuses_name_the_node_and_nothing_else(client: serving_models.Client, values: list[int]) -> None:
    request = {"inputs": [{"name": "index", "shape": [len(values)], "datatype": "INT64", "data": values}]}
    status, answer = client.json("POST", "/v2/models/lookup/infer", request)
    assert (status, answer["code"]) == (400, "PL-E4105")
    assert answer["error"] == 'the model cannot compute this input: node "pick" (Gather) refused its values or their sizes'


@pytest.mark.parametrize(
    ("datatype", "values", "words"),
    [
        ("UINT8", [256], "out of the range of UINT8"),
        ("INT64", [2**63], "out of the range of INT64"),
        ("INT32", [1.5], "INT32 values are integers, got numbers"),
        ("BOOL", [1], "BOOL values are true/false, got integers"),
        ("FP16", [70000.0], "out of the range of FP16"),
        ("BYTES", [1], "BYTES values are texts, got integers"),
    ],
)
def test_json_values_are_never_cast(client: serving_models.Client, datatype: str, values: list[Any], words: str) -> None:
    request = {"inputs": [{"name": "x", "shape": [1], "datatype": datatype, "data": values}]}
    status, answer = client.json("POST", f"/v2/models/same_{datatype}/infer", request)
    assert (status, answer["code"]) == (400, "PL-E4102")
    assert words in answer["error"]


@pytest.mark.parametrize(
    ("datatype", "shape", "raw", "words"),
    [
        ("BOOL", [2], b"\x00\x02", "BOOL bytes are 0 or 1, got 2"),
        ("BYTES", [1], b"\x01\x00\x00\x00\xff", "must be UTF-8"),
        ("BYTES", [1], b"\xff\xff\xff\xff", "the bytes are not 1 texts"),
        ("BYTES", [2], b"\x01\x00\x00\x00a", "the bytes are not 2 texts"),
        ("BYTES", [1], b"\x01\x00\x00\x00ab", "the bytes are not 1 texts"),
        ("BYTES", [1], b"\x01\x00", "the bytes are not 1 texts"),
    ],
)
def test_bytes_that_are_no_values(client: serving_models.Client, datatype: str, shape: list[int], raw: bytes, words: str) -> None:
    entry = {"name": "x", "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": len(raw)}}
    body, headers = _binary({"inputs": [entry]}, raw)
    status, answer = client.json("POST", f"/v2/models/same_{datatype}/infer", body, headers)
    assert status == 400
    assert words in answer["error"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "PL-E4202"),
        ("GET", "/v2/nothing", 404, "PL-E4202"),
        ("POST", "/v2/models/mixer/versions/infer", 405, "PL-E4203"),
        ("POST", "/v2/models/a/b/c/infer", 404, "PL-E4202"),
        ("GET", "/v2/health/live/", 404, "PL-E4202"),
        ("POST", "/v2/models/absent/infer", 404, "PL-E4201"),
        ("POST", "/v2/models/..%2f..%2fetc%2fpasswd/infer", 404, "PL-E4202"),
        ("POST", "/v2/models/%2e%2e/infer", 404, "PL-E4201"),
        ("POST", "/v2/models/mixer%0d%0aX/infer", 404, "PL-E4201"),
        ("POST", "/v2/models//infer", 404, "PL-E4201"),
        ("POST", "/v2/models/mixer/versions/2/infer", 404, "PL-E4201"),
        ("POST", "/v2/models/mixer/versions/x/infer", 404, "PL-E4201"),
        ("GET", "/v2/models/absent", 404, "PL-E4201"),
        ("GET", "/v2/models/absent/stats", 404, "PL-E4201"),
        ("GET", "/v2/models/mixer/versions/9/config", 404, "PL-E4201"),
        ("GET", INFER, 405, "PL-E4203"),
        ("PUT", INFER, 405, "PL-E4203"),
        ("POST", "/v2", 405, "PL-E4203"),
        ("DELETE", "/v2/models/mixer", 405, "PL-E4203"),
        ("GET", "/v2/repository/index", 405, "PL-E4203"),
        ("POST", "/v2/repository/models/mixer/unload", 400, "PL-E4106"),
        ("POST", "/v2/repository/models/mixer/load", 400, "PL-E4106"),
    ],
)
def test_paths_and_methods(client: serving_models.Client, method: str, path: str, status: int, code: str) -> None:
    came, headers, content = client.request(method, path)
    assert (came, json.loads(content)["code"]) == (status, code)
    if status == 405:
        assert headers["allow"] in ("POST", "GET", "HEAD, GET", "GET, HEAD")


@pytest.mark.parametrize(("body", "status"), [(b"", 200), ({"ready": True}, 200), (b"[", 400), ([], 400), ({"ready": 1}, 400)])
def test_repository_index_body(client: serving_models.Client, body: Any, status: int) -> None:
    assert client.request("POST", "/v2/repository/index", body)[0] == status


def test_a_body_that_is_the_input_itself(client: serving_models.Client) -> None:
    path = "/v2/models/classifier/infer"
    status, headers, content = client.request("POST", path, bytes(64), {"Inference-Header-Content-Length": "0"})
    assert status == 200
    head = json.loads(content[: int(headers["inference-header-content-length"])])
    assert head["outputs"][0]["shape"] == [1, 10] and len(content) == int(headers["inference-header-content-length"]) + 40
    assert client.request("POST", path, bytes(63), {"Inference-Header-Content-Length": "0"})[0] == 400


def test_numbers_that_json_lacks_become_null_and_are_announced(client: serving_models.Client) -> None:
    request = {"inputs": [{"name": n, "shape": [1, 4], "datatype": "FP32", "data": [3e38, 1.0, -3e38, 0.0]} for n in ("x", "y")]}
    status, answer = client.json("POST", INFER, request)
    assert status == 200
    total = answer["outputs"][0]
    assert total["data"] == [None, 2.0, None, 0.0] and total["parameters"] == {"non_finite_as_null": True}


def test_nested_and_flat_data_are_the_same(client: serving_models.Client) -> None:
    flat = serving_models.mixer_request(3)
    nested = serving_models.mixer_request(3)
    for entry in nested["inputs"]:
        entry["data"] = [entry["data"][row * 4 : row * 4 + 4] for row in range(3)]
    assert client.json("POST", INFER, flat) == client.json("POST", INFER, nested)
