# SPDX-License-Identifier: Apache-2.0
"""Clients that send too much, too slowly, or too often; the server stays up and answers the others."""

import concurrent.futures
import contextlib
import json
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import serving_models

import penlight_serving

INFER = "/v2/models/mixer/infer"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("strict")
    serving_models.mixer(folder / "mixer.onnx")
    serving_models.counter(folder / "slow.onnx")
    return folder


@pytest.fixture(scope="module")
def strict(folder: Path) -> Iterator[penlight_serving.Running]:
    """Small limits of sizes; clients have all the time that a busy machine may need."""
    with penlight_serving.running_server(
        folder, threads=1, max_body_bytes=1 << 20, max_json_bytes=1 << 16, max_pending_bytes=1 << 20, max_connections=8,
        header_seconds=600, body_seconds=600, shutdown_seconds=5,
    ) as running:  # fmt: skip
        yield running


@pytest.fixture
def client(strict: penlight_serving.Running) -> Iterator[serving_models.Client]:
    connection = serving_models.Client(strict.url)
    yield connection
    connection.close()


def _raw(server: penlight_serving.Running, *parts: bytes, pause: float = 0.0) -> bytes:
    """Sends parts with pauses and returns all that comes back until the server closes."""
    received = b""
    # A server that has answered and closed resets the connection under what is sent after that.
    with _connected(server) as connection, contextlib.suppress(ConnectionError):
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        while chunk := connection.recv(65536):
            received += chunk
    return received


def _connected(server: penlight_serving.Running) -> socket.socket:
    return socket.create_connection((server.host, server.port), timeout=60)


def _head(*lines: str) -> bytes:
    return "\r\n".join([f"POST {INFER} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


def test_content_length_beyond_the_limit_is_answered_before_the_body(strict: penlight_serving.Running) -> None:
    with _connected(strict) as connection:
        connection.sendall(_head(f"Content-Length: {10**12}", "Expect: 100-continue"))
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 413 ") and b"PL-E4301" in answer and b"100 Continue" not in answer


def test_a_large_body_is_refused_and_the_connection_lives(client: serving_models.Client) -> None:
    assert client.json("POST", INFER, bytes((1 << 20) + 1))[0] == 413
    assert client.json("POST", INFER, serving_models.mixer_request())[0] == 200


def test_a_body_that_grows_beyond_the_limit_in_chunks(strict: penlight_serving.Running) -> None:
    chunk = b"10000\r\n" + bytes(1 << 16) + b"\r\n"
    with _connected(strict) as connection:
        connection.sendall(_head("Transfer-Encoding: chunked") + chunk * 17 + b"0\r\n\r\n")
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 413 ") and b"PL-E4301" in answer


def test_a_large_json_part_is_refused_though_the_body_is_not_too_large(client: serving_models.Client) -> None:
    status, answer = client.json("POST", INFER, b'{"inputs": [' + b" " * (1 << 16) + b"]}")
    assert (status, answer["code"]) == (413, "PL-E4301")
    assert "send the values as binary data" in answer["error"]


def test_chunked_bodies_are_read(strict: penlight_serving.Running) -> None:
    body = json.dumps(serving_models.mixer_request()).encode()
    chunks = [b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:7], body[7:])]
    answer = _raw(strict, _head("Transfer-Encoding: chunked", "Connection: close"), *chunks, b"0\r\n\r\n", pause=0.02)
    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("name", ["Upgrade", "upgrade", "UPGRADE"])
def test_an_offer_of_another_protocol_is_passed_over(strict: penlight_serving.Running, name: str) -> None:
    body = json.dumps(serving_models.mixer_request()).encode()
    head = _head("Connection: Upgrade, HTTP2-Settings", f"{name}: h2c", "HTTP2-Settings: AAEAAEAA", f"Content-Length: {len(body)}")
    with _connected(strict) as connection:
        for _ in range(2):
            connection.sendall(head + body)
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_expect_100_continue(strict: penlight_serving.Running) -> None:
    body = json.dumps(serving_models.mixer_request()).encode()
    with _connected(strict) as connection:
        connection.sendall(_head("Expect: 100-continue", f"Content-Length: {len(body)}"))
        assert connection.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "GZIP"])
def test_compressed_bodies_are_refused(client: serving_models.Client, encoding: str) -> None:
    status, answer = client.json("POST", INFER, b"x", {"Content-Encoding": encoding})
    assert (status, answer["code"]) == (415, "PL-E4302")


def test_headers_without_end(strict: penlight_serving.Running) -> None:
    answer = _raw(strict, _head()[:-2], *[b"X-Filler: " + b"a" * 4000 + b"\r\n"] * 20)
    assert answer.startswith(b"HTTP/1.1 431 ") and b"PL-E4304" in answer


def test_slow_headers(folder: Path) -> None:
    with penlight_serving.running_server(folder / "mixer.onnx", header_seconds=0.6) as hasty:
        for parts in ([b"POST "], []):  # a client may also say nothing at all
            answer = _raw(hasty, *parts)
            assert answer.startswith(b"HTTP/1.1 408 ") and b"PL-E4303" in answer and b"headers" in answer


def test_slow_body(folder: Path) -> None:
    with penlight_serving.running_server(folder / "mixer.onnx", body_seconds=0.6) as hasty:
        answer = _raw(hasty, _head("Content-Length: 100") + b"{")
    assert answer.startswith(b"HTTP/1.1 408 ") and b"the body did not arrive within 0.6 seconds" in answer


def test_a_client_that_leaves_in_the_middle(strict: penlight_serving.Running, client: serving_models.Client) -> None:
    with _connected(strict) as connection:
        connection.sendall(_head("Content-Length: 100") + b"{")
    assert client.json("POST", INFER, serving_models.mixer_request())[0] == 200
    serving_models.wait_for(lambda: b"penlight_body_bytes 0.0" in client.request("GET", "/metrics")[2])


@pytest.mark.parametrize(
    "head",
    [
        b"not http\r\n\r\n",
        b"POST / HTTP/9.9\r\n\r\n",
        _head("Content-Length: 5", "Content-Length: 6"),
        _head("Content-Length: -1"),
        _head("Content-Length: 5", "Transfer-Encoding: chunked"),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_not_http(strict: penlight_serving.Running, head: bytes) -> None:
    answer = _raw(strict, head, b"hello", pause=0.05)
    assert answer.startswith(b"HTTP/1.1 400 "), answer


def test_a_full_queue_is_a_503_with_retry_after_and_at_once(folder: Path) -> None:
    endless = serving_models.counter_request(10**12)
    options = {"threads": 1, "concurrency": 1, "queue_size": 1, "inline_below_us": 0, "shutdown_seconds": 0}
    with (
        concurrent.futures.ThreadPoolExecutor(2) as threads,
        penlight_serving.running_server(folder, **options) as running,
    ):
        held = []
        for count in (1, 2):  # one runs, one waits
            held.append(threads.submit(serving_models.Client(running.url).request, "POST", "/v2/models/slow/infer", endless))
            serving_models.wait_for(lambda count=count: serving_models.in_flight(running.url) == count)
        for _ in range(4):
            client = serving_models.Client(running.url)
            status, headers, _ = client.request("POST", INFER, serving_models.mixer_request())
            client.close()
            assert (status, headers["retry-after"]) == (503, "1")
        assert serving_models.in_flight(running.url) == 2
    for request in held:  # dropped with the server
        with pytest.raises(OSError):
            request.result()


def test_connections_beyond_the_limit_are_told_so(strict: penlight_serving.Running) -> None:
    held = [_connected(strict) for _ in range(9)]
    try:
        assert any(connection.recv(1024).startswith(b"HTTP/1.1 503 ") for connection in held[8:])
    finally:
        for connection in held:
            connection.close()
    request = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    serving_models.wait_for(
        lambda: _raw(strict, request).startswith(b"HTTP/1.1 200 ")
    )  # once the server knows that they have ended


def test_two_requests_in_one_packet(strict: penlight_serving.Running) -> None:
    body = json.dumps(serving_models.mixer_request()).encode()
    one = _head(f"Content-Length: {len(body)}") + body
    last = _head(f"Content-Length: {len(body)}", "Connection: close") + body
    assert _raw(strict, one + last).count(b"HTTP/1.1 200 ") == 2


def test_a_pending_budget_smaller_than_a_body_is_no_use() -> None:
    with pytest.raises(penlight_serving.ServingError, match="max_pending_bytes") as caught:
        penlight_serving.Options(max_pending_bytes=10)
    assert caught.value.exit_code == 2


def test_a_client_that_does_not_read_its_answer_is_dropped(tmp_path: Path) -> None:
    path = serving_models.zeros(tmp_path / "zeros.onnx")
    with penlight_serving.running_server(path, threads=1, body_seconds=0.6) as running:
        size = 32 << 20
        request = {"inputs": [{"name": "size", "shape": [1], "datatype": "INT64", "data": [size // 4]}]}
        body = json.dumps(request | {"parameters": {"binary_data_output": True}}).encode()
        with _connected(running) as connection:
            connection.sendall(_head(f"Content-Length: {len(body)}").replace(b"mixer", b"zeros") + body)
            select.select([connection], [], [], 60)  # the answer has begun, and is not taken
            serving_models.wait_for(lambda: _connections(running.port) < 2)  # the server has gone
            received = 0
            with contextlib.suppress(ConnectionError):
                while chunk := connection.recv(1 << 20):
                    received += len(chunk)
            assert 0 < received < size


def _connections(port: int) -> int:
    """How many ends of connections to a port of this machine are established."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    rows = [line.split() for line in lines]
    return sum(f":{port:04X}" in (local + other) and state == "01" for _, local, other, state, *_ in rows)
