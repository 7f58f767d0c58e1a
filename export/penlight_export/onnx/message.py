# SPDX-License-Identifier: Apache-2.0
"""Writes a graph as an .onnx file: the same bytes as protobuf's own, in pieces, without copies of the weights.

onnx_ir builds protobuf objects field by field, which takes three times as long and copies every tensor twice. Here nodes, values
and tensors are written by hand (https://protobuf.dev/programming-guides/encoding/); what is rare goes through onnx_ir.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from penlight_export.graph import (
    Attr,
    AttributeType,
    Model,
    Node,
    Tensor,
    TensorType,
    Value,
    attribute_to_proto,
    function_to_proto,
    is_annotated,
    tensor_to_proto,
    to_proto,
    value_to_proto,
)
from penlight_export.pieces import SMALL_ARRAY, Piece, Pieces

_SMALL = 1024  # bytes of a tensor that `outline` keeps


def onnx_pieces(model: Model) -> Pieces:
    """The .onnx file of a model.

    Raises:
        InvalidModelError: something in a foreign graph cannot be written.
    """
    return OnnxMessage(model).pieces()


def _is_large(value: Value) -> bool:
    return isinstance(value.const_value, Tensor) and value.const_value.nbytes > _SMALL and not value.is_graph_input()


def _is_plain(model: Model) -> bool:
    """Without what only some files of other exporters have."""
    return not is_annotated(model) and not (model.functions and model.ir_version < 10)


class OnnxMessage:
    """A model as the content of an .onnx file; nodes, constants, declarations of values, each text and type are encoded once."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.texts: dict[str | None, bytes] = {None: b"\0", "": b"\0"}
        self.notes: dict[tuple[str, str], bytes] = {}
        self.types: dict[Any, bytes] = {}
        self.attributes: dict[tuple[str, int, str], bytes] = {}
        self.shared: dict[int, bytes] = {}  # attributes by id
        self.constants: dict[Value, list[Piece]] = {}
        self.nodes = b"".join([part(1, self._node(node)) for node in model.graph])
        self.values = {value: part(13, self._value(value)) for value in self._inner_values()}

    def pieces(self) -> Pieces:
        """The file. Raises as `onnx_pieces` does."""
        if _is_plain(self.model):
            pieces = Pieces(self._pieces())
            self.constants.clear()  # it may hold copies
            return pieces
        return Pieces([to_proto(self.model).SerializeToString(deterministic=True)])

    def outline(self) -> bytes:
        """The file with large weights as inputs that have no value: what ONNX's checker needs to see."""
        weights = {name for name, value in self.model.graph.initializers.items() if _is_large(value)}
        return b"".join(map(bytes, self._pieces(weights)))

    def _pieces(self, weights: Collection[str] = ()) -> list[Piece]:
        """The file, in which these initializers are inputs."""
        model, graph = self.model, self._graph(weights)
        texts = ((2, model.producer_name), (3, model.producer_version), (4, model.domain))
        head = _integer(1, model.ir_version) + b"".join(_text(number, text) for number, text in texts if text)
        head += _integer(5, model.model_version) if model.model_version else b""
        head += _text(6, model.doc_string) if model.doc_string else b""
        size = sum(piece.nbytes if isinstance(piece, np.ndarray) else len(piece) for piece in graph)
        tail = [part(8, _text(1, domain) + _integer(2, version)) for domain, version in model.opset_imports.items()]
        tail += self._notes(14, model.metadata_props)
        tail += [part(25, function_to_proto(each)) for each in model.functions.values()]
        return [head + _tag(7, 2) + _varint(size), *graph, *tail]

    def _graph(self, weights: Collection[str]) -> list[Piece]:
        graph, constants = self.model.graph, self.model.graph.initializers
        pieces: list[Piece] = [self.nodes]
        pieces += [_text(2, graph.name)] if graph.name else []
        for name, value in constants.items():
            if value.const_value is not None and name not in weights:
                pieces += self.constants.get(value) or self.constants.setdefault(value, _tensor(value))
        pieces += [_text(10, graph.doc_string)] if graph.doc_string else []
        pieces += [part(11, self._value(value)) for value in graph.inputs]
        pieces += [part(11, self._weight(constants[name])) for name in weights]
        pieces += [part(12, self._value(value)) for value in graph.outputs]
        inputs = {value.name for value in graph.inputs}.union(weights)
        pieces += [data for value, data in self.values.items() if value.name not in inputs]
        return pieces + self._notes(16, graph.metadata_props)

    def _inner_values(self) -> Iterator[Value]:
        """Initializers and results that have a type, in the order in which onnx_ir writes them."""
        graph = self.model.graph
        yield from filter(_has_info, graph.initializers.values())
        for node in graph:
            yield from (value for value in node.outputs if not value.is_graph_output() and _has_info(value))

    def _node(self, node: Node) -> bytes:
        texts, outputs = self.texts, list(node.outputs)
        while outputs and not outputs[-1].name:
            outputs.pop()
        parts: list[bytes] = []
        for value in node.inputs:
            parts += (b"\x0a", b"\0" if value is None else texts.get(value.name) or self._encoded(value.name))
        for value in outputs:
            parts += (b"\x12", texts.get(value.name) or self._encoded(value.name))
        if node.name:
            parts += (b"\x1a", texts.get(node.name) or self._encoded(node.name))
        parts += (b"\x22", texts.get(node.op_type) or self._encoded(node.op_type))
        parts += [self._attribute(attribute) for attribute in node.attributes.values()]
        if node.doc_string:
            parts.append(_text(6, node.doc_string))
        if node.domain:
            parts += (b"\x3a", texts.get(node.domain) or self._encoded(node.domain))
        if node.overload:
            parts.append(_text(8, node.overload))
        return b"".join(parts + self._notes(9, node.metadata_props))

    def _attribute(self, attribute: Attr) -> bytes:
        """The field of an attribute; many nodes have the same one, or an equal one. By its text, since 0.0 and -0.0 are equal."""
        known = self.shared.get(id(attribute))
        if known is not None:
            return known
        if attribute.type not in _PLAIN or attribute.is_ref() or attribute.doc_string:
            return part(5, attribute_to_proto(attribute))
        value = tuple(attribute.value) if attribute.type == AttributeType.INTS else attribute.value
        key = attribute.name, int(attribute.type), repr(value)
        found = self.attributes.get(key)
        if found is None:
            found = self.attributes[key] = part(5, _attribute(attribute))
        self.shared[id(attribute)] = found
        return found

    def _encoded(self, text: str | None) -> bytes:
        data = (text or "").encode()
        found = self.texts[text] = _varint(len(data)) + data
        return found

    def _notes(self, number: int, notes: Mapping[str, str]) -> list[bytes]:
        found: list[bytes] = []
        for entry in sorted(notes.items()):
            if entry not in self.notes:
                self.notes[entry] = _delimited(_text(1, entry[0]) + _text(2, entry[1]))
            found += (_tag(number, 2), self.notes[entry])
        return found

    def _weight(self, value: Value) -> bytes:
        """A constant as an input, by its tensor."""
        tensor = value.const_value
        assert tensor is not None
        return _text(1, value.name or "") + part(2, _type(int(tensor.dtype), tensor.shape.numpy()))

    def _value(self, value: Value) -> bytes:
        kind, shape = value.type, value.shape
        if type(kind) is not TensorType or kind.denotation or value.doc_string or value.metadata_props:
            return value_to_proto(value)
        found = self.types.get((kind.dtype, id(shape)))  # most values share their shape's object with others
        if found is None:
            if _has_denotations(shape):
                return value_to_proto(value)
            dims = None if shape is None else [dim if isinstance(dim, int) else (dim.value,) for dim in shape]
            found = self.types[kind.dtype, id(shape)] = part(2, _type(int(kind.dtype), dims))
        return b"\x0a" + (self.texts.get(value.name) or self._encoded(value.name)) + found


def _has_info(value: Value) -> bool:
    return bool(value.name) and (
        value.shape is not None or value.type is not None or bool(value.metadata_props or value.doc_string)
    )


def _has_denotations(shape: Any) -> bool:
    return shape is not None and any(map(shape.get_denotation, range(len(shape))))


def _type(dtype: int, dims: Iterable[Any] | None) -> bytes:
    shape = b""
    if dims is not None:
        parts = [_integer(1, dim) if isinstance(dim, int) else b"" if dim[0] is None else _text(2, dim[0]) for dim in dims]
        shape = part(2, b"".join(part(1, each) for each in parts))
    return part(1, _integer(1, dtype) + shape)


def _tensor(value: Value) -> list[Piece]:
    """An initializer; of an ordinary one, the array itself is a piece."""
    tensor = value.const_value
    assert tensor is not None
    tensor.name = value.name
    if type(tensor) is not Tensor or tensor.dtype.bitwidth < 8 or tensor.doc_string or tensor.metadata_props:
        return [part(5, tensor_to_proto(tensor))]
    array = np.asarray(tensor.numpy())
    head = b"".join(_integer(1, size) for size in array.shape) + _integer(2, int(tensor.dtype))
    head += (_text(8, tensor.name) if tensor.name else b"") + _tag(9, 2) + _varint(array.nbytes)
    start = _tag(5, 2) + _varint(len(head) + array.nbytes) + head
    return [start + array.tobytes()] if array.nbytes <= SMALL_ARRAY and array.dtype.byteorder != ">" else [start, array]


_PLAIN = frozenset({AttributeType.INT, AttributeType.FLOAT, AttributeType.STRING, AttributeType.INTS})


def _attribute(attribute: Attr) -> bytes:
    """One of a plain kind."""
    kind, value = attribute.type, attribute.value
    if kind == AttributeType.INT:
        content = _integer(3, value)
    elif kind == AttributeType.FLOAT:
        content = b"\x15" + struct.pack("<f", value)
    elif kind == AttributeType.STRING and isinstance(value, str):
        content = _text(4, value)
    elif kind == AttributeType.INTS:
        content = b"".join(_integer(8, number) for number in value)
    else:
        return attribute_to_proto(attribute)
    return _text(1, attribute.name) + content + b"\xa0\x01" + _varint(int(kind))


def _integer(number: int, value: int) -> bytes:
    return _tag(number, 0) + _varint(value)


def _text(number: int, text: str) -> bytes:
    return part(number, text.encode())


def part(number: int, data: bytes) -> bytes:
    """A field that is text, bytes or a message."""
    return _tag(number, 2) + _delimited(data)


def _delimited(data: bytes) -> bytes:
    return _varint(len(data)) + data


@functools.cache
def _tag(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _varint(number: int) -> bytes:
    if 0 <= number < 128:
        return number.to_bytes(1, "little")
    number = int(number) & 0xFFFF_FFFF_FFFF_FFFF  # negative numbers in two's complement of 64 bits
    data = bytearray()
    while number > 127:
        data.append(number & 127 | 128)
        number >>= 7
    data.append(number)
    return bytes(data)
