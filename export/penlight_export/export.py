# SPDX-License-Identifier: Apache-2.0
"""From a module of the framework to .onnx and .pen, with proof that the numbers stayed the same."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from penlight.serialize import atomic_write
from penlight.tracing import TraceGraph, trace
from penlight_export.compare import DEFAULT_TOLERANCE, Divergence, VerifyReport
from penlight_export.eager import evaluation, run_module
from penlight_export.edge.program import build_program
from penlight_export.edge.reader import PenFile
from penlight_export.engines import Arrays, EagerEngine, Port
from penlight_export.errors import ExportError, OptionError, UnsupportedFeatureError, UnsupportedOperatorsError
from penlight_export.graph import Model, clone, infer_shapes, to_proto
from penlight_export.onnx.builder import symbol_text
from penlight_export.onnx.importer import MAXIMUM_FILE_BYTES
from penlight_export.onnx.lower import TRACED, lower_trace
from penlight_export.onnx.opsets import DEFAULT_EXPORT, MAXIMUM_EXPORT, MINIMUM_EXPORT
from penlight_export.passes import DEFAULT, Pass, run_passes
from penlight_export.pipeline import edge_graph
from penlight_export.provenance import producer
from penlight_export.replay import Replay
from penlight_export.summary import ModelSummary, summarize_pen
from penlight_export.summary_onnx import summarize_model
from penlight_export.verify import Subject, compare_engines, find_divergence, onnx_subject, pen_subject, require_ok


@dataclass
class Exported:
    """A module as ONNX and as an edge program, compared with the module itself.

    Attributes:
        onnx_model: what `.save("model.onnx")` writes.
        program: the bytes of the .pen file; None when the edge runtime lacks something, see `refusal`.
        refusal: why there is no program.
        report: the comparison of all engines.
        summary: operators, cost and tree, of the program if there is one.
    """

    onnx_model: onnx.ModelProto
    program: bytes | None
    report: VerifyReport
    summary: ModelSummary
    refusal: ExportError | None = field(default=None, repr=False)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes .onnx or .pen by the suffix, atomically: after a failure an older file is still whole.

        Raises:
            OptionError: another suffix.
            UnsupportedOperatorsError, UnsupportedFeatureError: the edge runtime cannot run the model.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix == ".onnx":
            atomic_write(path, self.onnx_model.SerializeToString(deterministic=True))
        elif suffix == ".pen":
            if self.program is None:
                assert self.refusal is not None
                raise self.refusal
            atomic_write(path, self.program)
        else:
            raise OptionError(f"{path}: expected a file name that ends in .onnx or .pen")
        return path


def export(
    module: Any,
    inputs: Any,
    *,
    dynamic: Mapping[str, Mapping[int, str]] | None = None,
    names: Sequence[str] | None = None,
    opset: int = DEFAULT_EXPORT,
    passes: Sequence[Pass] = DEFAULT,
    verify: bool = True,
    tolerance: float = DEFAULT_TOLERANCE,
    output_names: Sequence[str] = (),
    metadata: Mapping[str, str] | None = None,
) -> Exported:
    """Exports a module in evaluation mode and compares eager, onnxruntime and the edge runtime before it returns.

    Args:
        module: a `penlight.nn.Module` or any function of tensors.
        inputs: example tensors: one, a tuple, or a dict by name.
        dynamic: which dimensions may vary, by input name: `{"x": {0: "batch"}}`.
        names: of positional inputs; the arguments' names by default.
        opset: version of ai.onnx, 17 to 24.
        passes: optimizer passes; `()` writes what was traced.
        verify: run all engines at the example's sizes and at a second size of every dynamic dimension.
        tolerance: on the absolute difference relative to max(1, largest magnitude of the output).
        output_names: instead of "output" or the keys of the result.
        metadata: provenance for the files, such as a checkpoint's checksum.

    Returns:
        The export; nothing is written until `.save(path)`.

    Raises:
        penlight.errors.TraceError: the module branches on values; the message names the line.
        UnsupportedOperatorsError: operators without an ONNX form; all are listed with their lines.
        VerifyError: an engine gave other numbers; the message names the first layer that differs.

    Example:
        >>> exported = export(model, (x,), dynamic={"x": {0: "batch"}})   # doctest: +SKIP
        >>> exported.save("model.pen")                                   # doctest: +SKIP
    """
    if not MINIMUM_EXPORT <= opset <= MAXIMUM_EXPORT:
        raise OptionError(f"opset {opset}: expected {MINIMUM_EXPORT} to {MAXIMUM_EXPORT}")
    with evaluation(module):
        graph = trace(module, inputs, dynamic=dynamic, names=names)
    name = type(module).__name__ if hasattr(module, "modules") else getattr(module, "__name__", "model")
    model = lower_trace(graph, opset, name, output_names=list(output_names) or default_output_names(graph.output_tree))
    infer_shapes(model)
    run_passes(model, passes)
    model.metadata_props.update(producer() | dict(metadata or {}))
    _refuse_large(model)
    proto = to_proto(model)
    onnx.checker.check_model(proto)
    return _Finish(module, graph, inputs, model, proto, tolerance, {"name": name, **(metadata or {})}).run(passes, verify)


def _refuse_large(model: Model) -> None:
    """Protobuf ends at 2 GiB; weights beside the file are read, but not written yet."""
    size = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value is not None)
    if size > MAXIMUM_FILE_BYTES - (1 << 24):
        raise UnsupportedFeatureError(
            f"the model has {size:,} bytes of weights, an .onnx file holds at most 2 GiB; use a smaller dtype"
        )


def default_output_names(tree: Any) -> list[str]:
    """'output' for one result, keys of a dict, positions in a tuple."""
    names: list[str] = []

    def visit(part: Any, path: tuple[str, ...]) -> None:
        if isinstance(part, dict):
            for key, value in part.items():
                visit(value, (*path, str(key)))
        elif isinstance(part, (tuple, list)):
            for number, value in enumerate(part):
                visit(value, (*path, str(number)))
        elif part is not None:
            names.append(".".join(path) if path and not path[0].isdigit() else "_".join(("output", *path)))

    visit(tree, ())
    return names


class _Finish:
    """The second half of an export: samples, the edge program, the comparison."""

    def __init__(
        self,
        module: Any,
        graph: TraceGraph,
        inputs: Any,
        model: Model,
        proto: onnx.ModelProto,
        tolerance: float,
        metadata: dict[str, str],
    ) -> None:
        self.graph = graph
        self.model, self.proto, self.tolerance, self.metadata = model, proto, tolerance, metadata
        self.inputs = [_port(value.name, value.spec) for value in graph.inputs]
        outputs = [
            _port(name, value.spec) for name, value in zip((o.name or "" for o in model.graph.outputs), graph.outputs, strict=True)
        ]
        self.example = example_arrays(inputs, self.inputs)
        by_name = isinstance(inputs, Mapping)
        self.eager = EagerEngine(
            lambda arrays: run_module(module, [arrays[p.name] for p in self.inputs], self._names(by_name)), self.inputs, outputs
        )

    def _names(self, by_name: bool) -> list[str] | None:
        return [port.name for port in self.inputs] if by_name else None

    def run(self, passes: Sequence[Pass], verify: bool) -> Exported:
        program, refusal = self._program(passes)
        report = VerifyReport(self.tolerance)
        if refusal is not None:
            report.notes.append(f"not on the edge runtime: {refusal}")
        edge = None if program is None else pen_subject(program)
        if verify:
            self._verify(report, [onnx_subject(self.model), *([] if edge is None else [edge])])
        if program is None:
            summary = summarize_model(clone(self.model), self.model.graph.name or "model")
        else:
            summary = summarize_pen(program, "model.pen")
        return Exported(self.proto, None if program is None else program.data, report, summary, refusal)

    def _program(self, passes: Sequence[Pass]) -> tuple[PenFile | None, ExportError | None]:
        """The .pen file, or why there is none: a model that only onnxruntime can run is still an export."""
        sample = golden_sample(self.inputs, self.example)
        outputs = self.eager.run(sample)
        arrays = [outputs[port.name] for port in self.eager.outputs]
        sizes = sizes_in(self.inputs, sample)
        try:
            edge = edge_graph(self.model, self.metadata["name"], passes)
            return build_program(edge, producer() | self.metadata, sample, arrays, sizes, self.tolerance), None
        except (UnsupportedOperatorsError, UnsupportedFeatureError) as error:
            return None, error

    def _verify(self, report: VerifyReport, others: list[Subject]) -> None:
        for sample in (self.example, *self._second()):
            compare_engines(report, [self.eager, *(subject.engine for subject in others)], sample)
            if not report.ok:
                report.divergence = self._divergence(others)
                require_ok(report, "the module was not exported")

    def _divergence(self, others: list[Subject]) -> Divergence | None:
        """The first operator whose result differs from the module's own, at the sizes of the trace."""
        replay = Replay(self.graph, self.model.graph.meta[TRACED])
        sample = resize(self.inputs, self.example, self.graph.symbols)
        found = (find_divergence(replay, other, sample, self.tolerance) for other in others)
        return next((divergence for divergence in found if divergence is not None), None)

    def _second(self) -> list[Arrays]:
        """The example at other sizes of the dynamic dimensions: the first that the module accepts."""
        for sizes in other_sizes(sizes_in(self.inputs, self.example)):
            sample = resize(self.inputs, self.example, sizes)
            try:
                self.eager.run(sample)
            except Exception:  # a size that the module refuses, such as a text longer than its context
                continue
            return [sample]
        return []


def _port(name: str, spec: Any) -> Port:
    return Port(name, np.dtype(spec.dtype.numpy), tuple(symbol_text(size) or int(size) for size in spec.shape))


def example_arrays(inputs: Any, ports: Sequence[Port]) -> Arrays:
    """The caller's tensors as arrays by input name."""
    tensors = (
        list(inputs.values()) if isinstance(inputs, Mapping) else list(inputs) if isinstance(inputs, (tuple, list)) else [inputs]
    )
    return {port.name: np.asarray(t.detach().numpy()) for port, t in zip(ports, tensors, strict=True)}


def sizes_in(ports: Sequence[Port], arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
    """The dynamic dimensions of these arrays."""
    return {size: arrays[p.name].shape[axis] for p in ports for axis, size in enumerate(p.shape) if isinstance(size, str)}


def other_sizes(sizes: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """One more in every dimension, or where a model does not allow it one less, double or half; at most 32 combinations."""
    choices = [
        [size + 1, *([size - 1] if size > 1 else []), 2 * size, *([size // 2] if size > 3 else [])] for size in sizes.values()
    ]
    for chosen in itertools.islice(itertools.product(*choices), 32 if sizes else 0):
        yield dict(zip(sizes, chosen, strict=True))


def resize(ports: Sequence[Port], arrays: Mapping[str, np.ndarray], sizes: Mapping[str, int]) -> Arrays:
    """The same numbers repeated or cut, in reversed order, at other sizes."""
    result: Arrays = {}
    for port in ports:
        array = arrays[port.name]
        shape = tuple(sizes[size] if isinstance(size, str) else size for size in port.shape)
        result[port.name] = (
            np.resize(array.reshape(-1)[::-1], shape).astype(array.dtype) if array.size else np.zeros(shape, array.dtype)
        )
    return result


def golden_sample(ports: Sequence[Port], arrays: Mapping[str, np.ndarray]) -> Arrays:
    """The example with one entry in dynamic first dimensions, since the sample travels in every copy of the file."""
    cut = {port.shape[0] for port in ports if port.shape and isinstance(port.shape[0], str)}
    index = {p.name: tuple(slice(0, 1) if size in cut else slice(None) for size in p.shape) for p in ports}
    return {port.name: np.array(arrays[port.name][index[port.name]], order="C") for port in ports}
