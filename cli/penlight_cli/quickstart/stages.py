# SPDX-License-Identifier: Apache-2.0
"""The stages of quickstart: train, export, run on three engines, package, serve."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from penlight.data import load_digits
from penlight_cli.engines import EagerEngine, EdgeEngine, Engine, OnnxEngine
from penlight_cli.output import log
from penlight_cli.quickstart.comparison import Row, compare
from penlight_cli.training import export_model, new_run, save_exports, train_run

T = TypeVar("T")


class Stages:
    """Runs stages one after the other and keeps name, seconds and result of each."""

    def __init__(self) -> None:
        self.done: list[tuple[str, float, str]] = []

    def run(self, name: str, work: Callable[[], T], describe: Callable[[T], str]) -> T:
        """Runs one stage and logs a line about it."""
        start = time.perf_counter()
        result = work()
        seconds = time.perf_counter() - start
        self.done.append((name, seconds, describe(result)))
        log(f"{name}: {describe(result)} ({seconds:.1f} s)")
        return result


@dataclass(frozen=True)
class Done:
    """What came out of all stages."""

    history: list[dict[str, Any]]
    rows: list[Row]
    logits: dict[str, np.ndarray]
    packaged: dict[str, Any]
    served: dict[str, Any]
    stages: list[tuple[str, float, str]]


def go_through(out: Path, seed: int) -> Done:
    """Does everything that quickstart shows, with files below `out`."""
    stages, digits = Stages(), load_digits()
    run, data = new_run("digits-cnn", out, seed=seed)
    trained = stages.run("train", lambda: train_run(run, data), lambda t: f"accuracy {t.history[-1]['validation_accuracy']:.2%}")
    onnx, pen = stages.run("export", lambda: save_exports(run, export_model(run, trained.model)), lambda _: "verified, written")
    engines: dict[str, Engine] = {
        "eager": EagerEngine(trained.model, run),
        "onnxruntime": OnnxEngine(onnx),
        "edge": EdgeEngine(pen),
    }
    images, labels = digits.test_images, digits.test_labels
    files = {"onnxruntime": onnx, "edge": pen}
    rows, logits = stages.run("run", lambda: compare(engines, files, images, labels), lambda _: f"{len(images)} images, 3 engines")
    packaged = stages.run("package", lambda: package_and_build(pen, out / "c"), lambda p: p["text"])
    expected = engines["edge"].run({"x": images[:1]})["logits"]
    served = stages.run("serve", lambda: ask_server(pen, images[:1], expected), lambda s: s["text"])
    return Done(trained.history, rows, logits, packaged, served, stages.done)


def find_compiler() -> str | None:
    """A C compiler with its C++ sibling, or None."""
    pairs = {"cc": "c++", "gcc": "g++", "clang": "clang++"}
    return next((c for c, cpp in pairs.items() if shutil.which(c) and shutil.which(cpp)), None)


def package_and_build(pen: Path, folder: Path) -> dict[str, Any]:
    """Packages the model with the runtime's source; where there is a compiler, builds it and lets it check itself."""
    import penlight_mobile

    packaged = penlight_mobile.package(pen, target="c", output=folder)
    facts: dict[str, Any] = {"path": str(folder), "size_bytes": packaged.size_bytes, "built": False, "ok": True}
    compiler = find_compiler()
    if compiler is None:
        return {**facts, "text": "packaged; no C compiler here, so not built"}
    for command in [*packaged.compile_command(compiler), [str(packaged.program.resolve())]]:
        ran = subprocess.run(command, cwd=packaged.path, capture_output=True, text=True, timeout=120)
        if ran.returncode:
            said = (ran.stdout + ran.stderr).strip().splitlines() or [f"exit code {ran.returncode}"]
            return {**facts, "ok": False, "compiler": compiler, "text": f"{command[0]} failed: {said[-1]}"}
    said = ran.stdout.strip().splitlines()
    return {**facts, "built": True, "compiler": compiler, "text": f"built with {compiler}, {said[-1] if said else 'ran'}"}


def ask_server(model: Path, image: np.ndarray, expected: np.ndarray) -> dict[str, Any]:
    """Serves the model, sends one image (1, 1, 8, 8) over HTTP and compares the logits with `expected` (1, 10)."""
    import penlight_serving

    tensor = {"name": "x", "shape": list(image.shape), "datatype": "FP32", "data": image.ravel().tolist()}
    with penlight_serving.running_server([model]) as server:
        url = f"{server.url}/v2/models/{server.models[0]}/infer"
        request = urllib.request.Request(url, json.dumps({"inputs": [tensor]}).encode(), {"Content-Type": "application/json"})
        start = time.perf_counter()
        with urllib.request.urlopen(request, timeout=30) as response:  # a URL of our own making
            answer = json.loads(response.read())
        milliseconds = (time.perf_counter() - start) * 1e3
    logits = np.array(answer["outputs"][0]["data"], np.float32).reshape(expected.shape)
    difference = float(np.abs(logits - expected).max())
    text = f"answered over HTTP in {milliseconds:.1f} ms, difference {difference:.1e}"
    return {"url": url, "ok": difference <= 1e-6, "max_abs": difference, "milliseconds": milliseconds, "text": text}
