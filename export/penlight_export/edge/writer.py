# SPDX-License-Identifier: Apache-2.0
"""Writes .pen files: flatbuffer metadata with the fixed header moved in, then the segments. The same input gives the same bytes.

The layout is that of runtime/schema/README.md.
"""

from __future__ import annotations

import copy
import os
import struct
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import penlight_runtime
from penlight.checksum import crc32c
from penlight.serialize import atomic_write
from penlight_export.edge.flatbuffer import FastBuilder
from penlight_export.edge.generated import pen_generated as pen
from penlight_export.edge.lower import lower_program
from penlight_export.edge.segments import ALIGNMENT, SegmentBuilder
from penlight_export.errors import EngineError, UnsupportedFeatureError
from penlight_export.graph import Model, states_of
from penlight_export.onnx.strings import string_metadata
from penlight_export.pieces import LARGEST_IN_MEMORY, Piece, Pieces

IDENTIFIER = b"PEN1"
HEADER_BYTES = 64
MINIMUM_RUNTIME = (0, 1, 0)
BODIES = 1  # the required feature bit of files whose nodes run subgraphs
STATES = 2  # of files with tensors that are kept from run to run

_HEADER = struct.Struct("<IIQQQQQIIQ")  # from byte 8: the header's fields in the order of the README
_CRC_OFFSET = 56
_ANY_MEMORY = 1 << 62  # bytes; under a budget, sessions keep no weights in a second form


@dataclass(frozen=True)
class GoldenSample:
    """Inputs of a method with the outputs that they must give, each in the method's order, and how exactly."""

    inputs: Sequence[np.ndarray]
    outputs: Sequence[np.ndarray]
    atol: float = 1e-4
    rtol: float = 1e-4
    method: int = 0


@dataclass(frozen=True)
class ResourceStatement:
    """What one run costs when the named sizes have these values."""

    sizes: dict[str, int]
    arena_bytes: int
    macs: int
    node_macs: Sequence[int] = field(default=())
    method: int = 0


def write_program(
    model: Model,
    *,
    metadata: Mapping[str, str] | None = None,
    golden: Sequence[GoldenSample] = (),
    resources: Sequence[ResourceStatement] = (),
) -> Pieces:
    """Builds the pieces of a .pen file; joined they are the file, and none copies the weights.

    Args:
        model: a graph whose operators the runtime has, with shapes inferred.
        metadata: provenance; written sorted by key.
        golden: samples for the self test.
        resources: statements about cost, from a session of the runtime.

    Raises:
        UnsupportedFeatureError: the graph holds something that a .pen file cannot.
    """
    return ProgramWriter(model, metadata).pieces(golden, resources)


class ProgramWriter:
    """A program's tables and weights, made once; golden samples and resources can come later, when a draft has been measured."""

    def __init__(self, model: Model | Mapping[str, Model], metadata: Mapping[str, str] | None = None) -> None:
        models = {"forward": model} if isinstance(model, Model) else model
        self.weights = SegmentBuilder()
        marks = {key: text for name, each in models.items() for key, text in string_metadata(each, name).items()}
        self.tables = lower_program(models, self.weights, dict(metadata or {}) | marks)
        self._methods = _PackedMethods(self.tables)
        self.input_names = {name: _input_names(each) for name, each in models.items()}

    def pieces(self, golden: Sequence[GoldenSample] = (), resources: Sequence[ResourceStatement] = ()) -> Pieces:
        """The file in pieces that share the weights' memory."""
        samples = SegmentBuilder()
        self.tables.golden = [_golden(sample, samples) for sample in golden] or None
        symbols = [str(symbol.name) for symbol in self.tables.symbols or []]
        self.tables.resources = [_resources(statement, symbols, self.weights.size_bytes) for statement in resources] or None
        segments = [self.weights, samples] if golden else [self.weights]
        self.tables.segments = _segment_tables(segments)
        return Pieces(_join(self._methods.flatten(), segments, required_features(self.tables)))

    def program(self) -> penlight_runtime.Program:
        """A draft that the runtime can measure.

        Raises:
            UnsupportedFeatureError: a kernel lacks a dtype or an attribute.
            EngineError: the runtime refuses what was written, which is a defect of Penlight.
        """
        try:
            return load(self.pieces())
        except penlight_runtime.UnsupportedOperator as error:
            raise UnsupportedFeatureError(f"the edge runtime cannot run it: {error}") from error
        except penlight_runtime.RuntimeFailure as error:
            raise EngineError(f"the edge runtime refuses the written program: {error}") from error


def load(file: Pieces) -> penlight_runtime.Program:
    """Gives a file that is not written yet to the runtime: a small one as bytes, a large one mapped from a temporary file."""
    if file.size_bytes <= LARGEST_IN_MEMORY:
        return penlight_runtime.Program(file.join())
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # the map outlives the name
        path = atomic_write(os.path.join(folder, "draft.pen"), file.write)
        return penlight_runtime.Program.open(path, mmap=True, memory_budget=_ANY_MEMORY)


def _input_names(model: Model) -> list[str]:
    names = [value.name or "" for value in model.graph.inputs if not value.is_initializer()]
    return names[: len(names) - len(states_of(model))]


def reassemble(program: pen.ProgramT, data: bytes) -> bytes:
    """A file with changed tables and the segments of the file `data`, where it came from."""
    base = struct.unpack_from("<Q", data, 24)[0]
    segments = []
    for table in program.segments or []:
        segment = SegmentBuilder()
        segment.add(np.frombuffer(data, np.uint8, count=table.sizeBytes, offset=base + table.offset))
        segments.append(segment)
    program.segments = _segment_tables(segments)
    return Pieces(_join(_PackedMethods(program).flatten(), segments, required_features(program))).join()


def _golden(sample: GoldenSample, segment: SegmentBuilder) -> pen.GoldenT:
    def store(array: np.ndarray) -> pen.GoldenTensorT:
        offset, size = segment.add(array)
        return pen.GoldenTensorT(shape=list(array.shape), data=pen.SpanT(segment=1, offset=offset, sizeBytes=size))

    inputs = [store(array) for array in sample.inputs]
    outputs = [store(array) for array in sample.outputs]
    return pen.GoldenT(method=sample.method, inputs=inputs, outputs=outputs, atol=sample.atol, rtol=sample.rtol)


def _resources(statement: ResourceStatement, symbols: list[str], weight_bytes: int) -> pen.ResourcesT:
    bindings = [
        pen.SymbolBindingT(symbol=i, size=statement.sizes[name]) for i, name in enumerate(symbols) if name in statement.sizes
    ]
    return pen.ResourcesT(
        method=statement.method,
        bindings=bindings or None,
        arenaBytes=statement.arena_bytes,
        weightBytes=weight_bytes,
        macs=statement.macs,
        nodeMacs=list(statement.node_macs) or None,
    )


def _segment_tables(segments: Sequence[SegmentBuilder]) -> list[pen.SegmentT]:
    offset, tables = 0, []
    for segment in segments:
        tables.append(pen.SegmentT(offset, segment.size_bytes, segment.checksum, ALIGNMENT))
        offset += segment.size_bytes + -segment.size_bytes % ALIGNMENT
    return tables


def required_features(program: pen.ProgramT) -> int:
    """Bits that tell an older runtime that it cannot run the file."""
    return (BODIES if program.bodies else 0) | (STATES if program.states else 0)


def _join(tables: bytes, segments: Sequence[SegmentBuilder], features: int = 0) -> list[Piece]:
    metadata = _with_header(tables, segments, features)
    chunks: list[Piece] = [metadata, bytes(-len(metadata) % ALIGNMENT)]
    for number, segment in enumerate(segments):
        chunks.extend(segment.chunks)
        if number + 1 < len(segments):
            chunks.append(bytes(-segment.size_bytes % ALIGNMENT))
    return chunks


class _PackedMethods:
    """The methods of a program, nearly all of its tables, packed once and put under every version of the rest.

    A flatbuffer grows from its end, so what is packed first stays as it is.
    """

    def __init__(self, program: pen.ProgramT) -> None:
        self.program = program
        self.builder = FastBuilder()
        self.methods = self._pack(program.methods)
        self.bodies = self._pack(program.bodies)

    def _pack(self, methods: list[pen.MethodT] | None) -> list[Any]:
        return [_Packed(method.Pack(self.builder)) for method in methods or []]

    def flatten(self) -> bytes:
        builder = self.builder.fork()
        program = copy.copy(self.program)
        program.methods, program.bodies = self.methods, self.bodies or None
        return builder.Finish(program.Pack(builder), IDENTIFIER)


@dataclass(frozen=True)
class _Packed:
    """Stands for a table that the buffer holds already."""

    offset: int

    def Pack(self, _: FastBuilder) -> int:  # the name that generated code calls
        return self.offset


def _with_header(buffer: bytes, segments: Sequence[SegmentBuilder], features: int = 0) -> bytes:
    """Moves everything behind the identifier by 64 bytes and fills the header. Only the root offset crosses that place."""
    (root,) = struct.unpack_from("<I", buffer)
    size = len(buffer) + HEADER_BYTES
    base = size + -size % ALIGNMENT
    end = base
    for number, segment in enumerate(segments):
        end += segment.size_bytes + (-segment.size_bytes % ALIGNMENT if number + 1 < len(segments) else 0)
    major, minor, patch = MINIMUM_RUNTIME
    header = _HEADER.pack(HEADER_BYTES, major << 16 | minor << 8 | patch, size, base, end, features, 0, 0, 0, 0)
    result = bytearray(struct.pack("<I", root + HEADER_BYTES) + IDENTIFIER + header + buffer[8:])
    struct.pack_into("<I", result, _CRC_OFFSET, crc32c(result))
    return bytes(result)
