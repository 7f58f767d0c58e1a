# SPDX-License-Identifier: Apache-2.0
"""The summary of an .onnx file. MACs are counted where ONNX's shape rules give fixed sizes; sizes that vary count as 1."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from penlight_export.engines import Port
from penlight_export.graph import MODULE_PATH, Model, Node, Value, constant_size, infer_shapes
from penlight_export.onnx.importer import load_onnx
from penlight_export.summary import ModelSummary, TreeRow, build_tree, count_operators
from penlight_export.work import node_macs


def summarize_onnx(path: str | os.PathLike[str]) -> ModelSummary:
    """Reads an .onnx file; see `summary.summarize`."""
    return summarize_model(load_onnx(path), os.fspath(path), Path(path).stat().st_size)


def summarize_model(model: Model, path: str, file_bytes: int = 0) -> ModelSummary:
    """The summary of a graph, whose shapes are inferred in place."""
    infer_shapes(model)
    graph = model.graph
    rows = [(node.metadata_props.get(MODULE_PATH, ""), _row(node)) for node in graph]
    tensors = [value.const_value for value in graph.initializers.values() if value.const_value is not None]
    return ModelSummary(
        path,
        "onnx",
        file_bytes,
        sum(tensor.nbytes for tensor in tensors),
        sum(tensor.size for tensor in tensors if tensor.dtype.is_floating_point()),
        count_operators(f"{node.domain}.{node.op_type}" if node.domain else node.op_type for node in graph),
        [_port(value) for value in graph.inputs if not value.is_initializer()],
        [_port(value) for value in graph.outputs],
        sum(row.macs or 0 for _, row in rows),
        None,
        _symbols(model),
        build_tree(rows),
        _metadata(model),
    )


def _metadata(model: Model) -> dict[str, str]:
    opsets = {f"opset.{domain or 'ai.onnx'}": str(version) for domain, version in sorted(model.opset_imports.items())}
    producer = {"producer": f"{model.producer_name} {model.producer_version or ''}".strip()} if model.producer_name else {}
    return {**opsets, **producer, "ir_version": str(model.ir_version), **model.metadata_props}


def _symbols(model: Model) -> dict[str, int]:
    """Sizes that vary, counted as 1."""
    return {size: 1 for value in model.graph.inputs for size in _port(value).shape if isinstance(size, str)}


def _port(value: Value) -> Port:
    dtype = np.dtype(np.float32) if value.dtype is None else np.dtype(value.dtype.numpy())
    return Port(value.name or "", dtype, tuple(dim if isinstance(dim, int) else dim.value or "?" for dim in value.shape or ()))


def _row(node: Node) -> TreeRow:
    output = node.outputs[0]
    shape = "?" if output.shape is None else f"[{', '.join(str(dim) for dim in output.shape)}]"
    parameters = sum(
        constant_size(v) or 0 for v in node.inputs if v is not None and v.dtype is not None and v.dtype.is_floating_point()
    )
    operator = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
    return TreeRow(0, node.name or output.name or "", operator, shape, parameters, node_macs(node))
