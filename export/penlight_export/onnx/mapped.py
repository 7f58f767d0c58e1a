# SPDX-License-Identifier: Apache-2.0
"""Large .onnx files without a copy of their weights: the file is mapped, and protobuf sees it without the bytes of the weights.

The encoding is that of https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx

from penlight_export.graph import DataType, Model, Shape, Tensor
from penlight_export.onnx.message import part
from penlight_export.pieces import LARGEST_IN_MEMORY

_SMALL = 1024  # bytes of a tensor that stays where it is
_GRAPH, _INITIALIZER = 7, 5  # fields of ModelProto and GraphProto
_DTYPE, _NAME, _RAW_DATA = 2, 8, 9  # fields of TensorProto
_WHOLE_BYTES = frozenset(
    dtype.value
    for dtype in (
        *(DataType.FLOAT, DataType.UINT8, DataType.INT8, DataType.UINT16, DataType.INT16, DataType.INT32, DataType.INT64),
        *(DataType.BOOL, DataType.FLOAT16, DataType.DOUBLE, DataType.UINT32, DataType.UINT64, DataType.BFLOAT16),
    )
)

Places = Mapping[str, tuple[int, int]]  # of the weights in a file, by name: the first byte, and the one behind the last


class MappedFile(NamedTuple):
    """A file that is mapped."""

    data: mmap.mmap
    outline: bytes
    weights: Places


def map_onnx(path: Path) -> MappedFile | None:
    """Maps a file and finds its weights; None for a small file, and for one that protobuf itself had better judge."""
    if path.stat().st_size <= LARGEST_IN_MEMORY:
        return None
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    weights: dict[str, tuple[int, int]] = {}
    try:
        outline = b"".join(
            part(_GRAPH, _graph(data, field, weights)) if field[:2] == (_GRAPH, 2) else data[field.start : field.end]
            for field in _fields(data, 0, len(data))
        )
    except (_OtherForm, UnicodeDecodeError):
        return None
    return MappedFile(data, outline, weights) if weights else None


def outlined(proto: onnx.ModelProto, weights: Places) -> onnx.ModelProto:
    """The model with these weights as inputs, which need no bytes: what ONNX's checker can check."""
    if not weights:
        return proto
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    inputs = {value.name for value in copy.graph.input}
    for tensor in copy.graph.initializer:
        if tensor.name in weights and tensor.name not in inputs:
            copy.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    kept = [tensor for tensor in copy.graph.initializer if tensor.name not in weights]
    del copy.graph.initializer[:]
    copy.graph.initializer.extend(kept)
    return copy


def attach_weights(model: Model, file: MappedFile) -> None:
    """Gives the initializers of a model the bytes of the file, where they lie."""
    for name, (start, _) in file.weights.items():
        tensor = model.graph.initializers[name].const_value
        assert tensor is not None
        sizes, dtype = tensor.shape.numpy(), DataType(tensor.dtype)
        stored = np.dtype(dtype.numpy()).newbyteorder("<")
        array = np.frombuffer(file.data, stored, tensor.size, start).reshape(sizes)
        model.graph.initializers[name].const_value = Tensor(array, dtype=dtype, shape=Shape(sizes), name=name)


class _OtherForm(Exception):
    """The bytes are no protobuf, or weights are written in a rarer way."""


class _Field(NamedTuple):
    number: int
    kind: int
    start: int
    value: int  # where its content starts
    end: int


def _graph(data: mmap.mmap, graph: _Field, weights: dict[str, tuple[int, int]]) -> bytes:
    parts = []
    for field in _fields(data, graph.value, graph.end):
        large = field.number == _INITIALIZER and field.kind == 2 and field.end - field.value > _SMALL
        parts.append(part(_INITIALIZER, _tensor(data, field, weights)) if large else data[field.start : field.end])
    return b"".join(parts)


def _tensor(data: mmap.mmap, tensor: _Field, weights: dict[str, tuple[int, int]]) -> bytes:
    """The tensor without its bytes, whose place is noted; all of it where they are not in one piece."""
    fields = list(_fields(data, tensor.value, tensor.end))
    raw = [field for field in fields if field.number == _RAW_DATA]
    names = [data[field.value : field.end].decode() for field in fields if field.number == _NAME]
    dtypes = [_varint(data, field.value, field.end)[0] for field in fields if field.number == _DTYPE]
    if len(raw) != 1 or len(names) != 1 or len(dtypes) != 1 or dtypes[0] not in _WHOLE_BYTES or not names[0]:
        return data[tensor.value : tensor.end]
    if names[0] in weights:
        raise _OtherForm
    weights[names[0]] = (raw[0].value, raw[0].end)
    return data[tensor.value : raw[0].start] + data[raw[0].end : tensor.end]


def _fields(data: mmap.mmap, place: int, end: int) -> Iterator[_Field]:
    while place < end:
        start = place
        key, place = _varint(data, place, end)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, stop = place, _varint(data, place, end)[1]
        elif kind == 2:
            length, value = _varint(data, place, end)
            stop = value + length
        elif kind in (1, 5):
            value, stop = place, place + (8 if kind == 1 else 4)
        else:
            raise _OtherForm
        if stop > end:
            raise _OtherForm
        yield _Field(number, kind, start, value, stop)
        place = stop


def _varint(data: mmap.mmap, place: int, end: int) -> tuple[int, int]:
    """A number and the place behind it."""
    number, shift = 0, 0
    while place < end and shift < 64:
        byte = data[place]
        place += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, place
        shift += 7
    raise _OtherForm
