# SPDX-License-Identifier: Apache-2.0
"""Finds the first layer where two models differ, by making every intermediate value an output of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

import penlight_runtime
from penlight_export.compare import DEFAULT_TOLERANCE, Difference, Divergence, difference
from penlight_export.edge.generated import pen_generated as pen
from penlight_export.edge.reader import PenFile
from penlight_export.edge.writer import reassemble
from penlight_export.engines import Arrays, OnnxEngine
from penlight_export.errors import EngineError
from penlight_export.graph import MODULE_PATH, SOURCE

_TABLE_LIMIT = 64  # outputs per run: all values of a large model at once would not fit into memory


@dataclass(frozen=True)
class Layer:
    """Where a value comes from, and the names of what it is computed from where they are known."""

    value: str
    operator: str
    module_path: str = ""
    source: str = ""
    inputs: tuple[str, ...] = ()


def onnx_layers(proto: onnx.ModelProto) -> list[Layer]:
    """Every node output of the main graph in order."""
    layers = []
    for node in proto.graph.node:
        notes = {entry.key: entry.value for entry in node.metadata_props}
        place = (node.op_type, notes.get(MODULE_PATH, ""), notes.get(SOURCE, ""), tuple(node.input))
        layers += [Layer(name, *place) for name in node.output if name]
    return layers


def pen_layers(file: PenFile, number: int = 0) -> list[Layer]:
    """Every node output of a method whose rank is known, in order."""
    method = file.methods[number]
    layers = []
    for node in method.nodes:
        for index in node.outputs:
            if index >= 0 and method.values[index].shape is not None:
                inputs = tuple(method.values[k].name for k in node.inputs if k >= 0)
                layers.append(Layer(method.values[index].name, node.operator, node.module_path, node.source, inputs))
    return layers


def onnx_values(proto: onnx.ModelProto, names: list[str], inputs: Mapping[str, np.ndarray], on_reference: bool = False) -> Arrays:
    """Runs an ONNX model on onnxruntime without its own rewriting, or on ONNX's reference, and returns the named values."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    if on_reference:
        return evaluate_reference(copy, names, inputs)
    return OnnxEngine(copy.SerializeToString(), optimize=False).run(inputs)


def evaluate_reference(proto: onnx.ModelProto, names: list[str], inputs: Mapping[str, np.ndarray]) -> Arrays:
    """The named outputs of a model whose outputs need not be typed."""
    from onnx.reference import ReferenceEvaluator  # here: slow to import and rarely needed

    try:
        with np.errstate(all="ignore"):
            return dict(zip(names, map(np.asarray, ReferenceEvaluator(proto).run(None, dict(inputs))), strict=True))
    except Exception as error:  # NumPy raises many kinds
        raise EngineError(f"the reference implementation of ONNX failed while its layers were compared: {error}") from error


def pen_values(file: PenFile, names: list[str], inputs: Mapping[str, np.ndarray], number: int = 0) -> Arrays:
    """Runs a method of a .pen program with the named values as its outputs."""
    tables = pen.ProgramT.InitFromObj(pen.Program.GetRootAs(file.data))
    method = tables.methods[number]
    index = {value.name: place for place, value in enumerate(file.methods[number].values)}
    method.outputs = [index[name] for name in names]
    tables.golden, tables.resources = None, None
    try:
        session = penlight_runtime.Program(reassemble(tables, file.data)).session(file.methods[number].name)
        return dict(zip(names, session.run(inputs).values(), strict=True))
    except penlight_runtime.RuntimeFailure as error:
        raise EngineError(f"the edge runtime failed while its layers were compared: {error}") from error


_SUMS_OF_BYTES = frozenset({"ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul"})


def first_wrong_layer(proto: onnx.ModelProto, inputs: Mapping[str, np.ndarray]) -> str:
    """Says which layer of a model onnxruntime, without its optimizer, is the first to compute otherwise than ONNX's reference.

    "" where they agree, or where a value cannot be looked at.
    """

    def values(on_reference: bool) -> Probe:
        return lambda names: onnx_values(proto, names, inputs, on_reference)

    try:
        found = first_divergence(onnx_layers(proto), values(True), values(False), DEFAULT_TOLERANCE)
    except EngineError:
        return ""
    if found is None:
        return ""
    why = (
        "; on x86 processors without VNNI its sums of unsigned by signed bytes saturate" if found.operator in _SUMS_OF_BYTES else ""
    )
    return f": {found.operator} '{found.value}' is its first layer that differs{why}"


Probe = Callable[[list[str]], Arrays]


def first_divergence(layers: list[Layer], reference: Probe, other: Probe, tolerance: float) -> Divergence | None:
    """The first layer whose values differ by more than the tolerance.

    Looks at some layers spread over the model, then again between the last that agrees and the first that differs, so that a
    model of 4,000 layers runs twice, and at last whether what the found layer reads agrees; if not, the search goes on there.

    Args:
        layers: values that both sides have, in the order of computation.
        reference, other: functions from a list of names to arrays.
        tolerance: on the difference relative to max(1, largest magnitude).
    """
    search = _Search(layers, reference, other, tolerance)
    found = search.between(layers) or search.anywhere()
    while found is not None:
        origin = search.between(search.read_by(found))
        if origin is None:
            break
        found = origin
    if found is None:
        return None
    max_abs = search.known[found.value].max_abs
    return Divergence(found.value, found.operator, found.module_path, found.source, max_abs, len(layers))


class _Search:
    """Looks at layers, each at most once."""

    def __init__(self, layers: list[Layer], reference: Probe, other: Probe, tolerance: float) -> None:
        self.layers, self.reference, self.other, self.tolerance = layers, reference, other, tolerance
        self.place = {layer.value: number for number, layer in enumerate(layers)}
        self.known: dict[str, Difference] = {}

    def between(self, part: list[Layer]) -> Layer | None:
        """The first of the layers that differs, if differences stay once they are there; None when no looked at one does."""
        while part:
            step = -(-len(part) // _TABLE_LIMIT)
            places = range(len(part) - 1, -1, -step)[::-1]  # the last one among them
            found = self._first([part[k] for k in places])
            if found is None or step == 1:
                return found
            end = next(k for k in places if part[k] is found)
            part = part[max(0, end - step + 1) : end + 1]
        return None

    def anywhere(self) -> Layer | None:
        """The first of all layers that differs, each looked at."""
        parts = (self.layers[start : start + _TABLE_LIMIT] for start in range(0, len(self.layers), _TABLE_LIMIT))
        return next((found for part in parts if (found := self._first(part)) is not None), None)

    def read_by(self, layer: Layer) -> list[Layer]:
        """The layers before one that it is computed from, in order, if one that it reads directly differs."""
        direct = [self.layers[self.place[name]] for name in layer.inputs if name in self.place]
        direct = [each for each in direct if self.place[each.value] < self.place[layer.value]]
        differs = self._first(direct)
        if differs is None:
            return []
        pending, seen = [differs], {differs.value}
        while pending:
            for name in pending.pop().inputs:
                if name in self.place and name not in seen:
                    seen.add(name)
                    pending.append(self.layers[self.place[name]])
        return [self.layers[number] for number in sorted(self.place[name] for name in seen)]

    def _first(self, part: list[Layer]) -> Layer | None:
        new = [layer.value for layer in part if layer.value not in self.known]
        if new:
            left, right = self.reference(new), self.other(new)
            self.known.update((name, difference(left[name], right[name])) for name in new)
        return next((layer for layer in part if self.known[layer.value].scaled > self.tolerance), None)
