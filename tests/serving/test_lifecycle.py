# SPDX-License-Identifier: Apache-2.0
"""Start, signals and stop of the real server process."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import serving_models

import penlight_serving

PROGRAM = """
import json, sys
import penlight_serving
import penlight_serving.server
penlight_serving.server._LINGER_SECONDS = 60.0  # a busy machine may take its time between two steps of a test
def tell(running):
    print(json.dumps([running.url, list(running.models)]), flush=True)
penlight_serving.serve(sys.argv[1], port=0, threads=1, on_ready=tell, **json.loads(sys.argv[2]))
"""
SLOW = serving_models.counter_request(500_000)  # about half a second
ENDLESS = serving_models.counter_request(10**12)


class Process:
    """A server in a process of its own."""

    def __init__(self, path: Path, **settings: Any) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}
        arguments = [sys.executable, "-c", PROGRAM, str(path), json.dumps(settings)]
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True)
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(self.process.communicate()[1])
        self.url, self.models = json.loads(line)

    def end(self) -> tuple[int, str]:
        """Returns exit code and log."""
        errors = self.process.communicate(timeout=60)[1]
        return self.process.returncode, errors

    def wait_until_draining(self) -> None:
        """Asks on new connections until the server is not ready."""
        serving_models.wait_for(lambda: serving_models.ask_once(self.url, "/v2/health/ready")[0] == 503)

    def wait_until_deaf(self) -> None:
        """Waits until nobody listens."""

        def is_refused() -> bool:
            try:
                serving_models.ask_once(self.url, "/v2/health/live")
            except OSError:  # refused, or reset in the kernel's queue, and refused the next time
                with contextlib.suppress(OSError), socket.create_connection(self.address):
                    return False
                return True
            return False

        serving_models.wait_for(is_refused)

    @property
    def address(self) -> tuple[str, int]:
        client = serving_models.Client(self.url)
        return client.host, client.port


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    serving_models.mixer(tmp_path / "mixer.onnx")
    serving_models.counter(tmp_path / "slow.onnx")
    return tmp_path


@pytest.fixture
def started() -> Iterator[list[Process]]:
    processes: list[Process] = []
    yield processes
    for one in processes:
        if one.process.poll() is None:
            one.process.kill()
        one.process.communicate()


def _ask_slow(url: str, answers: list[Any]) -> threading.Thread:
    """Returns when the model runs."""

    def ask() -> None:
        client = serving_models.Client(url)
        answers.append(client.request("POST", "/v2/models/slow/infer", SLOW))
        client.close()

    thread = threading.Thread(target=ask)
    thread.start()
    serving_models.wait_for(lambda: answers or serving_models.in_flight(url) == 1)
    return thread


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_exits_with_0(folder: Path, started: list[Process], number: int) -> None:
    files = sorted(folder.rglob("*"))
    server = Process(folder, drain_seconds=600.0, inline_below_us=0)
    started.append(server)
    answers: list[Any] = []
    slow = _ask_slow(server.url, answers)
    idle = serving_models.Client(server.url)
    assert idle.json("GET", "/v2/health/ready") == (200, {"ready": True})
    early = socket.create_connection(server.address, timeout=60)  # accepted before the signal, says something only after it
    server.process.send_signal(number)
    server.wait_until_draining()

    status, headers, content = idle.request("GET", "/v2/health/ready")
    assert (status, json.loads(content)["code"]) == (503, "PL-E4402")
    assert headers["connection"] == "close" and headers["retry-after"] == "5"
    late = serving_models.Client(server.url)  # still accepted, and answered
    assert late.json("GET", "/v2/health/live")[0] == 200
    assert late.json("POST", "/v2/models/mixer/infer", serving_models.mixer_request())[0] == 200
    early.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
    assert early.recv(4096).startswith(b"HTTP/1.1 200 ")
    early.close()
    slow.join()
    assert answers[0][0] == 200
    server.process.send_signal(number)  # ends the wait
    code, log = server.end()
    assert code == 0
    assert "event=draining" in log and "event=stopped" in log and "Traceback" not in log
    assert sorted(folder.rglob("*")) == files


def test_a_request_in_flight_outlives_the_drain(folder: Path, started: list[Process]) -> None:
    server = Process(folder, drain_seconds=0.0, inline_below_us=0)
    started.append(server)
    answers: list[Any] = []
    slow = _ask_slow(server.url, answers)
    connection = socket.create_connection(server.address, timeout=60)
    server.process.send_signal(signal.SIGTERM)
    server.wait_until_deaf()
    connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
    assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
    connection.close()
    slow.join()
    assert answers[0][0] == 200
    assert server.end()[0] == 0


def _ask_until_refused(url: str, answered: list[int], lost: list[BaseException]) -> None:
    """Sends requests on kept connections until the server listens no more; notes each one that was sent and not answered."""
    client = serving_models.Client(url)
    kept = False
    while True:
        try:
            status, headers, _ = client.request("POST", "/v2/models/mixer/infer", serving_models.mixer_request())
        except ConnectionRefusedError:
            return
        except OSError as error:
            if kept:
                lost.append(error)
            return  # a new connection may meet the closing of the listening socket in the kernel's queue
        answered.append(status)
        kept = headers.get("connection") != "close"
        if not kept:
            client.close()


def test_no_request_on_a_kept_connection_is_lost_under_load(folder: Path, started: list[Process]) -> None:
    server = Process(folder / "mixer.onnx", drain_seconds=600.0)
    started.append(server)
    answered: list[list[int]] = [[] for _ in range(8)]
    lost: list[BaseException] = []
    threads = [threading.Thread(target=_ask_until_refused, args=(server.url, mine, lost)) for mine in answered]
    for thread in threads:
        thread.start()
    serving_models.wait_for(lambda: all(len(mine) > 12 for mine in answered))
    server.process.send_signal(signal.SIGTERM)
    server.wait_until_draining()
    before = [len(mine) for mine in answered]  # every client hears that the server is about to end
    serving_models.wait_for(lambda: all(len(mine) > count + 1 for mine, count in zip(answered, before, strict=True)))
    server.process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert server.end()[0] == 0
    assert lost == []
    assert {status for mine in answered for status in mine} == {200}


def test_the_drain_ends_by_itself(folder: Path, started: list[Process]) -> None:
    server = Process(folder / "mixer.onnx", drain_seconds=0.3)
    started.append(server)
    server.process.send_signal(signal.SIGTERM)
    assert server.end()[0] == 0


def test_a_second_signal_ends_the_wait(folder: Path, started: list[Process]) -> None:
    server = Process(folder, drain_seconds=600.0)
    started.append(server)
    server.process.send_signal(signal.SIGINT)
    server.wait_until_draining()
    server.process.send_signal(signal.SIGINT)
    assert server.end()[0] == 0


def test_requests_that_never_end_do_not_keep_the_server(folder: Path, started: list[Process]) -> None:
    server = Process(folder, drain_seconds=0.0, shutdown_seconds=0.5, inline_below_us=0)
    started.append(server)
    client = serving_models.Client(server.url)
    thread_answers: list[Any] = []

    def ask() -> None:
        try:
            thread_answers.append(client.request("POST", "/v2/models/slow/infer", ENDLESS)[0])
        except OSError as error:
            thread_answers.append(type(error))

    thread = threading.Thread(target=ask)
    thread.start()
    serving_models.wait_for(lambda: serving_models.in_flight(server.url) == 1)
    server.process.send_signal(signal.SIGTERM)
    code, log = server.end()
    thread.join()
    assert code == 0 and "event=dropped" in log
    assert thread_answers != [200]


def test_a_port_in_use_is_one_clear_error(folder: Path) -> None:
    with penlight_serving.running_server(folder / "mixer.onnx") as running:
        with pytest.raises(penlight_serving.ServingError) as caught:
            penlight_serving.serve(folder / "mixer.onnx", port=running.port)
        error = caught.value
        assert (error.code, error.exit_code) == ("PL-E4601", 4)
        assert f"port {running.port} on 127.0.0.1 is in use" in str(error) and "choose another port" in str(error)
        assert isinstance(error, OSError)


@pytest.mark.parametrize(
    ("host", "port", "words"),
    [("127.0.0.1", 70000, "expected 0 to 65535"), ("198.51.100.7", 0, "cannot listen"), ("no such host", 0, "not an address")],
)
def test_an_address_that_cannot_be_had(folder: Path, host: str, port: int, words: str) -> None:
    with pytest.raises(penlight_serving.ServingError, match=words) as caught:
        penlight_serving.serve(folder / "mixer.onnx", host, port)
    assert (caught.value.code, caught.value.exit_code) == ("PL-E4602", 2)


def test_unknown_and_absurd_options(folder: Path) -> None:
    cases = (({"thread": 1}, "unknown option thread"), ({"threads": -1}, "at least 0"), ({"drain_seconds": "5"}, "number"))
    for settings, words in cases:
        with pytest.raises(penlight_serving.ServingError, match=words) as caught:
            penlight_serving.serve(folder / "mixer.onnx", port=0, **settings)
        assert (caught.value.code, caught.value.exit_code) == ("PL-E4605", 2)


def test_a_server_beside_the_test_starts_and_stops_again_and_again(folder: Path) -> None:
    threads = threading.active_count()
    for _ in range(3):
        with penlight_serving.running_server([folder / "mixer.onnx"], threads=1) as running:
            assert running.models == ("mixer",)
            client = serving_models.Client(running.url)
            assert client.json("GET", "/v2/health/ready")[0] == 200
            client.close()
    assert threading.active_count() <= threads + 1
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((running.host, running.port), timeout=60)


def test_ipv6_and_all_addresses(folder: Path) -> None:
    for host, prefix in (("0.0.0.0", "http://127.0.0.1:"), ("::1", "http://[::1]:"), ("localhost", "http://localhost:")):
        try:
            with penlight_serving.running_server(folder / "mixer.onnx", host=host) as running:
                assert running.url.startswith(prefix)
                client = serving_models.Client(running.url)
                assert client.json("GET", "/v2/health/ready")[0] == 200
                client.close()
        except penlight_serving.ServingError:
            if host != "::1":  # a machine without IPv6
                raise


@pytest.mark.skipif(not Path("/proc").exists(), reason="peak memory is read from /proc")
def test_idle_memory_is_small(folder: Path, started: list[Process]) -> None:
    server = Process(folder / "mixer.onnx")
    started.append(server)
    text = Path(f"/proc/{server.process.pid}/status").read_text()
    rss = next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS"))
    assert rss < 120 * 1024  # KiB; 77 MiB were measured, the goal is 100
    server.process.send_signal(signal.SIGTERM)
