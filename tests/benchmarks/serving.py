# SPDX-License-Identifier: Apache-2.0
"""Latency and throughput of the model server beside onnxruntime in process: `python tests/benchmarks/serving.py`.

The server runs in a process of its own, the client in this one: keep-alive connections, a new request on each as soon as its answer
is there (closed loop), so the percentiles say nothing about overload. Both share the machine's cores.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import record

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
import serving_models

RESULTS = record.RESULTS / "serving.json"
SERVER = """
import json, sys
import penlight_serving
penlight_serving.serve(sys.argv[1], port=0, threads=1, drain_seconds=0, on_ready=lambda running: print(running.port, flush=True))
"""
MODELS = {"mixer": serving_models.mixer, "digits": serving_models.digits_cnn}
INPUTS = {"mixer": {"x": (1, 4), "y": (1, 4)}, "digits": {"image": (1, 1, 8, 8)}}


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Returns p50 and p99 in microseconds."""
    values = np.percentile(np.array(seconds) * 1e6, (50, 99))
    return {"p50_us": round(float(values[0]), 1), "p99_us": round(float(values[1]), 1)}


def in_process(path: Path, inputs: dict[str, np.ndarray], duration: float) -> dict[str, float]:
    """Times `InferenceSession.run` in a plain loop: what no server can beat."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return timed(lambda: session.run(None, inputs), duration)


def timed(call: Callable[[], Any], duration: float) -> dict[str, float]:
    """Calls again and again and returns rate and percentiles."""
    for _ in range(50):
        call()
    seconds: list[float] = []
    end = time.perf_counter() + duration
    while (started := time.perf_counter()) < end:
        call()
        seconds.append(time.perf_counter() - started)
    return {"rps": round(len(seconds) / sum(seconds), 1), **percentiles(seconds)}


def http_request(model: str, inputs: dict[str, np.ndarray], binary: bool) -> bytes:
    """Returns the bytes of one request."""
    entries: list[dict[str, Any]] = []
    for name, array in inputs.items():
        values = {"parameters": {"binary_data_size": array.nbytes}} if binary else {"data": array.reshape(-1).tolist()}
        entries.append({"name": name, "shape": list(array.shape), "datatype": "FP32", **values})
    head = json.dumps({"inputs": entries, "parameters": {"binary_data_output": binary}}).encode()
    body = head + b"".join(array.tobytes() for array in inputs.values()) if binary else head
    lines = [f"POST /v2/models/{model}/infer HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
    if binary:
        lines.append(f"Inference-Header-Content-Length: {len(head)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def cpu_seconds(process: int) -> float:
    """Returns the CPU time that a process has used, in steps of the kernel's tick (10 ms)."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def over_http(port: int, server: int, request: bytes, concurrency: int, duration: float) -> dict[str, float]:
    """Keeps `concurrency` connections busy and returns rate, percentiles and the server's CPU time for each request; the first
    tenth of the time is not counted."""
    selector = selectors.DefaultSelector()
    started: dict[socket.socket, float] = {}
    for _ in range(concurrency):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(connection, selectors.EVENT_READ)
        started[connection] = time.perf_counter()
        connection.sendall(request)
    begin = time.perf_counter() + duration * 0.1
    end = begin + duration
    seconds: list[float] = []
    answers, used = 0, cpu_seconds(server)
    while time.perf_counter() < end:
        for key, _ in selector.select():
            connection = key.fileobj
            read_answer(connection)
            now = time.perf_counter()
            answers += 1
            if now > begin:
                seconds.append(now - started[connection])
            started[connection] = now
            connection.sendall(request)
    for connection in started:
        connection.close()
    used = cpu_seconds(server) - used
    return {"rps": round(len(seconds) / duration, 1), **percentiles(seconds), "server_cpu_us": round(used / answers * 1e6, 1)}


def read_answer(connection: socket.socket) -> None:
    """Reads one whole answer of status 200."""
    data = connection.recv(65536)
    if not data.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"the server answered {data[:300]!r}")
    while (end := data.find(b"\r\n\r\n")) < 0:
        data += connection.recv(65536)
    length = int(data[:end].lower().split(b"\r\ncontent-length: ")[1].split(b"\r\n")[0])
    while len(data) < end + 4 + length:
        data += connection.recv(65536)


def measure(folder: Path, duration: float) -> dict[str, Any]:
    """Serves every model of the folder and returns the figures of each."""
    paths = sorted(path for path in folder.iterdir() if path.suffix in (".onnx", ".pen"))
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    figures: dict[str, Any] = {}
    try:
        port = int(server.stdout.readline())
        for path in paths:
            shapes = INPUTS[path.stem.removesuffix("-pen")]
            inputs = {name: np.random.default_rng(0).standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
            row: dict[str, Any] = {}
            if path.suffix == ".onnx":
                row["onnxruntime_in_process"] = in_process(path, inputs, duration)
            for binary in (True, False):
                for concurrency in (1, 16):
                    request = http_request(path.stem, inputs, binary)
                    kind = "binary" if binary else "json"
                    row[f"http_{kind}_c{concurrency}"] = over_http(port, server.pid, request, concurrency, duration)
            figures[path.name] = row
    finally:
        server.terminate()
        server.wait()
    return figures


def build(folder: Path) -> None:
    """Writes the models as .onnx and, where the exporter and the runtime are there, as .pen."""
    for name, make in MODELS.items():
        make(folder / f"{name}.onnx")
        try:
            import penlight_export

            penlight_export.convert(folder / f"{name}.onnx", folder / f"{name}-pen.pen")
        except ImportError as error:
            print(f"{name}: no .pen figures: {error}", file=sys.stderr)


def main() -> None:
    """Measures and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="per figure")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder))
        figures = measure(Path(folder), options.seconds)
    machine = record.machine("onnxruntime", "uvicorn", "uvloop", "httptools", "orjson", "numpy")
    report = {"schema": "penlight.benchmark.serving/1", **machine, "figures": figures}
    print(json.dumps(report, indent=1))
    record.save(options.output, report)


if __name__ == "__main__":
    main()
