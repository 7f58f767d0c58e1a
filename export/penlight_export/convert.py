# SPDX-License-Identifier: Apache-2.0
"""Any .onnx file to a .pen file, checked on the same inputs before it is written."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from penlight.serialize import atomic_write
from penlight_export.collection import without_collection
from penlight_export.compare import DEFAULT_TOLERANCE, VerifyReport
from penlight_export.edge.foreign import foreign_program
from penlight_export.edge.program import finish_program
from penlight_export.edge.reader import PenFile
from penlight_export.engines import Arrays, EdgeEngine, Engine
from penlight_export.errors import OptionError
from penlight_export.graph import Model
from penlight_export.onnx.importer import load_onnx
from penlight_export.onnx.strings import DEFAULT_WIDTH, LARGEST_WIDTH
from penlight_export.passes import DEFAULT, Pass
from penlight_export.provenance import file_digest, producer
from penlight_export.sampling import integer_bounds, with_short_texts
from penlight_export.stages import stage
from penlight_export.subjects import Subject, onnx_subject, pen_subject
from penlight_export.summary import ModelSummary, summarize_pen
from penlight_export.verify import (
    compare_engines,
    keep_divergence,
    named_inputs,
    random_inputs,
    require_ok,
    sizes_of,
)


@dataclass(frozen=True)
class ConvertResult:
    """What `convert` wrote: the file, its summary and the comparison with the original."""

    path: Path
    report: VerifyReport
    summary: ModelSummary

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`."""
        return {"path": os.fspath(self.path), "report": self.report.to_json(), "summary": self.summary.to_json()}


@without_collection
def convert(
    onnx_path: str | os.PathLike[str],
    pen_path: str | os.PathLike[str],
    *,
    verify: bool = True,
    data: Mapping[str, np.ndarray] | None = None,
    tolerance: float = DEFAULT_TOLERANCE,
    passes: Sequence[Pass] = DEFAULT,
    max_string_bytes: int = DEFAULT_WIDTH,
) -> ConvertResult:
    """Converts a model from any exporter for the edge runtime.

    Args:
        onnx_path: operator set 7 to 28; weights may lie beside it.
        pen_path: what to write, atomically.
        verify: compare with the original at two sizes of every dimension that varies; a difference writes nothing. Without it, no
            other engine runs, and the outputs of the sample in the file are those of the edge runtime itself.
        data: inputs by name, instead of random ones.
        tolerance: on the difference relative to max(1, largest magnitude).
        passes: optimizer passes, see `penlight_export.passes`; `()` writes the graph as it is.
        max_string_bytes: UTF-8 bytes of the longest string that an input takes; sessions refuse longer ones.

    Raises:
        UnsupportedOperatorsError: the runtime lacks operators; all are listed.
        VerifyError: the numbers differ.
        ExportError: the file is not valid, see its subclasses.
    """
    if not 1 <= max_string_bytes <= LARGEST_WIDTH:
        raise OptionError(f"max_string_bytes is {max_string_bytes}; expected 1 to {LARGEST_WIDTH}")
    pen_path = Path(pen_path)
    if pen_path.suffix.lower() != ".pen":
        raise OptionError(f"{pen_path}: expected a file name that ends in .pen")
    stage("optimize")
    model = load_onnx(onnx_path)
    metadata = _metadata(model, Path(onnx_path))
    writer = foreign_program(model, os.fspath(onnx_path), metadata, passes, max_string_bytes)
    stage("write")
    draft = EdgeEngine(writer.program())
    original = onnx_subject(model, os.fspath(onnx_path)) if verify else Subject(draft, bounds=integer_bounds(model))
    original.engine.inputs = with_short_texts(original.engine.inputs, max_string_bytes)
    samples = sample_inputs(original, draft, data)

    def finished(outputs: Arrays) -> PenFile:
        arrays = [outputs[port.name] for port in original.engine.outputs]
        return finish_program(writer, draft.program, samples[0], arrays, sizes_of([original.engine], samples[0]), tolerance)

    program = finished(original.engine.run(samples[0]))
    stage("compare")
    report = VerifyReport(tolerance)
    if verify:
        given = check(report, original, pen_subject(program), samples, f"{os.fspath(onnx_path)} was not converted")
        if report.rows[0].reference != original.engine.label:  # the sample in the file must be one that a self-test accepts
            program = finished(given)
    atomic_write(pen_path, program.pieces.write)
    return ConvertResult(pen_path, report, summarize_pen(program, os.fspath(pen_path)))


def sample_inputs(original: Subject, draft: Engine, data: Mapping[str, np.ndarray] | None) -> list[Arrays]:
    """The caller's inputs, or random ones at two sizes that both engines accept."""
    if data is not None:
        return [named_inputs(data, original.engine.inputs)]
    engines = [original.engine] if original.engine is draft else [original.engine, draft]
    return random_inputs(engines, original.engine.inputs, original.bounds or {})


def check(report: VerifyReport, original: Subject, converted: Subject, samples: list[Arrays], what: str) -> Arrays:
    """Compares on every sample; returns what the original gave for the first one.

    Raises:
        VerifyError: the numbers differ; the message names the first layer that does.
    """
    first: Arrays = {}
    for inputs in samples:
        given = compare_engines(report, [original.engine, converted.engine], inputs)
        first = first or given[0]
        if not report.ok:
            keep_divergence(report, original, converted, inputs)
            require_ok(report, what)
    return first


def _metadata(model: Model, path: Path) -> dict[str, str]:
    entries = {"source.sha256": file_digest(path), "source.opset": str(model.opset_imports.get("", 0))}
    if model.producer_name:
        entries["source.producer"] = f"{model.producer_name} {model.producer_version or ''}".strip()
    if model.graph.name:
        entries["name"] = model.graph.name
    return producer() | entries
