# SPDX-License-Identifier: Apache-2.0
"""Tensor values on the wire: JSON lists and little-endian bytes, to and from NumPy. Nothing is cast silently."""

from __future__ import annotations

import math
from itertools import chain
from typing import Any

import numpy as np

from penlight_serving.errors import BinaryError, TensorError
from penlight_serving.tensors import DataType


def from_json(name: str, datatype: DataType, shape: list[int], data: Any) -> np.ndarray:
    """Returns the array of a JSON `data`, which is flat or nested as the shape says, in row-major order.

    Raises:
        TensorError: A wrong number of values, a wrong nesting, or a value that is not of the datatype.
    """
    values = _flatten(name, shape, data)
    count = math.prod(shape)
    if len(values) != count:
        raise TensorError(f'input "{name}": shape {shape} holds {count} values, the data has {len(values)}')
    wrong = set(map(type, values)) - datatype.json_types
    if wrong:
        raise TensorError(
            f'input "{name}": {datatype.name} values are {_json_names(datatype.json_types)}, got {_json_names(wrong)}'
        )
    return _array(name, datatype, values).reshape(shape)


def from_bytes(name: str, datatype: DataType, shape: list[int], raw: memoryview) -> np.ndarray:
    """Returns the array over raw little-endian bytes, without a copy when they are aligned.

    Raises:
        BinaryError: The bytes are more or fewer than shape and datatype need.
        TensorError: A text of a BYTES tensor is not UTF-8, or a BOOL is neither 0 nor 1.
    """
    if datatype.name == "BYTES":
        return _texts(name, shape, raw)
    needed = math.prod(shape) * datatype.dtype.itemsize
    if len(raw) != needed:
        raise BinaryError(f'input "{name}": {datatype.name}{shape} needs {needed} bytes, binary_data_size is {len(raw)}')
    array = np.frombuffer(raw, datatype.dtype)
    if datatype.name == "BOOL" and array.view(np.uint8).max(initial=0) > 1:
        raise TensorError(f'input "{name}": BOOL bytes are 0 or 1, got {array.view(np.uint8).max()}')
    # Engines may use aligned loads, and the JSON part before the values has any length.
    return (array if array.flags.aligned else array.copy()).reshape(shape)


def to_json(array: np.ndarray) -> tuple[Any, bool]:
    """Returns the flat values for JSON, and whether any is NaN or infinite: JSON has no such numbers and `null` stands for them."""
    flat = np.ascontiguousarray(array).reshape(-1)
    if flat.dtype == object or flat.dtype.kind in "US":
        return [_text(value) for value in flat], False
    return flat, flat.dtype.kind == "f" and not np.isfinite(flat).all()


def to_bytes(array: np.ndarray) -> bytes:
    """Returns the little-endian bytes of an array in row-major order; texts carry their length in four bytes each."""
    if array.dtype == object or array.dtype.kind in "US":
        texts = [_text(value).encode() for value in array.reshape(-1)]
        return b"".join(len(text).to_bytes(4, "little") + text for text in texts)
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _flatten(name: str, shape: list[int], data: Any) -> list[Any]:
    if not isinstance(data, list):
        if shape:
            raise TensorError(f'input "{name}": "data" is {_json_names({type(data)})}, expected an array of shape {shape}')
        return [data]
    level = data
    for size in shape[1:] if data and isinstance(data[0], list) else ():
        if not all(isinstance(part, list) and len(part) == size for part in level):
            raise TensorError(f'input "{name}": "data" is nested, and not as shape {shape} says; nest it so, or send it flat')
        level = list(chain.from_iterable(level))
    return level


def _array(name: str, datatype: DataType, values: list[Any]) -> np.ndarray:
    try:
        if datatype.dtype.kind != "f":
            return np.array(values, datatype.dtype)
        with np.errstate(over="raise"):
            return np.array(values, np.float64).astype(datatype.dtype, copy=False)
    except (OverflowError, FloatingPointError):
        raise TensorError(f'input "{name}": a value is out of the range of {datatype.name}') from None


def _texts(name: str, shape: list[int], raw: memoryview) -> np.ndarray:
    texts: list[memoryview] = []
    count, offset = math.prod(shape), 0
    while offset + 4 <= len(raw) and len(texts) < count:
        end = offset + 4 + int.from_bytes(raw[offset : offset + 4], "little")
        if end > len(raw):
            break
        texts.append(raw[offset + 4 : end])
        offset = end
    if len(texts) != count or offset != len(raw):
        raise BinaryError(f'input "{name}": the bytes are not {count} texts, each after its length in four little-endian bytes')
    try:
        strings = [str(text, "utf-8") for text in texts]
    except UnicodeDecodeError:
        raise TensorError(f'input "{name}": BYTES values must be UTF-8 text') from None
    array = np.empty(count, dtype=object)
    array[:] = strings
    return array.reshape(shape)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _json_names(types: set[type] | frozenset[type]) -> str:
    words = {bool: "true/false", int: "integers", float: "numbers", str: "texts", dict: "objects", list: "arrays"}
    return " or ".join(sorted(words.get(found, "null") for found in types))
