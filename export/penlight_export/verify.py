# SPDX-License-Identifier: Apache-2.0
"""Compares models: the same inputs through each, output by output, and on a difference layer by layer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx

from penlight_export.compare import DEFAULT_TOLERANCE, Divergence, VerifyReport, difference
from penlight_export.edge.reader import PenFile, read_pen
from penlight_export.engines import Arrays, EagerEngine, EdgeEngine, Engine, Port, open_onnx
from penlight_export.errors import EngineError, OptionError, VerifyError
from penlight_export.graph import Model, to_proto
from penlight_export.layers import Layer, first_divergence, onnx_layers, onnx_values, pen_layers, pen_values
from penlight_export.onnx.importer import load_onnx
from penlight_export.sampling import candidate_sizes, dimension_name, integer_bounds, make_inputs


@dataclass
class Subject:
    """A model that takes part in a comparison, with what layer-wise comparison needs of it."""

    engine: Engine
    proto: onnx.ModelProto | None = None
    pen: PenFile | None = None
    bounds: Mapping[str, int] | None = None

    def layers(self) -> list[Layer]:
        """The values that can be looked at."""
        if self.proto is not None:
            return onnx_layers(self.proto)
        return [] if self.pen is None else pen_layers(self.pen)

    def values(self, names: list[str], inputs: Mapping[str, np.ndarray]) -> Arrays:
        """Named intermediate values for one input."""
        if self.proto is not None:
            return onnx_values(self.proto, names, inputs)
        assert self.pen is not None
        return pen_values(self.pen, names, inputs)


def verify(
    a: Any,
    b: Any,
    data: Mapping[str, np.ndarray] | Sequence[np.ndarray] | None = None,
    *,
    tolerance: float = DEFAULT_TOLERANCE,
    seed: int = 0,
) -> VerifyReport:
    """Compares two models on the same inputs; the first one is the reference.

    Args:
        a, b: paths of .onnx or .pen files; one may be a `penlight.nn.Module`.
        data: inputs by name or in order. None: the golden sample of a .pen file, and random inputs at two sizes of every dimension
            that varies.
        tolerance: on the absolute difference relative to max(1, largest magnitude of the reference's output).
        seed: of the random inputs.

    Returns:
        A report; `report.ok` tells, `report.divergence` names the first layer that differs.

    Raises:
        OptionError: the models take different inputs, or a suffix is unknown.
        EngineError: an engine cannot run its model, or no random input is accepted.
    """
    if _is_path(b) and not _is_path(a):
        other = open_subject(b)
        return _compare(module_subject(a, other.engine), other, data, tolerance, seed)
    first = open_subject(a)
    second = open_subject(b) if _is_path(b) else module_subject(b, first.engine)
    return _compare(first, second, data, tolerance, seed)


def _is_path(value: Any) -> bool:
    return isinstance(value, (str, os.PathLike))


def open_subject(path: str | os.PathLike[str]) -> Subject:
    """Opens a file by its suffix."""
    suffix = Path(path).suffix.lower()
    if suffix == ".onnx":
        return onnx_subject(load_onnx(path), os.fspath(path))
    if suffix == ".pen":
        return pen_subject(path)
    raise OptionError(f"{os.fspath(path)}: expected an .onnx or .pen file, came suffix '{suffix}'")


def onnx_subject(model: Model, path: str | None = None) -> Subject:
    """A graph on onnxruntime; from its file when it came from one, since weights may lie beside it."""
    proto = to_proto(model)
    engine = open_onnx(proto.SerializeToString() if path is None else path)
    return Subject(engine, proto=proto, bounds=integer_bounds(model))


def pen_subject(source: str | os.PathLike[str] | bytes | PenFile) -> Subject:
    """A program on the edge runtime; its golden sample tells how large integers may be."""
    file = source if isinstance(source, PenFile) else read_pen(source)
    bounds: dict[str, int] = {}
    for sample in file.program.golden():
        for name, array in sample.inputs.items():
            if array.dtype.kind in "iu" and array.size:
                bounds[name] = max(bounds.get(name, 1), int(array.max()) + 1)
    return Subject(EdgeEngine(file.program), pen=file, bounds=bounds)


def module_subject(module: Any, like: Engine) -> Subject:
    """A module of the framework, called with the inputs of the other model in their order."""
    from penlight_export.eager import run_module  # here: comparing two files needs no framework

    names = [port.name for port in like.inputs]
    return Subject(EagerEngine(lambda inputs: run_module(module, [inputs[name] for name in names]), like.inputs, like.outputs))


def _compare(a: Subject, b: Subject, data: Any, tolerance: float, seed: int) -> VerifyReport:
    _check_interfaces(a.engine, b.engine)
    report = VerifyReport(tolerance)
    failed: Mapping[str, np.ndarray] | None = None
    for inputs in _inputs(a, b, data, seed):
        before = len(report.rows)
        compare_engines(report, [a.engine, b.engine], inputs)
        if failed is None and any(not row.ok for row in report.rows[before:]):
            failed = inputs
    if failed is not None:
        report.divergence = find_divergence(a, b, failed, tolerance)
    return report


def _check_interfaces(a: Engine, b: Engine) -> None:
    for kind, left, right in (("inputs", a.inputs, b.inputs), ("outputs", a.outputs, b.outputs)):
        if [(p.name, p.dtype) for p in left] != [(p.name, p.dtype) for p in right]:
            ours, theirs = (", ".join(f"{p.name} {p.dtype}" for p in ports) for ports in (left, right))
            raise OptionError(f"the models have different {kind}: {ours} against {theirs}; compare models with the same interface")


def _inputs(a: Subject, b: Subject, data: Any, seed: int) -> Iterable[Arrays]:
    """The given data, or golden samples and random inputs."""
    if data is not None:
        return [named_inputs(data, a.engine.inputs)]
    golden = [sample.inputs for subject in (a, b) if subject.pen is not None for sample in subject.pen.program.golden()]
    bounds = _smallest([subject.bounds for subject in (a, b)])
    return [*golden[:1], *random_inputs([a.engine, b.engine], _more_fixed(a.engine.inputs, b.engine.inputs), bounds, seed)]


def _more_fixed(ports: Sequence[Port], others: Sequence[Port]) -> list[Port]:
    """Sizes that one of two models fixes are fixed for both."""
    merged = []
    for port, other in zip(ports, others, strict=True):
        sizes = zip(port.shape, other.shape, strict=True) if len(port.shape) == len(other.shape) else ()
        merged.append(Port(port.name, port.dtype, tuple(y if isinstance(y, int) else x for x, y in sizes) or port.shape))
    return merged


def _smallest(bounds: Sequence[Mapping[str, int] | None]) -> dict[str, int]:
    merged: dict[str, int] = {}
    for each in bounds:
        for name, bound in (each or {}).items():
            merged[name] = min(bound, merged.get(name, bound))
    return merged


def random_inputs(engines: Sequence[Engine], ports: Sequence[Port], bounds: Mapping[str, int], seed: int = 0) -> list[Arrays]:
    """Random inputs at two sizes of every dimension that varies, of the first candidates that all engines accept.

    Raises:
        EngineError: they accept none; the message holds the last word.
    """
    refused: EngineError | None = None
    empty: list[Arrays] | None = None
    for assignments in candidate_sizes(ports):
        try:
            samples = [make_inputs(ports, sizes, bounds, seed + k) for k, sizes in enumerate(assignments)]
            outputs = [array for inputs in samples for engine in engines for array in engine.run(inputs).values()]
        except EngineError as error:
            refused = error
            continue
        if all(array.size for array in outputs):
            return samples
        empty = empty or samples  # an image smaller than a pooling window, for example: a larger one tells more
    if empty is not None:
        return empty
    raise EngineError(f"no sizes of the varying dimensions were accepted, so pass data to verify with ({refused})")


def named_inputs(data: Any, ports: Sequence[Port]) -> Arrays:
    if not isinstance(data, Mapping):
        if len(data) != len(ports):
            raise OptionError(f"expected {len(ports)} input arrays, came {len(data)}")
        data = {port.name: array for port, array in zip(ports, data, strict=True)}
    missing = [port.name for port in ports if port.name not in data]
    if missing:
        raise OptionError(f"the data lacks the inputs {', '.join(missing)}; it has {', '.join(data) or 'nothing'}")
    return {port.name: np.asarray(data[port.name]) for port in ports}


def compare_engines(report: VerifyReport, engines: Sequence[Engine], inputs: Mapping[str, np.ndarray]) -> list[Arrays]:
    """Runs all engines, adds a row per output and pair, and returns what each gave."""
    results = [engine.run(inputs) for engine in engines]
    sizes = sizes_of(engines, inputs)
    for left in range(len(engines)):
        for right in range(left + 1, len(engines)):
            for port in engines[0].outputs:
                found = difference(results[left][port.name], results[right][port.name])
                report.add(engines[left].label, engines[right].label, port.name, sizes, found)
    return results


def sizes_of(engines: Sequence[Engine], inputs: Mapping[str, np.ndarray]) -> dict[str, int]:
    """The named dimensions of these inputs."""
    sizes: dict[str, int] = {}
    for port in engines[0].inputs:
        for axis, size in enumerate(port.shape):
            if (isinstance(size, str) and size.isidentifier()) or size == "?":
                sizes[dimension_name(port, axis)] = inputs[port.name].shape[axis]
    return sizes


class Inspectable(Protocol):
    """What a comparison layer by layer needs."""

    def layers(self) -> list[Layer]:
        """The values that can be looked at, in the order of computation."""

    def values(self, names: list[str], inputs: Mapping[str, np.ndarray]) -> Arrays:
        """Named values for one input."""


def find_divergence(a: Inspectable, b: Inspectable, inputs: Mapping[str, np.ndarray], tolerance: float) -> Divergence | None:
    """The first layer that differs, None when the two have no values of one name, or layers cannot be looked at."""
    known = {layer.value for layer in b.layers()}
    common = [layer for layer in a.layers() if layer.value in known]
    if not common:
        return None
    probe: list[Callable[[list[str]], Arrays]] = [lambda names, s=s: s.values(names, inputs) for s in (a, b)]  # type: ignore[misc]  # no type of a default
    try:
        return first_divergence(common, probe[0], probe[1], tolerance)
    except EngineError:
        return None  # values of a kind that cannot be outputs: the rows of the report stand on their own


def require_ok(report: VerifyReport, what: str) -> None:
    """Raises VerifyError with the worst row and the first layer that differs."""
    if report.ok:
        return
    row = report.worst
    assert row is not None
    place = f"output '{row.output}'" + "".join(f", {name}={size}" for name, size in row.sizes.items())
    detail = f": {row.note}" if row.note else f": max abs difference {row.max_abs:.3g} at tolerance {report.tolerance:g}"
    first = f"; {report.divergence}" if report.divergence is not None else ""
    error = VerifyError(f"{what}: {row.engine} differs from {row.reference} in {place}{detail}{first}")
    error.report = report  # type: ignore[attr-defined]  # an extra for those who catch it
    raise error
