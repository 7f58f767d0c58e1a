# SPDX-License-Identifier: Apache-2.0
"""A copy of a large .onnx file with the weights in a second one: onnxruntime maps that, while it copies what is in the first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx

from penlight.serialize import atomic_write
from penlight_export.onnx.mapped import MappedFile, map_onnx
from penlight_export.onnx.weights import PAGE
from penlight_export.pieces import blocks_of

_WEIGHTS = "weights.data"


def copy_with_weights_beside(path: Path, folder: Path) -> Path:
    """Writes the copy into `folder`: the graph byte for byte, but for the weights' places. Returns its path.

    The path of the file itself where that has no weights that could move: it is small, or keeps them in other files already.
    """
    file = map_onnx(path)
    if file is None:
        return path
    atomic_write(folder / _WEIGHTS, lambda output: _write(file, output))
    proto = onnx.ModelProto.FromString(file.outline)
    places = {name: offset for name, offset, _ in _layout(file)}
    for tensor in proto.graph.initializer:
        if tensor.name in places:
            start, end = file.weights[tensor.name]
            tensor.data_location = onnx.TensorProto.EXTERNAL
            for key, value in (("location", _WEIGHTS), ("offset", places[tensor.name]), ("length", end - start)):
                tensor.external_data.add(key=key, value=str(value))
    return atomic_write(folder / "model.onnx", proto.SerializeToString())


def _layout(file: MappedFile) -> Iterator[tuple[str, int, np.ndarray]]:
    """Name, offset and bytes of each weight."""
    offset = 0
    for name, (start, end) in file.weights.items():
        offset += -offset % PAGE
        yield name, offset, np.frombuffer(file.data, np.uint8, end - start, start)
        offset += end - start


def _write(file: MappedFile, output: BinaryIO) -> None:
    place = 0
    for _, offset, array in _layout(file):
        output.write(bytes(offset - place))
        for block in blocks_of(array):
            output.write(block)
        place = offset + array.nbytes
