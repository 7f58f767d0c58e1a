# SPDX-License-Identifier: Apache-2.0
"""Reading .onnx files from anywhere: one clear error for everything that is wrong with a file."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from penlight_export.errors import (
    InvalidModelError,
    MissingFileError,
    UnsupportedFeatureError,
    UnsupportedOperatorsError,
    UnsupportedOpsetError,
)
from penlight_export.graph import DataType, Model, from_proto
from penlight_export.onnx.external import check_external_data, set_base_folder, tensors_of
from penlight_export.onnx.mapped import MappedFile, Places, attach_weights, map_onnx, outlined
from penlight_export.onnx.ml import strip_zip_maps
from penlight_export.onnx.nbits import drop_accuracy_levels
from penlight_export.onnx.opsets import MAXIMUM_IMPORT, MINIMUM_IMPORT, find_schema

MAXIMUM_FILE_BYTES = 2**31 - 1  # protobuf's own limit; larger models keep their weights in external files
REWRITTEN = "penlight.rewritten"  # in `Model.meta`: the graph is not that of its file, which other engines must not be given
ONNX_DOMAINS = {"", "ai.onnx"}
TRAINING_DOMAIN = "ai.onnx.preview.training"

# What people hand over by mistake, told by the first bytes.
_FOREIGN = (
    (b"PK\x03\x04", "a zip archive such as a PyTorch checkpoint; export the model to ONNX first"),
    (b"\x89HDF", "an HDF5 file such as a Keras model; export the model to ONNX first"),
    (b"version https://git-lfs", "a Git LFS pointer; run 'git lfs pull' to get the model itself"),
    (b"<", "a text or HTML document; download the model again"),
    (b"{", "a JSON document; pass the .onnx file itself"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
)


def load_onnx(path: str | os.PathLike[str]) -> Model:
    """Reads and checks an .onnx file.

    Weights in the file are not copied again, those of a large file not at all: it is mapped, and must stay as it is. External ones
    stay on disk until they are used, and must lie in the model's folder.

    Args:
        path: the file; operator set 7 to 28 of ai.onnx.

    Returns:
        The graph, checked by onnx.checker.

    Raises:
        MissingFileError: there is no such file.
        InvalidModelError: the file is empty, truncated, of another format, or breaks a rule of ONNX.
        ExternalDataError: weights are missing or lie outside of the model's folder.
        UnsupportedOpsetError: the operator set is out of range.
        UnsupportedOperatorsError: ai.onnx has no such operators at this version; all are listed.
    """
    path = Path(path)
    data = _read(path)
    weights: Places = {} if isinstance(data, bytes) else data.weights
    proto = _parse(path, data if isinstance(data, bytes) else data.outline)
    check_opset(proto, path)
    _refuse_unknown_operators(proto, path)
    rewritten = strip_zip_maps(proto) + drop_accuracy_levels(proto) > 0
    has_external = check_external_data(proto, path.absolute().parent) > 0
    _check_tensors(proto, path, weights)
    _check(outlined(proto, weights), path, has_external)
    try:
        model = from_proto(proto)
    except Exception as error:  # onnx_ir raises many kinds for what the checker lets pass
        raise InvalidModelError(
            f"{path} cannot be read as a graph: {' '.join(str(error.__cause__ or error).split())[:400]}"
        ) from error
    if isinstance(data, MappedFile):
        attach_weights(model, data)
    if has_external:
        set_base_folder(model, path.absolute().parent)
    _drop_default_inputs(model)
    model.meta[REWRITTEN] = _without_gradients(model) or rewritten
    return model


def _without_gradients(model: Model) -> bool:
    """Writes out the nodes that differentiate. Whether there were any."""
    if TRAINING_DOMAIN not in model.opset_imports:
        return False
    from penlight_export.imported.gradient import expand_gradients  # here: hardly a file has one, and it takes the framework

    return expand_gradients(model) > 0


def _drop_default_inputs(model: Model) -> None:
    """Before IR version 4 every weight was an input as well; callers could replace it, which no .pen file offers."""
    for value in [value for value in model.graph.inputs if value.is_initializer()]:
        model.graph.inputs.remove(value)
    model.ir_version = max(model.ir_version, 4)


def check_opset(proto: onnx.ModelProto, where: str | os.PathLike[str]) -> None:
    """Refuses models without a version of ai.onnx, and versions that the tables do not know."""
    versions = [entry.version for entry in proto.opset_import if entry.domain in ONNX_DOMAINS]
    if not versions and any(node.domain in ONNX_DOMAINS for node in _nodes(proto.graph.node)):
        raise InvalidModelError(f"{where}: the model names no version of the ai.onnx operator set; export it again")
    if versions and not MINIMUM_IMPORT <= versions[0] <= MAXIMUM_IMPORT:
        raise UnsupportedOpsetError(
            f"{where}: operator set {versions[0]} of ai.onnx, expected {MINIMUM_IMPORT} to {MAXIMUM_IMPORT}; "
            "export the model again at a version in this range"
        )


def _read(path: Path) -> bytes | MappedFile:
    if path.is_dir():
        raise MissingFileError(f"{path} is a folder, expected an .onnx file")
    try:
        if path.stat().st_size > MAXIMUM_FILE_BYTES:
            raise InvalidModelError(f"{path} has more than 2 GiB, which protobuf cannot hold; save it with external data")
        data = map_onnx(path) or path.read_bytes()
    except FileNotFoundError as error:
        raise MissingFileError(f"{path} does not exist; check the path") from error
    except OSError as error:
        raise MissingFileError(f"{path} cannot be read: {error.strerror or error}") from error
    if not data:
        raise InvalidModelError(f"{path} is empty, expected an ONNX model; export or download it again")
    return data


def _parse(path: Path, data: bytes) -> onnx.ModelProto:
    if data[4:8] == b"PEN1":
        raise InvalidModelError(f"{path} is a .pen file, expected an .onnx model; it is converted already")
    for start, what in _FOREIGN:
        if data.startswith(start):
            raise InvalidModelError(f"{path} is no ONNX model but {what}")
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except (DecodeError, ValueError) as error:
        raise InvalidModelError(
            f"{path} is no ONNX model, or it is truncated (at {len(data)} bytes); copy or export it again"
        ) from error
    # Protobuf accepts nearly any bytes as unknown fields, so that a foreign file parses to nothing.
    if proto.ir_version < 1 or not proto.HasField("graph") or not proto.opset_import:
        raise InvalidModelError(f"{path} is no ONNX model: it has no graph or no operator set; check what wrote it")
    return proto


def _refuse_unknown_operators(proto: onnx.ModelProto, path: Path) -> None:
    """Lists every operator that ai.onnx does not have at the model's version, before the checker stops at the first."""
    versions = {entry.domain: entry.version for entry in proto.opset_import}
    opset = versions.get("", versions.get("ai.onnx", 0))
    local = {(function.domain, function.name) for function in proto.functions}
    unknown: dict[str, list[str]] = {}
    for node in _nodes(proto.graph.node):
        if (
            node.domain in ONNX_DOMAINS
            and (node.domain, node.op_type) not in local
            and find_schema("", node.op_type, opset) is None
        ):
            # str: protobuf gives bytes for names that are no UTF-8
            unknown.setdefault(str(node.op_type), []).append(str(node.name or (node.output[0] if node.output else "?")))
    if unknown:
        raise UnsupportedOperatorsError(
            f"{path}: operator set {opset} of ai.onnx has no operator " + list_operators(unknown) + "; check the model's version"
        )


def list_operators(nodes: dict[str, list[str]], shown: int = 3) -> str:
    """'Foo (nodes 'a', 'b' and 4 more), Bar (node 'c')', sorted by name."""
    parts = []
    for operator in sorted(nodes):
        names = nodes[operator]
        more = f" and {len(names) - shown} more" if len(names) > shown else ""
        word = "node" if len(names) == 1 else "nodes"
        quoted = ", ".join(name if name.startswith("'") else f"'{name}'" for name in names[:shown])
        parts.append(f"{operator} ({word} {quoted}{more})")
    return ", ".join(parts)


def _check_tensors(proto: onnx.ModelProto, path: Path, weights: Places) -> None:
    """Every tensor in the file must have as many elements as its shape says; the checker counts only some of them.

    `weights` lie in the file alone.
    """
    for tensor in tensors_of(proto):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            continue
        try:
            dtype = DataType(tensor.data_type)
            width, field = dtype.bitwidth, onnx.helper.tensor_dtype_to_field(tensor.data_type)
        except (KeyError, TypeError, ValueError):  # texts have no width; onnx.checker names types that there are not
            continue
        count, whole = math.prod(tensor.dims), "complex" in dtype.name.lower()
        if tensor.HasField("raw_data"):
            fits = len(tensor.raw_data) == (count * width + 7) // 8
        elif tensor.name in weights:
            start, end = weights[tensor.name]
            fits = end - start == (count * width + 7) // 8
        else:
            fits = width < 8 or len(getattr(tensor, field)) == count * (1 + whole)
        if min(tensor.dims, default=0) < 0 or not fits:
            raise InvalidModelError(
                f"{path}: tensor '{tensor.name}' has not as many elements as its shape {list(tensor.dims)} says; "
                "the file is damaged, export it again"
            )


def _nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    pending = [list(nodes)]
    while pending:
        for node in pending.pop():
            yield node
            for attribute in node.attribute:
                pending.extend(
                    list(graph.node) for graph in [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]
                )


def _check(proto: onnx.ModelProto, path: Path, has_external: bool) -> None:
    if proto.graph.sparse_initializer:
        raise UnsupportedFeatureError(
            f"{path}: sparse initializer '{proto.graph.sparse_initializer[0].values.name}'; store it dense"
        )
    try:
        # By path when weights are external: the checker must know the folder.
        onnx.checker.check_model(os.fspath(path.absolute()) if has_external else proto)
    except UnicodeDecodeError as error:  # the checker quotes a name that is no text
        raise InvalidModelError(f"{path} breaks a rule of ONNX, and has names that are no UTF-8; it is damaged") from error
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        raise InvalidModelError(f"{path} breaks a rule of ONNX: {' '.join(str(error).split())[:400]}") from error
