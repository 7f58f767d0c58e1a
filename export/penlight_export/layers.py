# SPDX-License-Identifier: Apache-2.0
"""Finds the first layer where two models differ, by making every intermediate value an output of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

import penlight_runtime
from penlight_export.compare import Divergence, difference
from penlight_export.edge.generated import pen_generated as pen
from penlight_export.edge.reader import PenFile
from penlight_export.edge.writer import reassemble
from penlight_export.engines import Arrays, OnnxEngine
from penlight_export.errors import EngineError
from penlight_export.graph import MODULE_PATH, SOURCE

_TABLE_LIMIT = 64  # outputs per run: all values of a large model at once would not fit into memory


@dataclass(frozen=True)
class Layer:
    """Where a value comes from."""

    value: str
    operator: str
    module_path: str = ""
    source: str = ""


def onnx_layers(proto: onnx.ModelProto) -> list[Layer]:
    """Every node output of the main graph in order."""
    layers = []
    for node in proto.graph.node:
        notes = {entry.key: entry.value for entry in node.metadata_props}
        layers += [Layer(name, node.op_type, notes.get(MODULE_PATH, ""), notes.get(SOURCE, "")) for name in node.output if name]
    return layers


def pen_layers(file: PenFile) -> list[Layer]:
    """Every node output of the first method whose rank is known, in order."""
    method = file.methods[0]
    layers = []
    for node in method.nodes:
        for index in node.outputs:
            if index >= 0 and method.values[index].shape is not None:
                layers.append(Layer(method.values[index].name, node.operator, node.module_path, node.source))
    return layers


def onnx_values(proto: onnx.ModelProto, names: list[str], inputs: Mapping[str, np.ndarray]) -> Arrays:
    """Runs an ONNX model, without onnxruntime's own rewriting, and returns the named values."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return OnnxEngine(copy.SerializeToString(), optimize=False).run(inputs)


def pen_values(file: PenFile, names: list[str], inputs: Mapping[str, np.ndarray]) -> Arrays:
    """Runs a .pen program with the named values as its outputs."""
    tables = pen.ProgramT.InitFromObj(pen.Program.GetRootAs(file.data))
    method = tables.methods[0]
    index = {value.name: number for number, value in enumerate(file.methods[0].values)}
    method.outputs = [index[name] for name in names]
    tables.golden, tables.resources = None, None
    try:
        return dict(zip(names, penlight_runtime.Program(reassemble(tables, file.data)).session().run(inputs).values(), strict=True))
    except penlight_runtime.RuntimeFailure as error:
        raise EngineError(f"the edge runtime failed while its layers were compared: {error}") from error


Probe = Callable[[list[str]], Arrays]


def first_divergence(layers: list[Layer], reference: Probe, other: Probe, tolerance: float) -> Divergence | None:
    """Walks layers in order and returns the first whose values differ by more than the tolerance.

    Args:
        layers: values that both sides have, in the order of computation.
        reference, other: functions from a list of names to arrays.
        tolerance: on the difference relative to max(1, largest magnitude).
    """
    for start in range(0, len(layers), _TABLE_LIMIT):
        part = layers[start : start + _TABLE_LIMIT]
        names = [layer.value for layer in part]
        left, right = reference(names), other(names)
        for layer in part:
            found = difference(left[layer.value], right[layer.value])
            if found.scaled > tolerance:
                return Divergence(layer.value, layer.operator, layer.module_path, layer.source, found.max_abs, len(layers))
    return None
