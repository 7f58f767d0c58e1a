# SPDX-License-Identifier: Apache-2.0
"""Compares models: the same inputs through each, output by output, and on a difference layer by layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from penlight_export.compare import DEFAULT_TOLERANCE, Divergence, VerifyReport, difference
from penlight_export.engines import Arrays, Engine, Port
from penlight_export.errors import EngineError, OptionError, VerifyError
from penlight_export.layers import Layer, first_divergence
from penlight_export.plots import describe_pair
from penlight_export.sampling import candidate_sizes, dimension_name, dimension_names, make_inputs
from penlight_export.subjects import Subject, example_interface, is_path, methods_of, module_subject, open_subject

_STEPS = 3  # runs of models with states


class Sample(NamedTuple):
    """Inputs of one run, with a name for reports, such as the file that they came from."""

    name: str
    arrays: Mapping[str, np.ndarray] | Sequence[np.ndarray]


def verify(
    a: Any,
    b: Any,
    data: Mapping[str, np.ndarray] | Sequence[np.ndarray] | Sequence[Sample] | None = None,
    *,
    engines: Sequence[str | None] = (None, None),
    tolerance: float = DEFAULT_TOLERANCE,
    seed: int = 0,
) -> VerifyReport:
    """Compares two models on the same inputs; the first one is the reference.

    Of .pen files with several methods, each is compared: with the method of the same name of another file or of a module. A file of
    one graph is compared with the method that takes its inputs.

    Args:
        a, b: paths of .onnx or .pen files, or modules of the framework; two modules need data by name.
        data: inputs by name or in order, or a list of `Sample`s. None: the golden sample of a .pen file, and random inputs at two
            sizes of every dimension that varies.
        engines: what each model runs on: "onnxruntime" (an .onnx file by default), "reference" (ONNX's own implementation), "edge"
            (a .pen file by default) or "eager" (the framework: a file's graph is imported). A module runs on "eager" alone.
        tolerance: on the absolute difference relative to max(1, largest magnitude of the reference's output).
        seed: of the random inputs.

    Returns:
        A report; `report.ok` tells, `report.divergence` names the first layer that differs.

    Raises:
        OptionError: the models take different inputs, a suffix is unknown, or an engine does not run this kind of model.
        EngineError: an engine cannot run its model, or no random input is accepted.
    """
    report = VerifyReport(tolerance)
    if not is_path(a) and not is_path(b):
        pairs = {"": _module_pair(a, b, data, engines)}
    else:
        pairs = {name or "": _open_pair(a, b, engines, name) for name in _methods(a, b)}
    for name, (first, second) in pairs.items():
        _tell_apart(first, second, a, b)
        if len(pairs) > 1:
            first.engine.label, second.engine.label = (f"{each.engine.label} {name}" for each in (first, second))
        _compare(report, first, second, _samples(first, second, _data_for(data, first, len(pairs)), seed))
    return report


def _methods(a: Any, b: Any) -> list[str | None]:
    """The methods to compare; [None] for models of one."""
    known = [methods_of(model) for model in (a, b)]
    if len(known[0]) > 1 and len(known[1]) > 1:
        if set(known[0]) != set(known[1]):
            raise OptionError(f"the files have different methods: {', '.join(known[0])} against {', '.join(known[1])}")
        return [*known[0]]
    several, other = (known[0], b) if len(known[0]) > 1 else (known[1], a)
    if len(several) < 2:
        return [None]
    found: list[str | None] = []
    if not is_path(other):
        found += [name for name in several if callable(getattr(other, name, None))]
    else:
        names, pen = {port.name for port in open_subject(other).engine.inputs}, a if other is b else b
        found += [name for name in several if {port.name for port in open_subject(pen, None, name).engine.inputs} == names][:1]
    return found or [None]


def _open_pair(a: Any, b: Any, engines: Sequence[str | None], method: str | None) -> tuple[Subject, Subject]:
    """Two models, of which at least one is a file; a module is called as its method of that name, if it has one."""

    def opened(model: Any, engine: str | None) -> Subject:
        return open_subject(model, engine, method if len(methods_of(model)) > 1 else None)

    def called(module: Any) -> Any:
        return module if method is None else getattr(module, method, module)

    if not is_path(a):
        second = opened(b, engines[1])
        return module_subject(called(a), second.engine, engines[0]), second
    first = opened(a, engines[0])
    return first, opened(b, engines[1]) if is_path(b) else module_subject(called(b), first.engine, engines[1])


def _data_for(data: Any, subject: Subject, count: int) -> Any:
    """The data, unless they are those of another one of several methods."""
    if data is None or count == 1:
        return data
    names = {port.name for port in subject.engine.inputs}
    fitting = [s for s in _named_samples(data) if isinstance(s.arrays, Mapping) and names <= set(s.arrays)]
    return fitting or None


def _module_pair(a: Any, b: Any, data: Any, engines: Sequence[str | None]) -> tuple[Subject, Subject]:
    """Two modules, with the interface that the data have."""
    samples = [] if data is None else _named_samples(data)
    if not samples or not isinstance(samples[0].arrays, Mapping):
        raise OptionError("two modules say nothing of their inputs: pass data by name, or compare with the file of an export")
    like = example_interface(a, samples[0].arrays)
    return module_subject(a, like, engines[0]), module_subject(b, like, engines[1])


def _named_samples(data: Any) -> Sequence[Sample]:
    return data if isinstance(data, Sequence) and data and isinstance(data[0], Sample) else [Sample("data", data)]


def _tell_apart(first: Subject, second: Subject, a: Any, b: Any) -> None:
    if first.engine.label == second.engine.label:
        names = [Path(each).name if is_path(each) else type(each).__name__ for each in (a, b)]
        for subject, name, place in zip((first, second), names, ("first", "second"), strict=True):
            subject.engine.label += f" of {name}" if names[0] != names[1] else f" of the {place} {name}"


def _compare(report: VerifyReport, a: Subject, b: Subject, samples: Iterable[tuple[str, Arrays]]) -> None:
    failed: Mapping[str, np.ndarray] | None = None
    for name, inputs in samples:
        before = len(report.rows)
        compare_engines(report, [a.engine, b.engine], inputs, name)
        if failed is None and any(not row.ok for row in report.rows[before:]):
            failed = inputs
    if failed is not None and report.divergence is None:
        keep_divergence(report, a.at(failed), b.at(failed), failed)


def _check_interfaces(a: Engine, b: Engine) -> None:
    for kind, left, right in (("inputs", a.inputs, b.inputs), ("outputs", a.outputs, b.outputs)):
        if [(p.name, p.dtype) for p in left] != [(p.name, p.dtype) for p in right]:
            ours, theirs = (", ".join(f"{p.name} {p.dtype}" for p in ports) for ports in (left, right))
            raise OptionError(f"the models have different {kind}: {ours} against {theirs}; compare models with the same interface")


def _samples(a: Subject, b: Subject, data: Any, seed: int) -> Iterable[tuple[str, Arrays]]:
    """The given data, or golden samples and random inputs."""
    _check_interfaces(a.engine, b.engine)
    if data is not None:
        return [(sample.name, named_inputs(sample.arrays, a.engine.inputs)) for sample in _named_samples(data)]
    golden = [sample for subject in (a, b) for sample in subject.golden()]
    bounds = _smallest([subject.bounds for subject in (a, b)])
    drawn = random_inputs([a.engine, b.engine], _more_fixed(a.engine.inputs, b.engine.inputs), bounds, seed)
    return [*(("golden sample", inputs) for inputs in golden[:1]), *((f"random {k + 1}", each) for k, each in enumerate(drawn))]


def _more_fixed(ports: Sequence[Port], others: Sequence[Port]) -> list[Port]:
    """Sizes that one of two models fixes are fixed for both."""
    merged = []
    for port, other in zip(ports, others, strict=True):
        sizes = zip(port.shape, other.shape, strict=True) if len(port.shape) == len(other.shape) else ()
        shape = tuple(y if isinstance(y, int) else x for x, y in sizes) or port.shape
        merged.append(port._replace(shape=shape, texts=min((port.texts, other.texts), key=_longest)))
    return merged


def _longest(texts: Sequence[str]) -> float:
    """Bytes of the longest string; of two models' words those that fit into both are taken."""
    return max((len(text.encode()) for text in texts), default=np.inf)


def _smallest(bounds: Sequence[Mapping[str, int] | None]) -> dict[str, int]:
    merged: dict[str, int] = {}
    for each in bounds:
        for name, bound in (each or {}).items():
            merged[name] = min(bound, merged.get(name, bound))
    return merged


def random_inputs(engines: Sequence[Engine], ports: Sequence[Port], bounds: Mapping[str, int], seed: int = 0) -> list[Arrays]:
    """Random inputs at two sizes of every dimension that varies, of the first candidates that all engines accept.

    Raises:
        EngineError: they accept none; the message holds the last word, or is it where no dimension varies.
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
    if refused is not None and not dimension_names(ports):
        raise refused
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


def compare_engines(
    report: VerifyReport, engines: Sequence[Engine], inputs: Mapping[str, np.ndarray], sample: str = ""
) -> list[Arrays]:
    """Runs all engines from their first state, adds a row per output and pair, and returns what each gave.

    Those with states run several times on the same inputs, so that what they keep is compared too. Where they differ, an engine
    whose own rewriting may be to blame runs once more without it; if all agree then, those rows count, and a note says so. If they
    do not, ONNX's reference implementation is asked in the place of an engine whose kernels may be to blame, in the same way.
    """
    found = VerifyReport(report.tolerance)
    results = _compare_steps(found, engines, inputs, sample)
    if not found.ok:
        found, results = _without_rewriting(engines, inputs, sample, (found, results))
    if not found.ok:
        found, results = _judged(engines, inputs, sample, (found, results))
    report.join(found)
    return results


_Found = tuple[VerifyReport, list[Arrays]]


def _without_rewriting(engines: Sequence[Engine], inputs: Mapping[str, np.ndarray], sample: str, before: _Found) -> _Found:
    """The comparison with engines that compute the model as it is written, if they agree; else the one before."""
    found = VerifyReport(before[0].tolerance)
    try:
        plain = [engine.as_written() for engine in engines]
        if not any(plain):
            return before
        results = _compare_steps(found, [new or old for new, old in zip(plain, engines, strict=True)], inputs, sample)
    except EngineError:
        return before
    if not found.ok:
        return before
    names = " and ".join(engine.label for engine, new in zip(engines, plain, strict=True) if new is not None)
    found.notes.append(
        f"{names}: its optimizer rewrites this quantized model, and its results then differ by more than the tolerance; it agrees "
        "when it runs the operators as they are written, which is what rows that say 'not optimized' compare"
    )
    return found, results


def _judged(engines: Sequence[Engine], inputs: Mapping[str, np.ndarray], sample: str, before: _Found) -> _Found:
    """The comparison with ONNX's reference implementation, if all others agree with it; else the one before."""
    found = VerifyReport(before[0].tolerance)
    try:
        judges = [engine.on_reference() for engine in engines]
        if not any(judges):
            return before
        results = _compare_steps(found, [new or old for new, old in zip(judges, engines, strict=True)], inputs, sample)
    except EngineError as error:
        before[0].notes.append(f"there was no third opinion: {error}")
        return before
    if not found.ok:
        before[0].notes.append("ONNX's reference implementation does not agree either")
        return before
    for engine, new in zip(engines, judges, strict=True):
        if new is not None:
            found.notes.append(
                f"{engine.label} computes this quantized model otherwise than ONNX's reference implementation, with which the "
                f"others agree, and which rows that say '{new.label}' compare{engine.first_wrong(inputs)}"
            )
    return found, results


def _compare_steps(report: VerifyReport, engines: Sequence[Engine], inputs: Mapping[str, np.ndarray], sample: str) -> list[Arrays]:
    for engine in engines:
        engine.reset()
        if engine.note and engine.note not in report.notes:
            report.notes.append(engine.note)
    for _ in range(_STEPS if any(engine.has_states for engine in engines) else 1):
        results = _compare_run(report, engines, inputs, sample)
    return results


def _compare_run(report: VerifyReport, engines: Sequence[Engine], inputs: Mapping[str, np.ndarray], sample: str) -> list[Arrays]:
    results = [engine.run(inputs) for engine in engines]
    sizes = sizes_of(engines, inputs)
    for left in range(len(engines)):
        for right in range(left + 1, len(engines)):
            for port in engines[0].outputs:
                pair = (results[left][port.name], results[right][port.name])
                row = report.add(engines[left].label, engines[right].label, port.name, sizes, difference(*pair), sample)
                report.add_pair(row, *pair)
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

    def reference(names: list[str]) -> Arrays:
        return a.values(names, inputs)

    def other(names: list[str]) -> Arrays:
        return b.values(names, inputs)

    try:
        return first_divergence(common, reference, other, tolerance) if common else None
    except EngineError:
        return None  # values of a kind that cannot be outputs: the rows of the report stand on their own


def keep_divergence(report: VerifyReport, a: Inspectable, b: Inspectable, inputs: Mapping[str, np.ndarray]) -> None:
    """Notes in a report the first layer that differs, and what its two tensors are like."""
    found = report.divergence = find_divergence(a, b, inputs, report.tolerance)
    if found is not None:
        left, right = (side.values([found.value], inputs)[found.value] for side in (a, b))
        if left.shape == right.shape and left.size and left.dtype.kind != "O":
            report.plots = {
                f"first difference: {found.value}": {"max_abs": found.max_abs, **describe_pair(left, right)},
                **report.plots,
            }


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
