# SPDX-License-Identifier: Apache-2.0
"""Time of inference on the edge runtime beside other engines, all on the same ONNX files, interleaved round by round.

`python tests/benchmarks/inference.py [--models mlp lstm] [--threads 1 2] [--folder FILES]`. Every engine runs in a process of its
own that answers rounds, so that a drift of the machine meets all alike. Wall time is what counts on an idle machine; the processor
time of one thread also says something on a busy one. `--folder` adds the .onnx files of a folder, with inputs of fixed sizes.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import record

# ours / best peer that issue 6 asks for, with 1 and with 2 threads
GOALS = {
    "resnet50": (0.92, 0.85),
    "resnet18": (0.90, 0.75),
    "mobilenet_v2": (0.85, 0.85),
    "mobilenet_v3_small": (0.90, 0.90),
    "minilm_l6": (0.96, 0.97),
    "gpt2_small": (0.94, 0.95),
    "vit_tiny": (0.92, 0.80),
    "lstm": (0.90, 0.60),
    "mlp": (0.65, 0.85),
    "dscnn": (0.70, 0.80),
    "resnet50_int8": (1.0, 1.0),
    "mobilenet_v2_int8": (0.70, 0.90),
    "minilm_int8": (0.70, 0.75),
}
# engine -> the packages that it needs, its own first; where they ask for other versions of onnx's, `pip install --no-deps` them
PACKAGES = {"onnxruntime": ("onnxruntime",), "openvino": ("openvino",), "mnn": ("MNN",), "ncnn": ("ncnn", "pnnx")}
ENGINES = ("penlight", *PACKAGES)
PEERS_OF_SOME = ("mnn", "ncnn")  # their converters do not take every model: the row says so
_TOKENS = 1000  # class numbers of integer inputs are below


def feeds_of(path: Path) -> dict[str, Any]:
    """Random inputs of the model at `path`; sizes that it leaves open are 1."""
    import numpy as np
    import onnx

    graph, rng = onnx.load(path, load_external_data=False).graph, np.random.default_rng(0)
    constants, feeds = {tensor.name for tensor in graph.initializer}, {}
    for value in graph.input:
        kind = value.type.tensor_type
        shape = [dimension.dim_value or 1 for dimension in kind.shape.dim]
        if value.name in constants:
            continue
        integers = kind.elem_type == onnx.TensorProto.INT64
        feeds[value.name] = rng.integers(0, _TOKENS, shape) if integers else rng.standard_normal(shape, dtype=np.float32)
    return feeds


def _outputs_of(path: Path) -> list[str]:
    import onnx

    return [value.name for value in onnx.load(path, load_external_data=False).graph.output]


def load_penlight(path: Path, threads: int, feeds: dict[str, Any]) -> Callable[[], Any]:
    """A run of the .pen file beside the model."""
    import penlight_runtime

    session = penlight_runtime.Program.open(path.with_suffix(".pen")).session(threads=threads)
    return lambda: next(iter(session.run(feeds).values()))


def load_onnxruntime(path: Path, threads: int, feeds: dict[str, Any]) -> Callable[[], Any]:
    """A run with its default optimizations."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, feeds)[0]


def load_openvino(path: Path, threads: int, feeds: dict[str, Any]) -> Callable[[], Any]:
    """A run for latency, in float32."""
    import openvino

    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request, values = openvino.Core().compile_model(path, "CPU", settings).create_infer_request(), list(feeds.values())
    return lambda: request.infer(values)[0]


def load_mnn(path: Path, threads: int, feeds: dict[str, Any]) -> Callable[[], Any]:
    """A run in float32 of the converted model."""
    import MNN.expr as expr
    import MNN.nn as nn
    import numpy as np

    converted, (output, *_) = path.with_suffix(".mnn"), _outputs_of(path)
    if not converted.exists():
        script = "import sys; from MNN.tools import mnnconvert; sys.exit(mnnconvert.main())"
        arguments = ["-f", "ONNX", "--modelFile", str(path), "--MNNModel", str(converted), "--bizCode", "benchmark"]
        subprocess.run([sys.executable, "-c", script, *arguments], check=True, stdout=subprocess.DEVNULL)
    runtime = nn.create_runtime_manager(({"backend": 0, "precision": "high", "numThread": threads},))
    net = nn.load_module_from_file(str(converted), list(feeds), [output], runtime_manager=runtime)
    arrays = [array.astype(np.int32) if array.dtype == np.int64 else array for array in feeds.values()]
    kinds = [expr.int if array.dtype == np.int32 else expr.float for array in arrays]

    def run() -> Any:
        values = [expr.const(array, list(array.shape), expr.NCHW, kind) for array, kind in zip(arrays, kinds, strict=True)]
        return net.forward(values)[0].read()

    return run


def load_ncnn(path: Path, threads: int, feeds: dict[str, Any]) -> Callable[[], Any]:
    """A run in float32 of the converted model; its batch of one has no dimension."""
    import ncnn
    import numpy as np

    stem = path.parent / path.stem.replace("-", "_")
    if not Path(f"{stem}.ncnn.param").exists():
        spec = importlib.util.find_spec("pnnx")  # importing it would need torch
        if spec is None or spec.origin is None:
            raise SystemExit("ncnn needs pnnx to convert")
        kinds = {"int64": "i64", "float32": "f32"}
        shapes = ",".join(str(list(array.shape)).replace(" ", "") + kinds[array.dtype.name] for array in feeds.values())
        command = [str(Path(spec.origin).with_name("pnnx")), path.name, f"inputshape={shapes}", "fp16=0"]
        subprocess.run(command, cwd=path.parent, check=True, capture_output=True)
    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = net.opt.use_bf16_storage = False
    if net.load_param(f"{stem}.ncnn.param") or net.load_model(f"{stem}.ncnn.bin"):
        raise SystemExit("ncnn does not load what pnnx wrote")
    arrays = [np.ascontiguousarray(array[0].astype(np.int32) if array.dtype == np.int64 else array[0]) for array in feeds.values()]

    def run() -> Any:
        extractor = net.create_extractor()
        for name, array in zip(net.input_names(), arrays, strict=True):
            extractor.input(name, ncnn.Mat(array))
        return np.array(extractor.extract(net.output_names()[0])[1])

    return run


def serve(engine: str, path: Path, threads: int) -> None:
    """Loads a model, then answers each line with seconds of runs: the medians of wall and of processor time."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what engines print is no answer
    run = globals()[f"load_{engine}"](path, threads, feeds_of(path))
    print(json.dumps({"sum": float(abs(run()).sum())}), file=answers, flush=True)
    for line in sys.stdin:
        wall: list[float] = []
        processor: list[float] = []
        until = time.perf_counter() + float(line)
        while len(wall) < 3 or time.perf_counter() < until:
            started = time.perf_counter(), time.process_time()
            run()
            wall.append(time.perf_counter() - started[0])
            processor.append(time.process_time() - started[1])
        print(json.dumps([statistics.median(wall), statistics.median(processor)]), file=answers, flush=True)


def race(path: Path, threads: int, engines: list[str], rounds: int, seconds: float) -> dict[str, Any]:
    """One row: medians over the rounds, and ours divided by the best peer's."""
    workers: dict[str, Any] = {}
    times: dict[str, list[list[float]]] = {}
    sums: dict[str, float] = {}
    refused = []
    for engine in engines:
        command = [sys.executable, __file__, "--serve", engine, str(path), str(threads)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        answer = process.stdout.readline() if process.stdout else ""
        if answer:
            workers[engine], times[engine], sums[engine] = process, [], json.loads(answer)["sum"]
        elif engine in PEERS_OF_SOME:
            process.communicate()
            refused.append(engine)
        else:
            raise SystemExit(f"{path.stem}: {engine} did not start")
    for _ in range(rounds):
        for engine, process in workers.items():
            if process.stdin is None or process.stdout is None:
                raise AssertionError("the worker has pipes")
            print(seconds, file=process.stdin, flush=True)
            times[engine].append(json.loads(process.stdout.readline()))
    for process in workers.values():
        process.communicate()
    row: dict[str, Any] = {"model": path.stem, "threads": threads, "sum_of_magnitudes": sums, "refused": refused}
    for place, name in enumerate(("wall", "cpu")):
        medians = {engine: statistics.median(pair[place] for pair in pairs) * 1e3 for engine, pairs in times.items()}
        row[f"{name}_ms"] = {engine: round(value, 4) for engine, value in medians.items()}
        peers = [value for engine, value in medians.items() if engine != "penlight"]
        if peers and "penlight" in medians:
            row[f"{name}_ratio"] = round(medians["penlight"] / min(peers), 3)
    if path.stem in GOALS and threads in (1, 2):
        row["goal"] = GOALS[path.stem][threads - 1]
    return row


def write_models(names: list[str], folder: Path) -> list[Path]:
    """The built-in models as .onnx files."""
    import inference_models

    return [inference_models.write(name, folder) for name in names]


def to_edge(path: Path, folder: Path) -> Path:
    """Puts model and .pen file side by side into `folder`."""
    from penlight_export import convert

    link = folder / path.name
    if not link.exists():
        link.symlink_to(path.resolve())
    convert(path, link.with_suffix(".pen"), verify=False)
    return link


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as text."""
    lines = []
    for row in rows:
        times = "  ".join(f"{engine} {value:.3f} ms" for engine, value in row["wall_ms"].items())
        ratio = f"  wall {row['wall_ratio']:.2f}, cpu {row['cpu_ratio']:.2f}" if "wall_ratio" in row else ""
        goal = f", goal {row['goal']:.2f}" if "goal" in row else ""
        lines.append(f"{row['model']:20} {row['threads']} thread(s)  {times}{ratio}{goal}")
    ratios = [row["wall_ratio"] for row in rows if "wall_ratio" in row]
    if ratios:
        lines.append(f"geometric mean of the wall ratios: {math.prod(ratios) ** (1 / len(ratios)):.3f}")
    return "\n".join(lines)


def main() -> None:
    """Races, prints the table and writes the results."""
    import inference_models

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", default=list(inference_models.MODELS), choices=list(inference_models.MODELS))
    parser.add_argument("--folder", type=Path, help="more .onnx files")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--engines", nargs="+", default=list(ENGINES), choices=ENGINES)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5, help="per engine and round")
    parser.add_argument("--output", type=Path, default=record.RESULTS / "inference.json")
    options = parser.parse_args()
    absent = [engine for engine, packages in PACKAGES.items() if not all(map(importlib.util.find_spec, packages))]
    engines = [engine for engine in options.engines if engine not in absent]
    with tempfile.TemporaryDirectory() as name:
        paths = write_models(options.models, Path(name)) + sorted(options.folder.glob("*.onnx") if options.folder else [])
        rows = []
        for path in paths:
            model = to_edge(path, Path(name))
            rows += [race(model, threads, engines, options.rounds, options.seconds) for threads in options.threads]
            print(table(rows[-len(options.threads) :]), flush=True)
    versions = {engine: importlib.metadata.version(PACKAGES[engine][0]) for engine in engines if engine in PACKAGES}
    report = {"rows": rows, "peers": versions, "absent": absent}
    record.save(options.output, {"schema": "penlight.benchmark.inference/1", **record.machine("numpy", "onnx"), **report})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
