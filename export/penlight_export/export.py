# SPDX-License-Identifier: Apache-2.0
"""From a module of the framework to .onnx and .pen, with proof that the numbers stayed the same."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from penlight.arguments import Arguments, example_arguments
from penlight.dims import Dim
from penlight.nn import Module
from penlight.serialize import atomic_write
from penlight.tracing import TraceGraph, trace
from penlight_export.collection import without_collection
from penlight_export.compare import DEFAULT_TOLERANCE, VerifyReport
from penlight_export.eager import evaluation, run_arguments, state_reset
from penlight_export.edge.program import MethodPart, build_methods
from penlight_export.edge.reader import PenFile
from penlight_export.engines import Arrays, EagerEngine, Port
from penlight_export.errors import ExportError, OptionError, UnsupportedFeatureError, UnsupportedOperatorsError
from penlight_export.graph import Model, clone, from_proto, infer_shapes, states_of
from penlight_export.onnx import weights
from penlight_export.onnx.builder import symbol_text
from penlight_export.onnx.lower import TRACED, lower_trace
from penlight_export.onnx.message import OnnxMessage
from penlight_export.onnx.module_functions import box_modules
from penlight_export.onnx.opsets import DEFAULT_EXPORT, MAXIMUM_EXPORT, MINIMUM_EXPORT
from penlight_export.onnx.weights import ExternalWeights, weight_bytes
from penlight_export.passes import DEFAULT, Pass, portable, run_passes
from penlight_export.pieces import LARGEST_IN_MEMORY, Pieces
from penlight_export.pipeline import edge_graph
from penlight_export.precision import TOLERANCES, in_precision
from penlight_export.provenance import producer
from penlight_export.replay import Replay
from penlight_export.sampling import integer_bounds
from penlight_export.sizes import golden_sample, other_sizes, resize, sizes_in, smallest_sizes
from penlight_export.stages import stage
from penlight_export.structure_onnx import onnx_structure
from penlight_export.subjects import Subject, opened_onnx, pen_subject
from penlight_export.summary import ModelSummary, summarize_pen
from penlight_export.summary_onnx import summarize_model
from penlight_export.verify import compare_engines, keep_divergence, named_inputs, require_ok

_SMALLEST = "smallest sizes"  # the name of a sample


@dataclass
class Exported:
    """A module as ONNX and as an edge program, compared with the module itself.

    The files' weights are those of the module, in its memory: save before you train on, or export again.

    Attributes:
        report: the comparison of all engines.
        onnx_file: the content of the .onnx file; None where its weights go into a second file, see `weights`.
        pen_file: the content of the .pen file; None when the edge runtime lacks something, see `refusal`.
        refusal: why there is no program.
        part: what the program was written from, for programs of several methods.
        weights: what `.save("model.onnx")` writes into a second file; None where everything is in one.
    """

    report: VerifyReport
    onnx_file: Pieces | None = field(repr=False)
    pen_file: Pieces | None = field(default=None, repr=False)
    refusal: ExportError | None = field(default=None, repr=False)
    part: MethodPart | None = field(default=None, repr=False)
    weights: ExternalWeights | None = field(default=None, repr=False)
    _name: str = field(default="model", repr=False)
    _program: PenFile | None = field(default=None, repr=False)

    @cached_property
    def summary(self) -> ModelSummary:
        """Operators, cost and tree, of the program if there is one."""
        if self._program is None:
            return summarize_model(from_proto(self.onnx_model), self._name)
        return summarize_pen(self._program, "model.pen")

    @cached_property
    def onnx_model(self) -> onnx.ModelProto:
        """What the .onnx file holds, as a copy of everything, weights included where they are in the same file."""
        if self.weights is not None:
            return self.weights.proto
        assert self.onnx_file is not None
        return onnx.ModelProto.FromString(self.onnx_file.join())

    @cached_property
    def program(self) -> bytes | None:
        """The bytes of the .pen file, as a copy; None when the edge runtime lacks something, see `refusal`."""
        return None if self.pen_file is None else self.pen_file.join()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes .onnx or .pen by the suffix, atomically: after a failure an older file is still whole.

        Raises:
            OptionError: another suffix.
            UnsupportedOperatorsError, UnsupportedFeatureError: the edge runtime cannot run the model.
            ChangedWeightsError: the module's weights are no longer those that were exported.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix == ".onnx" and self.weights is not None:
            self.weights.save(path)
        elif suffix == ".onnx":
            assert self.onnx_file is not None
            atomic_write(path, self.onnx_file.write)
        elif suffix == ".pen":
            if self.pen_file is None:
                assert self.refusal is not None
                raise self.refusal
            atomic_write(path, self.pen_file.write)
        else:
            raise OptionError(f"{path}: expected a file name that ends in .onnx or .pen")
        return path


@without_collection
def export(
    module: Any,
    inputs: Any,
    *,
    dynamic: Mapping[str, Mapping[int, str | Dim]] | None = None,
    names: Sequence[str] | None = None,
    opset: int = DEFAULT_EXPORT,
    passes: Sequence[Pass] = DEFAULT,
    verify: bool = True,
    tolerance: float | None = None,
    output_names: Sequence[str] = (),
    metadata: Mapping[str, str] | None = None,
    precision: str = "float32",
    data: Sequence[Mapping[str, np.ndarray]] = (),
    external_data: bool | None = None,
    functions: bool = False,
) -> Exported:
    """Exports a module in evaluation mode and compares eager, onnxruntime and the edge runtime before it returns.

    Args:
        module: a `penlight.nn.Module` or any function of tensors.
        inputs: example arguments: a tensor, a tuple of positional ones, or a dict of keyword arguments; each is a tensor,
            None, or tuples, lists and dicts of tensors, whose inputs are called "state.0", "state.h".
        dynamic: which dimensions may vary, by input name, with names, sizes derived from names, or ranges:
            `{"x": {0: "batch", 1: "2*time"}, "y": {0: pl.Dim("batch", max=64)}}`.
        names: of positional inputs; the arguments' names by default.
        opset: version of ai.onnx, 17 to 24.
        passes: optimizer passes; `()` writes what was traced.
        verify: run all engines at the example's sizes and at a second size of every dynamic dimension.
        tolerance: on the absolute difference relative to max(1, largest magnitude of the output); 1e-4 by default, more in 16 bits.
        output_names: instead of "output" or the keys of the result.
        metadata: provenance for the files, such as a checkpoint's checksum.
        precision: "float16" or "bfloat16" convert a copy of the weights and compute in it; inputs and outputs stay as they are.
        data: more inputs to compare on, by name, such as held-out data.
        external_data: write weights into a file beside the .onnx file; by default above 2 GB, which one file cannot hold.
        functions: write each module as an ONNX function of domain "penlight.modules", which the graph calls, into the .onnx file.

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
    if precision != "float32":
        module = in_precision(module, precision)
    tolerance = TOLERANCES.get(precision, DEFAULT_TOLERANCE) if tolerance is None else tolerance
    arguments = example_arguments(module, inputs, names)
    if not arguments.tensors:
        raise OptionError("inputs: expected at least one tensor, came none; a model without inputs is a constant")
    stage("trace")
    with evaluation(module):
        graph = trace(module, inputs, dynamic=dynamic, names=names)
    labels = _checked_names(graph, list(output_names) or default_output_names(graph.output_tree))
    name = type(module).__name__ if hasattr(module, "modules") else getattr(module, "__name__", "model")
    model = lower_trace(graph, opset, name, output_names=labels)
    stage("optimize")
    infer_shapes(model)
    run_passes(model, portable(passes))
    stage("write")
    model.metadata_props.update(producer() | dict(metadata or {}))
    outside = weight_bytes(model) > weights.LARGEST_INLINE_BYTES if external_data is None else external_data
    written = _with_functions(model, module) if functions else model
    message = OnnxMessage(written)
    onnx.checker.check_model(message.outline())
    beside = ExternalWeights(written) if outside else None
    finish = _Finish(module, graph, arguments, model, message.pieces(), tolerance, {"name": name, **(metadata or {})}, beside)
    return finish.run(passes, verify, data)


def _with_functions(model: Model, module: Any) -> Model:
    """A copy in which modules are functions; the program is made from the model as it is."""
    boxed = clone(model)
    boxed.graph.meta.clear()
    root: Any = module if hasattr(module, "named_modules") else getattr(module, "__self__", None)  # a method's module
    modules = root.named_modules() if hasattr(root, "named_modules") else ()
    box_modules(boxed, {path: type(each).__name__ for path, each in modules if type(each).forward is not Module.forward})
    return boxed


def _checked_names(graph: TraceGraph, names: list[str]) -> list[str]:
    """The names of the outputs.

    Raises:
        OptionError: one is missing, given twice, or the name of an input.
    """
    taken = {value.name for value in graph.inputs}
    if len(names) != len(graph.outputs):
        raise OptionError(f"output_names: expected {len(graph.outputs)}, one for each output of the model, came {names}")
    for number, name in enumerate(names):
        if name in taken or name in names[:number]:
            kind = "an input" if name in taken else "another output"
            raise OptionError(
                f"output_names: {name!r} is the name of {kind} as well; pass output_names=[...] with names of their own"
            )
    return names


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
        arguments: Arguments,
        model: Model,
        file: Pieces,
        tolerance: float,
        metadata: dict[str, str],
        weights: ExternalWeights | None,
    ) -> None:
        self.graph = graph
        self.weights = weights
        self.part: MethodPart | None = None
        self.file, self.tolerance, self.metadata = file, tolerance, metadata
        self.model, self.traced = model, model.graph.meta.pop(TRACED)  # the model becomes the edge graph, which outlives the trace
        self.states, self.bounds = [state.initial for state in states_of(model)], integer_bounds(model)
        self.inputs = [_port(value.name, value.spec) for value in graph.inputs]
        outputs = [
            _port(name, value.spec) for name, value in zip((o.name or "" for o in model.graph.outputs), graph.outputs, strict=False)
        ]
        self.example = {name: np.asarray(t.detach().numpy()) for name, t in arguments.tensors.items()}
        self.eager = EagerEngine(lambda arrays: run_arguments(module, arguments, arrays), self.inputs, outputs, state_reset(module))

    def run(self, passes: Sequence[Pass], verify: bool, data: Sequence[Mapping[str, np.ndarray]]) -> Exported:
        """Everything that is left; the module's own states are as before in the end."""
        try:
            return self._run(passes, verify, data)
        finally:
            self.eager.reset()

    def _run(self, passes: Sequence[Pass], verify: bool, data: Sequence[Mapping[str, np.ndarray]]) -> Exported:
        program, refusal = self._program(passes)
        report = VerifyReport(self.tolerance)
        read = {id(value) for node in self.graph.all_nodes() for value in node.inputs} | {id(value) for value in self.graph.outputs}
        report.notes += [f"the model does not use its input {v.name!r}" for v in self.graph.inputs if id(v) not in read]
        if refusal is not None:
            report.notes.append(f"not on the edge runtime: {refusal}")
        if verify:
            stage("compare")
            edge = [] if program is None else [pen_subject(program)]
            with self._onnx_subject() as plain:
                self._verify(report, [plain, *edge], data)
        pieces = None if program is None else program.pieces
        file = self.file if self.weights is None else None
        return Exported(report, file, pieces, refusal, self.part, self.weights, self.metadata["name"] or "model", program)

    def _proto(self) -> onnx.ModelProto:
        return onnx.ModelProto.FromString(self.file.join())

    @contextmanager
    def _onnx_subject(self) -> Iterator[Subject]:
        """The model on onnxruntime; with large weights, from a file that is there only meanwhile."""
        if self.weights is None and self.file.size_bytes <= LARGEST_IN_MEMORY:
            yield opened_onnx(self.file.join(), self._proto, self.states, self.bounds)
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            if self.weights is None:
                atomic_write(path, self.file.write)
            else:
                self.weights.save(path)
            yield opened_onnx(os.fspath(path), self._proto, self.states, self.bounds, large=True)

    def _program(self, passes: Sequence[Pass]) -> tuple[PenFile | None, ExportError | None]:
        """The .pen file, or why there is none: a model that only onnxruntime can run is still an export."""
        sample, outputs = self._golden()
        arrays = [outputs[port.name] for port in self.eager.outputs]
        sizes = sizes_in(self.inputs, sample)
        try:
            edge = edge_graph(self.model, self.metadata["name"], passes, optimized=True, in_place=True)
            self.part = MethodPart(edge, sample, arrays, sizes)
            return build_methods({"forward": self.part}, producer() | self.metadata, self.tolerance), None
        except (UnsupportedOperatorsError, UnsupportedFeatureError) as error:
            return None, error

    def _golden(self) -> tuple[Arrays, Arrays]:
        """The sample in the .pen file and the module's results: one entry of a batch, or the example where it refuses that."""
        sample = golden_sample(self.inputs, self.example, self.graph.dims)
        self.eager.reset()
        try:
            return sample, self.eager.run(sample)
        except Exception:  # of many kinds, as below
            self.eager.reset()
            return self.example, self.eager.run(self.example)

    def _verify(self, report: VerifyReport, others: list[Subject], data: Sequence[Mapping[str, np.ndarray]]) -> None:
        sizes = sizes_in(self.inputs, self.example)
        samples = [
            ("example", self.example),
            *(("other sizes", arrays) for arrays in self._first_accepted(other_sizes(sizes, self.graph.dims))),
            *((_SMALLEST, arrays) for arrays in self._first_accepted(smallest_sizes(sizes, self.graph.dims))),
        ]
        for name, arrays in [*samples, *(("data", named_inputs(arrays, self.inputs)) for arrays in data)]:
            compare_engines(report, [self.eager, *(subject.engine for subject in others)], arrays, name)
            if not report.ok:
                self._find_divergence(report, others)
                branches = name == _SMALLEST and " (if it branches on a size, leave the other side out: pl.Dim(name, min=...))"
                require_ok(report, f"the module was not exported{branches or ''}")

    def _find_divergence(self, report: VerifyReport, others: list[Subject]) -> None:
        """The first operator whose result differs from the module's own, at the sizes of the trace."""
        replay = Replay(self.graph, self.traced)
        sample = resize(self.inputs, self.example, self.graph.symbols)
        for other in others:
            if report.divergence is None:
                keep_divergence(report, replay, other, sample)
        report.structure = onnx_structure(from_proto(self._proto()))

    def _first_accepted(self, candidates: Iterable[Mapping[str, int]]) -> list[Arrays]:
        """The example at other sizes of the dynamic dimensions: the first that the module accepts."""
        for sizes in candidates:
            sample = resize(self.inputs, self.example, sizes)
            try:
                self.eager.run(sample)
            except Exception:  # a size that the module refuses, such as a text longer than its context
                continue
            return [sample]
        return []


def _port(name: str, spec: Any) -> Port:
    return Port(name, np.dtype(spec.dtype.numpy), tuple(symbol_text(size) or int(size) for size in spec.shape))
