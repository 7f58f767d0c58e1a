# SPDX-License-Identifier: Apache-2.0
"""Whatever a client sends to /infer, the answer is JSON with an error and a code, and never a 5xx.

The application is called in process, without a socket, so that thousands of bodies take seconds.
"""

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest
import serving_models

import penlight_serving


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> penlight_serving.App:
    folder = tmp_path_factory.mktemp("fuzz")
    serving_models.mixer(folder / "mixer.onnx")
    serving_models.identity(folder / "text.onnx", "BYTES")
    options = penlight_serving.Options(threads=1, inline_below_us=1e9)
    return penlight_serving.create_app(penlight_serving.load_models(folder, options), options)


def _call(app: penlight_serving.App, path: str, body: bytes, headers: list[tuple[bytes, bytes]]) -> tuple[int, bytes]:
    messages = [{"type": "http.request", "body": body[:13], "more_body": True}, {"type": "http.request", "body": body[13:]}]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "query_string": b""}
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], sent[1]["body"]


def _check(status: int, content: bytes) -> None:
    assert status < 500, content
    if status != 200:
        answer = json.loads(content)
        assert answer["error"] and answer["code"].startswith("PL-E4")


_leaf = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=6)
_json = st.recursive(
    _leaf, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4), max_leaves=12
)
_parameters = st.fixed_dictionaries({}, optional={"binary_data_size": st.integers(-1, 40) | _json, "binary_data": _json})
_input = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["x", "y", "z", ""]) | _json,
        "shape": st.sampled_from([[1, 4], [0, 4], [2, 4], [4], [], [2**31 - 1, 2**31 - 1]]) | _json,
        "datatype": st.sampled_from(["FP32", "BYTES", "BOOL", "FP17"]) | _json,
        "data": st.lists(st.integers(-3, 3), min_size=4, max_size=4) | _json,
        "parameters": _parameters | _json,
    },
)
_request = st.fixed_dictionaries(
    {}, optional={"inputs": st.lists(_input, max_size=3) | _json, "outputs": _json, "id": _json, "parameters": _parameters | _json}
)


@hypothesis.settings(max_examples=400, deadline=None, derandomize=True)
@hypothesis.given(
    request=_request, tail=st.binary(max_size=40), model=st.sampled_from(["mixer", "text"]), shift=st.sampled_from([0, 0, 0, -1, 7])
)
def test_requests_made_of_odd_parts(app, request: Any, tail: bytes, model: str, shift: int) -> None:
    text = json.dumps(request).encode()
    length = str(max(0, len(text) + shift)).encode()
    _check(*_call(app, f"/v2/models/{model}/infer", text + tail, [(b"inference-header-content-length", length)]))
    _check(*_call(app, f"/v2/models/{model}/infer", text, []))


def test_valid_requests_with_bytes_changed_or_missing(app: penlight_serving.App) -> None:
    values = random.Random(5)
    head = {
        "inputs": [{"name": n, "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": 16}} for n in ("x", "y")]
    }
    text = json.dumps(head).encode()
    body, headers = text + bytes(32), [(b"inference-header-content-length", str(len(text)).encode())]
    assert _call(app, "/v2/models/mixer/infer", body, headers)[0] == 200
    statuses = set()
    for cut in range(len(body)):
        status, content = _call(app, "/v2/models/mixer/infer", body[:cut], headers)
        _check(status, content)
        assert status == 400
        changed = bytearray(body)
        changed[cut] = values.randrange(256)
        status, content = _call(app, "/v2/models/mixer/infer", bytes(changed), headers)
        _check(status, content)
        statuses.add(status)
    assert statuses == {200, 400}


def test_an_error_of_the_server_itself_tells_only_a_reference(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    serving_models.mixer(tmp_path / "mixer.onnx")
    options = penlight_serving.Options(threads=1)
    app = penlight_serving.create_app(penlight_serving.load_models(tmp_path, options), options)
    model = app.models.get("mixer")

    def broken(*_: Any) -> Any:
        raise RuntimeError("secret path /srv/models at 0x7f00")

    model.engine.run = broken
    status, content = _call(app, "/v2/models/mixer/infer", json.dumps(serving_models.mixer_request()).encode(), [])
    answer = json.loads(content)
    assert (status, answer["code"]) == (500, "PL-E4501")
    assert "secret" not in answer["error"] and "0x" not in answer["error"]
    reference = answer["error"].rsplit(" ", 1)[1]
    assert any(getattr(record, "fields", {}).get("reference") == reference for record in caplog.records)
