# SPDX-License-Identifier: Apache-2.0
"""Time to trace, lower, optimize and save chains of nodes: `python tests/benchmarks/export.py [--nodes 1000 4000 20000]`.

Each size runs in a process of its own, verification off, so that the figures are those of the exporter and of the converter alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import record

GOALS = {1000: 1.0, 4000: 2.0}  # seconds to .onnx
WIDTH = 32


def chain(nodes: int) -> Any:
    """A residual network of `nodes` traced operators: layer norm, linear, GELU, addition."""
    import penlight.nn as nn
    import penlight.nn.functional as F

    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norms = nn.ModuleList([nn.LayerNorm(WIDTH) for _ in range(nodes // 4)])
            self.layers = nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in range(nodes // 4)])

        def forward(self, x: Any) -> Any:
            for norm, layer in zip(self.norms, self.layers, strict=True):
                x = x + F.gelu(layer(norm(x)))
            return x

    return Chain().eval()


def measure(nodes: int) -> dict[str, float]:
    """Seconds of each way through; a small model goes first, so that imports do not count."""
    import onnx

    import penlight as pl
    from penlight.tracing import trace
    from penlight_export import convert, export

    x, varying = pl.randn(4, WIDTH), {"x": {0: "batch"}}
    seconds: dict[str, float] = {}

    def timed(name: str, call: Any) -> Any:
        started = time.perf_counter()
        result = call()
        seconds[name] = round(time.perf_counter() - started, 3)
        return result

    with tempfile.TemporaryDirectory() as folder:
        onnx_path, pen_path = Path(folder) / "chain.onnx", Path(folder) / "chain.pen"
        for model in (chain(8), chain(nodes)):
            timed("trace", lambda model=model: trace(model, (x,), dynamic=varying, names=["x"]))
            exported = timed("export", lambda model=model: export(model, (x,), dynamic=varying, names=["x"], verify=False))
            timed("save", lambda exported=exported: [exported.save(path) for path in (onnx_path, pen_path)])
            timed("convert", lambda: convert(onnx_path, pen_path, verify=False))
            for name, optimize in peers().items():
                proto = onnx.load(onnx_path)
                timed(name, lambda optimize=optimize, proto=proto: optimize(proto))
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {**seconds, "total": round(seconds["export"] + seconds["save"], 3), "peak_mb": round(megabytes, 1)}


def peers() -> dict[str, Any]:
    """Other optimizers of ONNX graphs, on the file that was exported here."""
    found = {}
    try:
        import onnxscript.optimizer

        found["onnxscript"] = onnxscript.optimizer.optimize
    except ImportError:
        pass
    try:
        import onnxslim

        found["onnxslim"] = onnxslim.slim
    except ImportError:
        pass
    return found


def row_of(nodes: int, rounds: int) -> dict[str, Any]:
    """Medians over fresh processes."""
    runs = []
    for _ in range(rounds):
        output = subprocess.run(
            [sys.executable, __file__, "--worker", str(nodes)], capture_output=True, text=True, check=True
        ).stdout
        runs.append(json.loads(output.splitlines()[-1]))
    row: dict[str, Any] = {"nodes": nodes} | {key: round(statistics.median(run[key] for run in runs), 3) for key in runs[0]}
    if nodes in GOALS:
        row |= {"goal": GOALS[nodes], "reached": row["total"] <= GOALS[nodes]}
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as text, with the exponent of growth between neighbours: 1 is linear."""
    keys = [key for key in rows[0] if key not in ("nodes", "goal", "reached")]
    lines = ["  nodes " + " ".join(f"{key:>10}" for key in keys) + "   goal"]
    for row in rows:
        goal = f"{row['goal']:7.1f} {'ok' if row['reached'] else 'TOO SLOW'}" if "goal" in row else ""
        lines.append(f"{row['nodes']:7} " + " ".join(f"{row[key]:10.3f}" for key in keys) + goal)
    for before, after in itertools.pairwise(rows):
        slope = math.log(after["total"] / before["total"]) / math.log(after["nodes"] / before["nodes"])
        lines.append(f"growth {before['nodes']} to {after['nodes']}: nodes ** {slope:.2f}")
    return "\n".join(lines)


def main() -> None:
    """Measures, prints the table and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", nargs="+", type=int, default=[1000, 4000, 20000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=record.RESULTS / "export.json")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(measure(options.worker)))
        return
    rows = [row_of(nodes, options.rounds) for nodes in options.nodes]
    print(table(rows))
    versions = record.machine("numpy", "onnx", "onnx-ir", "flatbuffers")
    record.save(options.output, {"schema": "penlight.benchmark.export/1", **versions, "rows": rows})


if __name__ == "__main__":
    main()
