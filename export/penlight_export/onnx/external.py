# SPDX-License-Identifier: Apache-2.0
"""Weights beside an .onnx file: every reference is checked before anything is read.

onnx_ir checks paths again when it maps a file, but only when its base folder is set, and it lets lengths pass.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx

from penlight_export.errors import ExternalDataError
from penlight_export.graph import DataType, ExternalTensor, Model


def check_external_data(proto: onnx.ModelProto, folder: Path) -> int:
    """Checks every external tensor of a model whose file lies in `folder`. Returns their number.

    Raises:
        ExternalDataError: a reference leaves the folder, is missing, or is shorter than the tensor's shape says.
    """
    count = 0
    sizes: dict[str, int] = {}
    for tensor in tensors_of(proto):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _check_tensor(tensor, folder, sizes)
            count += 1
    return count


def set_base_folder(model: Model, folder: Path) -> None:
    """Tells every external tensor where its file lies. An empty base folder would switch onnx_ir's own path checks off."""
    base = os.fspath(folder.resolve())
    for graph in model.graphs():
        for value in graph.initializers.values():
            if isinstance(value.const_value, ExternalTensor):
                value.const_value.base_dir = base
        for node in graph:
            for attribute in node.attributes.values():
                values = attribute.value if isinstance(attribute.value, (list, tuple)) else [attribute.value]
                for tensor in values:
                    if isinstance(tensor, ExternalTensor):
                        tensor.base_dir = base


def _check_tensor(tensor: onnx.TensorProto, folder: Path, sizes: dict[str, int]) -> None:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    if location not in sizes:
        sizes[location] = _file_size(tensor.name, location, folder)
    offset = _number(tensor.name, "offset", entries.get("offset", "0"))
    needed = _tensor_bytes(tensor)
    length = _number(tensor.name, "length", entries.get("length", str(needed)))
    if length != needed:
        raise ExternalDataError(
            f"external tensor '{tensor.name}' has length {length} but its shape {list(tensor.dims)} needs {needed} bytes; "
            "the model file is damaged, export it again"
        )
    if offset + length > sizes[location]:
        raise ExternalDataError(
            f"external tensor '{tensor.name}' wants bytes {offset} to {offset + length} of '{location}', which has only "
            f"{sizes[location]}; the weight file is truncated, copy it again"
        )


def _file_size(name: str, location: str, folder: Path) -> int:
    """Size of a weight file that stays inside of the folder, whatever links lie on the way."""
    where = f"external tensor '{name}' names the file '{location}'"
    remedy = "keep the weights in a regular file in the model's folder"
    relative = PurePosixPath(location)
    if not location or relative.is_absolute() or PureWindowsPath(location).drive or "\\" in location or "\0" in location:
        raise ExternalDataError(f"{where}, which is no relative path; {remedy}")
    if ".." in relative.parts:
        raise ExternalDataError(f"{where}, which leaves the model's folder; {remedy}")
    path = folder / relative
    try:
        resolved = path.resolve(strict=True)
        status = resolved.stat()
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
        raise ExternalDataError(f"{where}, which cannot be read ({error}); copy it next to the model") from error
    if not resolved.is_relative_to(folder.resolve()):
        raise ExternalDataError(f"{where}, a link that leaves the model's folder; {remedy}")
    if not resolved.is_file():
        raise ExternalDataError(f"{where}, which is no regular file; {remedy}")
    if status.st_nlink > 1:
        raise ExternalDataError(f"{where}, which has {status.st_nlink} hard links and could be a file from elsewhere; {remedy}")
    return status.st_size


def _tensor_bytes(tensor: onnx.TensorProto) -> int:
    try:
        bits = DataType(tensor.data_type).bitwidth
    except (ValueError, TypeError) as error:
        raise ExternalDataError(
            f"external tensor '{tensor.name}' has element type {tensor.data_type}, which has no fixed size"
        ) from error
    count = 1
    for size in tensor.dims:
        if size < 0:
            raise ExternalDataError(f"external tensor '{tensor.name}' has a negative size in its shape {list(tensor.dims)}")
        count *= size  # Python integers do not overflow
    return (count * bits + 7) // 8


def _number(name: str, field: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ExternalDataError(f"external tensor '{name}' has {field} '{text[:32]}', expected a count of bytes")
    return int(text)


def tensors_of(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of a model: initializers, attributes, subgraphs and functions."""
    pending: list[onnx.GraphProto] = [proto.graph]
    for function in proto.functions:
        yield from _node_tensors(function.node, pending)
    while pending:
        graph = pending.pop()
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        yield from _node_tensors(graph.node, pending)


def _node_tensors(nodes: Iterable[onnx.NodeProto], pending: list[onnx.GraphProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("g"):
                pending.append(attribute.g)
            pending.extend(attribute.graphs)
