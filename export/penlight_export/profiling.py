# SPDX-License-Identifier: Apache-2.0
"""How long each node of a model file takes, measured on its own engine, and the same as a file."""

from __future__ import annotations

import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from penlight_export.edge.reader import PenFile, read_pen
from penlight_export.engines import Arrays, EdgeEngine, Engine, OnnxEngine
from penlight_export.errors import EngineError, OptionError
from penlight_export.sampling import candidate_sizes, make_inputs
from penlight_export.summary import method_number

SCHEMA = "penlight.profile/1"


@dataclass(frozen=True)
class NodeTime:
    """Median nanoseconds of one node."""

    name: str
    operator: str
    nanoseconds: int


@dataclass(frozen=True)
class Profile:
    """The nodes of a model in the file's order; `inputs` are the shapes that were run."""

    engine: str
    runs: int
    inputs: dict[str, list[int]]
    nodes: list[NodeTime]

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`."""
        return {"schema": SCHEMA, **asdict(self)}


def profile_model(
    path: str | os.PathLike[str], inputs: Mapping[str, np.ndarray] | None = None, runs: int = 20, method: str | None = None
) -> Profile:
    """Times every node, one thread; the first run warms up.

    Args:
        path: a .pen file runs on the edge runtime; an .onnx file on onnxruntime, node by node without its own rewriting.
        inputs: arrays by name; a sample by default.
        runs: how often; the median counts.
        method: of a .pen file with several; its first by default.
    """
    if Path(path).suffix.lower() == ".pen":
        file = read_pen(path)
        return _profile_pen(file, method_number(file, os.fspath(path), method), inputs, runs)
    from penlight_export.graph import to_proto  # here: a .pen file needs no ONNX packages
    from penlight_export.onnx.importer import load_onnx

    return _profile_onnx(to_proto(load_onnx(path)), inputs, runs)


def sample_of(file: PenFile, method: str) -> Arrays:
    """Inputs that a method accepts: its golden sample, or random ones."""
    golden = [sample.inputs for sample in file.program.golden() if sample.method == method]
    return golden[0] if golden else acceptable(EdgeEngine(file.program, method))


def acceptable(engine: Engine) -> Arrays:
    """Random inputs of the first sizes that an engine runs.

    Raises:
        EngineError: it runs at none of them.
    """
    refused: EngineError | None = None
    for sizes in candidate_sizes(engine.inputs):
        inputs = make_inputs(engine.inputs, sizes[0])
        try:
            engine.run(inputs)
        except EngineError as error:
            refused = error
        else:
            return inputs
    raise EngineError(f"no sizes of the varying dimensions were accepted; give inputs ({refused})")


def _profile_pen(file: PenFile, number: int, inputs: Mapping[str, np.ndarray] | None, runs: int) -> Profile:
    method = file.methods[number]
    arrays = dict(inputs or sample_of(file, method.name))
    session = file.program.session(method.name, profile=True)
    session.run(arrays)
    times = []
    for _ in range(runs):
        session.run(arrays)
        times.append([node.nanoseconds for node in session.profile()])
    medians = np.median(np.array(times, np.int64).reshape(runs, len(method.nodes)), 0)
    measured = [NodeTime(node.name, node.operator, int(ns)) for node, ns in zip(method.nodes, medians, strict=True)]
    return Profile("edge", runs, shapes(arrays), measured)


def _profile_onnx(proto: Any, inputs: Mapping[str, np.ndarray] | None, runs: int) -> Profile:
    import onnxruntime

    named = [
        (node.name or node.output[0], f"{node.domain}.{node.op_type}" if node.domain else node.op_type) for node in proto.graph.node
    ]
    for number, node in enumerate(proto.graph.node):
        node.name = f"n{number}"  # names in a foreign file may be missing or the same
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.enable_profiling = 1, True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = os.path.join(folder, "profile")
        engine = OnnxEngine(proto.SerializeToString(), optimize=False, options=options)
        arrays = dict(inputs or acceptable(engine))
        for _ in range(runs + 1):
            engine.run(arrays)
        events = json.loads(Path(engine.end_profiling()).read_bytes())
    times: dict[str, list[int]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            times[event["name"].removesuffix("_kernel_time")].append(1000 * int(event["dur"]))
    medians = [int(np.median(times[f"n{number}"][-runs:])) if times[f"n{number}"] else 0 for number in range(len(named))]
    nodes = [NodeTime(name, operator, ns) for (name, operator), ns in zip(named, medians, strict=True)]
    return Profile("onnxruntime", runs, shapes(arrays), nodes)


def shapes(arrays: Mapping[str, np.ndarray]) -> dict[str, list[int]]:
    """The sizes of each array."""
    return {name: list(array.shape) for name, array in arrays.items()}


def read_profile(path: str | os.PathLike[str]) -> Profile:
    """Reads what `penlight bench --profile` wrote.

    Raises:
        OptionError: the file is something else.
    """
    try:
        facts = json.loads(Path(path).read_bytes())
        if facts["schema"] != SCHEMA:
            raise ValueError(f"its schema is {facts['schema']!r}")
        nodes = [NodeTime(str(n["name"]), str(n["operator"]), int(n["nanoseconds"])) for n in facts["nodes"]]
        return Profile(str(facts["engine"]), int(facts["runs"]), dict(facts["inputs"]), nodes)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OptionError(f"profile {os.fspath(path)}: expected the file of 'penlight bench --profile' ({error})") from error


def times_of(profile: Profile, nodes: Sequence[tuple[str, str]]) -> list[int | None]:
    """The time of each (name, operator) of a graph, None for those that were not measured."""
    found: dict[tuple[str, str], list[int]] = defaultdict(list)  # names in a foreign file may be the same
    for node in reversed(profile.nodes):
        found[node.name, node.operator].append(node.nanoseconds)
    return [found[key].pop() if found[key] else None for key in nodes]
