# SPDX-License-Identifier: Apache-2.0
"""The node tests that the onnx package ships, as cases for one kernel each."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from kernel_runner import has_dtypes
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases

import penlight_runtime

# What the kernels leave out on purpose; a case that is refused for another reason fails.
LEFT_OUT = (
    "training mode is on",
    "mode 'cubic' is not supported",
    "tf_crop_and_resize' is not supported",
    "antialias and exclude_outside",
    "has rank 5, expected 3 to 4",
    "depends on the data",
)


@dataclass(frozen=True)
class NodeCase:
    name: str
    operator: str
    domain: str
    version: int
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    attributes: dict[str, Any]
    rtol: float
    atol: float


def _attribute(attribute: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    kind = attribute.type
    if kind == onnx.AttributeProto.STRING:
        return value.decode()
    if kind == onnx.AttributeProto.TENSOR:
        return numpy_helper.to_array(value)
    if kind in (onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS):
        return [int(v) if kind == onnx.AttributeProto.INTS else float(v) for v in value]
    return float(value) if kind == onnx.AttributeProto.FLOAT else int(value)


def _array(value: Any) -> Any:
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value) if isinstance(value, np.ndarray) or np.isscalar(value) else value


def _versions() -> dict[tuple[str, str], list[tuple[int, int]]]:
    table: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for entry in penlight_runtime.operators():
        table.setdefault((entry.domain, entry.name), []).append((entry.min_version, entry.max_version))
    return table


@functools.cache
def node_cases() -> tuple[NodeCase, ...]:
    """All cases of one node whose operator, version and dtypes the runtime has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # making the data overflows and divides by zero here and there
        return tuple(_cases())


def _cases() -> Iterator[NodeCase]:
    versions = _versions()
    for test in collect_testcases(None):
        graph = test.model.graph
        if len(graph.node) != 1 or (graph.node[0].domain, graph.node[0].op_type) not in versions:
            continue
        node = graph.node[0]
        if any(attribute.type == onnx.AttributeProto.GRAPH for attribute in node.attribute):
            continue
        opset = next(o.version for o in test.model.opset_import if o.domain == node.domain)
        since = onnx.defs.get_schema(node.op_type, opset, node.domain).since_version
        if not any(low <= since <= high for low, high in versions[node.domain, node.op_type]):
            continue
        for given, wanted in test.data_sets:
            feeds = dict(zip((i.name for i in graph.input), map(_array, given), strict=True))
            results = dict(zip((o.name for o in graph.output), map(_array, wanted), strict=True))
            inputs = tuple(feeds.get(n) for n in node.input)
            outputs = tuple(results.get(n) for n in node.output)
            if has_dtypes(inputs) and has_dtypes(outputs):
                attributes = {a.name: _attribute(a) for a in node.attribute}
                yield NodeCase(test.name, node.op_type, node.domain, since, inputs, outputs, attributes, test.rtol, test.atol)
