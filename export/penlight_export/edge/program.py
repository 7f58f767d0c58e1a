# SPDX-License-Identifier: Apache-2.0
"""A whole .pen file from an edge graph: written once to measure it on the runtime, then with golden sample and resources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

import penlight_runtime
from penlight_export.edge.reader import PenFile
from penlight_export.edge.writer import GoldenSample, ProgramWriter, ResourceStatement, load
from penlight_export.errors import EngineError, UnsupportedFeatureError
from penlight_export.graph import Model
from penlight_export.pieces import Pieces
from penlight_runtime.strings import encode


def build_program(
    model: Model,
    metadata: Mapping[str, str],
    inputs: Mapping[str, np.ndarray],
    outputs: Sequence[np.ndarray],
    sizes: Mapping[str, int],
    tolerance: float,
) -> PenFile:
    """Writes a program that carries one sample and what a run of it costs.

    Args:
        model: from `pipeline.edge_graph`.
        metadata: provenance.
        inputs: one small sample by name.
        outputs: what the reference gives for it, in the model's order.
        sizes: the named dimensions of the sample.
        tolerance: for the golden check, absolute and relative.

    Raises:
        UnsupportedFeatureError: a kernel lacks a dtype or an attribute.
        EngineError: the runtime refuses what was written, which is a defect of Penlight.
    """
    return build_methods({"forward": MethodPart(model, inputs, outputs, sizes)}, metadata, tolerance)


@dataclass(frozen=True)
class MethodPart:
    """One method of a program: its graph from `pipeline.edge_graph`, and a sample with its sizes, as in `build_program`."""

    model: Model
    inputs: Mapping[str, np.ndarray]
    outputs: Sequence[np.ndarray]
    sizes: Mapping[str, int]


def build_methods(parts: Mapping[str, MethodPart], metadata: Mapping[str, str], tolerance: float) -> PenFile:
    """Writes a program of several methods, which share weights and states. Raises as `build_program` does."""
    writer = ProgramWriter({name: part.model for name, part in parts.items()}, metadata)
    draft = writer.program()
    golden, resources = [], []
    for number, (name, part) in enumerate(parts.items()):
        arrays = [part.inputs[label] for label in writer.input_names[name]]
        golden.append(GoldenSample(arrays, list(part.outputs), tolerance, tolerance, number))
        resources.append(replace(measure(draft, arrays, part.sizes, name), method=number))
    return _loaded(writer, writer.pieces(golden, resources))


def finish_program(
    writer: ProgramWriter,
    draft: penlight_runtime.Program,
    inputs: Mapping[str, np.ndarray],
    outputs: Sequence[np.ndarray],
    sizes: Mapping[str, int],
    tolerance: float,
) -> PenFile:
    """The same from a draft that is loaded already."""
    arrays = [inputs[name] for name in writer.input_names["forward"]]
    golden = GoldenSample(_bytes(arrays, draft.inputs()), _bytes(outputs, draft.outputs()), tolerance, tolerance)
    return _loaded(writer, writer.pieces([golden], [measure(draft, arrays, sizes)]))


def _loaded(writer: ProgramWriter, pieces: Pieces) -> PenFile:
    return PenFile(load(pieces), writer.tables, pieces)


def _bytes(arrays: Sequence[np.ndarray], infos: Sequence[penlight_runtime.TensorInfo]) -> list[np.ndarray]:
    """The arrays as the file has them: strings as bytes."""
    return [encode(array, info) if info.dtype.kind == "S" else array for array, info in zip(arrays, infos, strict=True)]


def measure(
    program: penlight_runtime.Program, inputs: Sequence[np.ndarray], sizes: Mapping[str, int], method: str = "forward"
) -> ResourceStatement:
    """Asks the runtime what a run with these inputs takes."""
    try:
        session = program.session(method)
        session.prepare(inputs)
        nodes = [node.macs for node in session.profile()]
    except penlight_runtime.UnsupportedOperator as error:
        raise UnsupportedFeatureError(f"the edge runtime cannot run it: {error}") from error
    except penlight_runtime.RuntimeFailure as error:
        raise EngineError(f"the edge runtime refuses the written program: {error}") from error
    return ResourceStatement(dict(sizes), session.arena_bytes, session.macs, nodes)
