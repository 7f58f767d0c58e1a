# SPDX-License-Identifier: Apache-2.0
"""Training steps beside PyTorch on the CPU: `python tests/benchmarks/train.py [--models NAME ...] [--threads 1 2]`.

A step is zero_grad, forward, cross-entropy, backward and AdamW on one fixed batch. Each engine is a worker process of its own that
starts from the same weights; the workers take turns, so that drift of the machine hits all alike. Quote ratios, not times.
torch.compile needs a C++ compiler and is warmed up before the first turn.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import record
import train_models

RESULTS = record.RESULTS / "train.json"
ENGINES = ("penlight", "torch", "torch.compile")
# largest ratio to the better mode of torch, and the geometric mean that comes later
GOALS = {"tiny_mlp": 0.6, "resnet20": 1.6, "mobilenet_v2_half": 1.6, "lstm": 1.6}
GOALS |= dict.fromkeys(("mlp", "mnist_cnn", "char_gpt", "bert_mini"), 1.3)
LATER_MEAN = 0.65
LOSS_TOLERANCE = 1e-4  # relative
WARM_UP_STEPS = 3


def framework_of(engine: str) -> Any:
    """Returns the imported framework; each worker imports its own only. OMP_NUM_THREADS says how many threads it uses."""
    return importlib.import_module(engine.split(".")[0])


def step_of(framework: Any, name: str, compiled: bool, start: Path) -> Callable[[], float]:
    """Returns one training step of the model; weights and batch are those of the file `start`, which the first worker writes."""
    framework.manual_seed(0)
    model = train_models.build(framework, name)
    x, y = train_models.batch(framework, name)
    if start.exists():
        with np.load(start) as arrays:
            tensors = {key: framework.from_numpy(arrays[key]) for key in arrays.files}
        x, y = tensors.pop("input"), tensors.pop("target")
        model.load_state_dict({key.removeprefix("state."): tensor for key, tensor in tensors.items()})
    else:
        state = {f"state.{key}": tensor.numpy() for key, tensor in model.state_dict().items()}
        np.savez(start, input=x.numpy(), target=y.numpy(), **state)
    fused = {} if framework.__name__ == "penlight" else {"fused": True}
    optimizer = framework.optim.AdamW(model.parameters(), lr=1e-3, **fused)
    run = framework.compile(model) if compiled else model
    cross_entropy = framework.nn.functional.cross_entropy

    def step() -> float:
        optimizer.zero_grad()
        loss = cross_entropy(run(x).flatten(0, -2), y.flatten())
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def worker(engine: str, name: str, threads: int, start: Path) -> None:
    """Answers each line `SECONDS` on stdin with one line of JSON on stdout: wall and CPU seconds of the steps of that turn."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    step = step_of(framework_of(engine), name, engine == "torch.compile", start)
    losses = [step() for _ in range(WARM_UP_STEPS)]
    print(json.dumps(losses), flush=True)
    for line in sys.stdin:
        wall, cpu = [], []
        until = time.perf_counter() + float(line)
        while len(wall) < 3 or time.perf_counter() < until:
            started, used = time.perf_counter(), time.process_time()
            step()
            wall.append(time.perf_counter() - started)
            cpu.append(time.process_time() - used)
        print(json.dumps({"wall": wall, "cpu": cpu}), flush=True)


def start_worker(engine: str, name: str, threads: int, start: Path) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--worker", engine, name, str(threads), str(start)]
    settings = {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | settings)


def answer(engine: str, process: subprocess.Popen[str]) -> Any:
    """Returns the next line of a worker."""
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"train: the {engine} worker ended with status {process.wait()}; its error is above")
    return json.loads(line)


def race(name: str, threads: int, engines: list[str], rounds: int, seconds: float) -> dict[str, Any]:
    """Returns the row of one model: medians over the rounds in milliseconds, first losses, and the ratio to the better torch."""
    running: dict[str, subprocess.Popen[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            losses = {}
            for engine in sorted(engines, key=lambda engine: engine != "torch"):  # eager torch writes the weights
                running[engine] = start_worker(engine, name, threads, Path(folder) / "start.npz")
                losses[engine] = answer(engine, running[engine])
            check_losses(name, losses)
            turns: dict[str, list[Any]] = {engine: [] for engine in engines}
            for _ in range(rounds):
                for engine in engines:
                    running[engine].stdin.write(f"{seconds}\n")
                    running[engine].stdin.flush()
                    turns[engine].append(answer(engine, running[engine]))
        finally:
            for process in running.values():
                process.stdin.close()
                process.wait()
    return row_of(name, threads, losses, turns)


def check_losses(name: str, losses: dict[str, list[float]]) -> None:
    """Refuses to compare engines that do not compute the same.

    Raises:
        RuntimeError: a first loss differs from torch's.
    """
    reference = losses["torch"][0]
    for engine, (first, *_) in losses.items():
        if not abs(first - reference) <= LOSS_TOLERANCE * abs(reference):
            raise RuntimeError(f"train: the first loss of {name} is {first} with {engine} and {reference} with torch")


def row_of(name: str, threads: int, losses: dict[str, list[float]], turns: dict[str, list[Any]]) -> dict[str, Any]:
    def medians(clock: str) -> dict[str, float]:
        return {
            engine: round(statistics.median(statistics.median(turn[clock]) for turn in rounds) * 1e3, 4)
            for engine, rounds in turns.items()
        }

    row = {"model": name, "threads": threads, "wall_ms": medians("wall"), "cpu_ms": medians("cpu")}
    row["steps"] = {engine: sum(len(turn["wall"]) for turn in rounds) for engine, rounds in turns.items()}
    row["first_losses"] = losses
    row["best_torch"] = min((e for e in row["wall_ms"] if e != "penlight"), key=row["wall_ms"].get)
    for clock in ("wall", "cpu"):
        times = row[f"{clock}_ms"]
        row[f"{clock}_ratio"] = round(times["penlight"] / min(ms for e, ms in times.items() if e != "penlight"), 4)
    row["goal"] = GOALS[name]
    row["reached"] = row["wall_ratio"] <= row["goal"]
    return row


def geometric_mean(rows: list[dict[str, Any]], key: str) -> float:
    return round(statistics.geometric_mean(row[key] for row in rows), 4)


def table(rows: list[dict[str, Any]]) -> str:
    """Returns the rows as text, and where we are slower."""
    lines = [
        f"{'model':18} threads {'penlight':>10} {'torch':>10} {'compile':>10}   ratio    goal   (ms a step; ratio of CPU time)"
    ]
    for row in rows:
        times = " ".join(f"{row['wall_ms'].get(engine, float('nan')):10.3f}" for engine in ENGINES)
        verdict = f"{row['wall_ratio']:7.2f} {row['goal']:7.2f} {'ok' if row['reached'] else 'TOO SLOW':9}({row['cpu_ratio']:.2f})"
        lines.append(f"{row['model']:18} {row['threads']:7} {times} {verdict}")
    for threads in sorted({row["threads"] for row in rows}):
        mean = geometric_mean([row for row in rows if row["threads"] == threads], "wall_ratio")
        lines.append(f"geometric mean, {threads} thread(s): {mean:.2f} (later goal {LATER_MEAN})")
    slower = [f"{row['model']} ({row['threads']}: {row['wall_ratio']:.2f})" for row in rows if row["wall_ratio"] > 1]
    lines.append(f"slower than torch: {', '.join(slower) or 'nowhere'}")
    return "\n".join(lines)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Runs every race and returns the report."""
    rows = []
    for name in options.models:
        for threads in options.threads:
            rows.append(race(name, threads, options.engines, options.rounds, options.seconds))
            print(table(rows[-1:]).splitlines()[1], file=sys.stderr, flush=True)
    means = {
        str(threads): geometric_mean([row for row in rows if row["threads"] == threads], "wall_ratio")
        for threads in options.threads
    }
    settings = {"rounds": options.rounds, "seconds_per_turn": options.seconds}
    return {
        "schema": "penlight.benchmark.train/1",
        **record.machine("torch", "numpy"),
        **settings,
        "geometric_mean": means,
        "rows": rows,
    }


def main() -> None:
    """Measures, prints the table and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=list(GOALS), default=list(train_models.SHAPES))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES), help="penlight and torch among them")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each engine")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn; three steps at least")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--worker", nargs=4, metavar=("ENGINE", "MODEL", "THREADS", "START"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        engine, name, threads, start = options.worker
        worker(engine, name, int(threads), Path(start))
        return
    if not {"penlight", "torch"} <= set(options.engines):
        parser.error("--engines: penlight and torch must be among them")
    report = measure(options)
    print(table(report["rows"]))
    record.save(options.output, report)


if __name__ == "__main__":
    main()
