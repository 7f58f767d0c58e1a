# SPDX-License-Identifier: Apache-2.0
"""Time to trace, lower, optimize and save chains of nodes, beside other optimizers, and what ours brings in nodes and run time.

`python tests/benchmarks/export.py [--nodes 1000 4000 20000]`. Each size runs in a process of its own, verification off, so that the
figures are those of the exporter and of the converter alone. Everything together takes about four minutes.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import export_memory
import record

GOALS = {1000: 1.0, 4000: 2.0}  # seconds until .onnx and .pen are written
WIDTH = 32
MOST_ROUNDS_NODES = 10000  # larger chains are measured once
MOST_PEER_NODES = 4000  # they are superlinear: 15 s for 4,000 nodes, minutes above
PEER_SECONDS = 60
PEERS = ("onnxscript", "onnxslim")
MODELS = ("resnet18", "bert", "bert-written-out-17")  # of export_models.py
VARYING = {"x": {0: "batch"}}


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
    import penlight as pl
    from penlight.tracing import trace
    from penlight_export import convert, export
    from penlight_export.collection import without_collection

    x = pl.randn(4, WIDTH)
    seconds: dict[str, float] = {}

    def timed(name: str, call: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = call()
        seconds[name] = round(time.perf_counter() - started, 3)
        return result

    with tempfile.TemporaryDirectory() as folder:
        onnx_path, pen_path = Path(folder) / "chain.onnx", Path(folder) / "chain.pen"
        for model in (chain(8), chain(nodes)):
            timed("trace", lambda model=model: without_collection(trace)(model, (x,), dynamic=VARYING, names=["x"]))
            used = time.process_time()
            exported = timed("export", lambda model=model: export(model, (x,), dynamic=VARYING, names=["x"], verify=False))
            timed("save", lambda exported=exported: [exported.save(path) for path in (onnx_path, pen_path)])
            seconds["cpu"] = round(time.process_time() - used, 3)
            timed("convert", lambda: convert(onnx_path, pen_path, verify=False))
            timed("optimize", lambda: without_collection(optimized)(onnx_path))
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {**seconds, "total": round(seconds["export"] + seconds["save"], 3), "peak_mb": round(megabytes, 1)}


def optimized(path: Path) -> Any:
    """Our passes alone on an .onnx file, as the peers do it: from protobuf to protobuf."""
    import onnx

    from penlight_export.graph import from_proto, infer_shapes, to_proto
    from penlight_export.passes import DEFAULT, portable, run_passes

    model = from_proto(onnx.load(path))
    infer_shapes(model)
    run_passes(model, portable(DEFAULT))
    return to_proto(model)


def peers() -> dict[str, Any]:
    """Other optimizers of ONNX graphs by name and version, where they are installed."""
    found: dict[str, Any] = {}
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


def measure_peer(name: str, path: str) -> dict[str, Any]:
    """Seconds and nodes of one peer on a file; a small file goes first. Other errors of it are its result."""
    import onnx

    optimize = peers().get(name)
    if optimize is None:
        return {"absent": True}
    try:
        optimize(onnx.parser.parse_model('<ir_version: 8, opset_import: ["" : 17]> g (float[N] x) => (float[N] y) { y = Relu(x) }'))
        proto = onnx.load(path)
        started = time.perf_counter()
        result = optimize(proto)
        seconds = time.perf_counter() - started
    except Exception as error:  # whatever it raises is its own affair
        return {"error": f"{type(error).__name__}: {error}"[:200]}
    nodes = len(result.graph.node) if isinstance(result, onnx.ModelProto) else len(result.graph)
    return {"seconds": round(seconds, 3), "nodes": nodes}


def peer_row(name: str, path: Path) -> dict[str, Any]:
    """A peer in a process of its own, which is stopped when it takes too long."""
    command = [sys.executable, __file__, "--peer", name, str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PEER_SECONDS)
    except subprocess.TimeoutExpired:
        return {"timeout": PEER_SECONDS}
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {"error": done.stderr[-200:]}


def row_of(nodes: int, rounds: int) -> dict[str, Any]:
    """Medians over fresh processes."""
    runs = [worker("--worker", str(nodes)) for _ in range(rounds if nodes <= MOST_ROUNDS_NODES else 1)]
    row: dict[str, Any] = {"nodes": nodes} | {key: round(statistics.median(run[key] for run in runs), 3) for key in runs[0]}
    if nodes in GOALS:
        row |= {"goal": GOALS[nodes], "reached": row["total"] <= GOALS[nodes]}
    return row


def worker(*arguments: str) -> Any:
    """What a process of this script prints last; with one thread, as the figures say."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def model_rows(names: Sequence[str], rounds: int, others: Sequence[str]) -> list[dict[str, Any]]:
    """Nodes and milliseconds of models, not optimised and optimised, with what the peers make of the same graph."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            row = worker("--model", name, folder, str(rounds))
            path = Path(folder) / f"{name}.onnx"
            row["peers"] = {peer: peer_row(peer, path) for peer in others}
            rows.append(row)
    return rows


def chain_peers(nodes: int) -> dict[str, Any]:
    """The peers on the chain as it was traced, where they end in reasonable time."""
    if nodes > MOST_PEER_NODES:
        return {name: {"skipped": f"superlinear: not run above {MOST_PEER_NODES} nodes"} for name in PEERS}
    import penlight as pl
    from penlight_export import export

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chain.onnx"
        export(chain(nodes), (pl.randn(4, WIDTH),), dynamic=VARYING, names=["x"], verify=False, passes=()).save(path)
        return {name: peer_row(name, path) for name in PEERS}


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as text, with the exponent of growth between neighbours: 1 is linear."""
    keys = [key for key in rows[0] if key not in ("nodes", "goal", "reached", "peers")]
    lines = ["  nodes " + " ".join(f"{key:>10}" for key in keys) + "   goal"]
    for row in rows:
        goal = f"{row['goal']:7.1f} {'ok' if row['reached'] else 'TOO SLOW'}" if "goal" in row else ""
        lines.append(f"{row['nodes']:7} " + " ".join(f"{row[key]:10.3f}" for key in keys) + goal)
        lines += [f"        {name}: {peer_text(peer)}" for name, peer in row.get("peers", {}).items()]
    lines += [f"growth {a} to {b}: nodes ** {slope}" for a, b, slope in growth(rows)]
    return "\n".join(lines)


def growth(rows: list[dict[str, Any]]) -> list[tuple[int, int, float]]:
    """The exponents."""
    return [
        (a["nodes"], b["nodes"], round(math.log(b["total"] / a["total"]) / math.log(b["nodes"] / a["nodes"]), 2))
        for a, b in itertools.pairwise(rows)
    ]


def peer_text(peer: dict[str, Any]) -> str:
    """One peer's result in words."""
    if "skipped" in peer:
        return f"skipped, {peer['skipped']}"
    if "seconds" in peer:
        return f"{peer['seconds']:.2f} s, {peer['nodes']} nodes left"
    return "not installed" if "absent" in peer else f"more than {peer['timeout']} s" if "timeout" in peer else peer["error"]


def model_table(rows: list[dict[str, Any]]) -> str:
    """The models as text."""
    lines = ["model                 nodes: traced  .onnx   .pen    edge ms: before  after   onnxruntime ms: before  after"]
    for row in rows:
        before, after = row["before"], row["after"]
        lines.append(
            f"{row['model']:24} {before['onnx_nodes']:9} {after['onnx_nodes']:6} {after['pen_nodes']:6} {before['edge_ms']:19.2f} "
            f"{after['edge_ms']:6.2f} {before['onnxruntime_ms']:22.2f} {after['onnxruntime_ms']:6.2f}"
        )
        lines += [f"    {name}: {peer_text(peer)}" for name, peer in row["peers"].items()]
    return "\n".join(lines)


def versions() -> dict[str, str]:
    """The peers that are installed."""
    found = {}
    for name in PEERS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def main() -> None:
    """Measures, prints the tables and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", nargs="+", type=int, default=[1000, 4000, 20000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="measure Penlight alone")
    parser.add_argument("--models", nargs="*", default=MODELS, choices=MODELS)
    parser.add_argument("--megabytes", type=int, default=400, help="weights of the model whose peak memory is measured; 0: none")
    parser.add_argument("--output", type=Path, default=record.RESULTS / "export.json")
    for hidden, count in (("--worker", 1), ("--peer", 2), ("--model", 3)):
        parser.add_argument(hidden, nargs=count, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(measure(int(options.worker[0]))))
    elif options.peer:
        print(json.dumps(measure_peer(*options.peer)))
    elif options.model:
        name, folder, rounds = options.model
        import export_models  # the process that waits for workers needs no framework

        print(json.dumps(export_models.measure(name, Path(folder), int(rounds))))
    else:
        _record(options)


def _record(options: argparse.Namespace) -> None:
    rows = [row_of(count, options.rounds) for count in options.nodes]
    for row in rows:
        if options.peers:
            row["peers"] = chain_peers(row["nodes"])
    print(table(rows))
    memory = export_memory.rows(options.megabytes << 20) if options.megabytes else []
    print(export_memory.table(memory))
    models = model_rows(options.models, options.rounds, PEERS if options.peers else ())
    print(model_table(models))
    machine = record.machine("numpy", "onnx", "onnx-ir", "flatbuffers", "onnxruntime")
    report = {"rows": rows, "growth": growth(rows), "memory": memory, "models": models, "peers": versions()}
    record.save(options.output, {"schema": "penlight.benchmark.export/3", **machine, **report})


if __name__ == "__main__":
    main()
