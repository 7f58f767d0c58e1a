# SPDX-License-Identifier: Apache-2.0
"""Weights in a file beside the .onnx file, for models that protobuf cannot hold, or where that is asked for.

The name of the weights' file holds their checksum: until the new .onnx file is there, the old one has its own weights.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from penlight.checksum import crc32c
from penlight.serialize import atomic_write
from penlight_export.graph import ExternalTensor, Model, Shape, Value, to_proto
from penlight_export.onnx.importer import MAXIMUM_FILE_BYTES
from penlight_export.pieces import blocks_of

LARGEST_INLINE_BYTES = MAXIMUM_FILE_BYTES - (1 << 24)  # of all weights together; the rest is for nodes
_SMALL = 1024  # bytes of a tensor that stays in the .onnx file
PAGE = 4096  # engines map the file, which works by pages


@dataclass(frozen=True)
class _Weight:
    value: Value
    array: np.ndarray
    offset: int


class ExternalWeights:
    """A model's large constants where they lie in memory, and the model without them. Nothing is copied.

    Attributes:
        proto: the model, whose constants name a file that `save` calls as it is called there.
    """

    def __init__(self, model: Model) -> None:
        self._weights = list(_layout(model))
        kept = [weight.value.const_value for weight in self._weights]
        try:
            for weight in self._weights:
                weight.value.const_value = _reference(weight)
            self.proto = to_proto(model)
        finally:
            for weight, tensor in zip(self._weights, kept, strict=True):
                weight.value.const_value = tensor

    def save(self, path: Path) -> None:
        """Writes the weights, then the model that names them, then drops weights of the model that was there before."""
        checksum = 0
        for piece in self._pieces():
            checksum = crc32c(piece, checksum)
        name = f"{path.name}.{checksum:08x}.data"
        atomic_write(path.parent / name, self._write)
        for tensor in self.proto.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = name
        atomic_write(path, self.proto.SerializeToString(deterministic=True))
        _remove_others(path, name)

    def _write(self, file: BinaryIO) -> None:
        for piece in self._pieces():
            file.write(piece)

    def _pieces(self) -> Iterator[memoryview]:
        place = 0
        for weight in self._weights:
            yield memoryview(bytes(weight.offset - place))
            yield from blocks_of(weight.array)
            place = weight.offset + weight.array.nbytes


def weight_bytes(model: Model) -> int:
    """Bytes of all constants."""
    return sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value is not None)


def _layout(model: Model) -> Iterator[_Weight]:
    offset = 0
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if tensor is None or tensor.nbytes < _SMALL or tensor.dtype.is_string() or tensor.dtype.bitwidth < 8:
            continue
        offset += -offset % PAGE
        yield _Weight(value, np.asarray(tensor.numpy()), offset)
        offset += tensor.nbytes


def _reference(weight: _Weight) -> ExternalTensor:
    tensor = weight.value.const_value
    assert tensor is not None
    shape = Shape(tensor.shape.numpy())
    name = weight.value.name or ""
    return ExternalTensor("weights.data", weight.offset, tensor.nbytes, tensor.dtype, shape=shape, name=name)


def _remove_others(path: Path, kept: str) -> None:
    pattern = re.compile(re.escape(path.name) + r"\.[0-9a-f]{8}\.data")
    for entry in os.scandir(path.parent):
        if entry.name != kept and pattern.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
            os.unlink(entry.path)
