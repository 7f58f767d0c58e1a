# SPDX-License-Identifier: Apache-2.0
"""String tensors. In a program they are bytes with one more dimension: UTF-8, zeros behind the end; here they are arrays of str."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from penlight_runtime.errors import InvalidValue, ShapeMismatch

if TYPE_CHECKING:
    from penlight_runtime.program import TensorInfo

METADATA = "strings."  # and a method's name: a JSON list of those inputs and outputs that are strings


def string_names(metadata: Mapping[str, str], method: str) -> frozenset[str]:
    """Names of a method's inputs and outputs that the file marks as strings; what cannot be read marks none."""
    try:
        names = json.loads(metadata.get(METADATA + method, "[]"))
    except (ValueError, RecursionError):  # a file may come from anybody
        return frozenset()
    return frozenset(name for name in names if isinstance(name, str)) if isinstance(names, list) else frozenset()


def as_strings(info: TensorInfo) -> TensorInfo:
    """The declaration of a marked tensor: dtype S64, say, for strings of at most 64 bytes, and a shape without the bytes."""
    width = info.shape[-1] if info.shape else 0
    if info.dtype != np.uint8 or not isinstance(width, int) or width < 1:
        return info  # the mark is wrong: it stays what it is
    return info._replace(dtype=np.dtype(f"S{width}"), shape=info.shape[:-1])


def encode(array: np.ndarray, info: TensorInfo) -> np.ndarray:
    """Strings as the bytes that a program takes.

    Args:
        array: of str or bytes objects, np.str_ or np.bytes_.
        info: the input, with a dtype such as S64.

    Returns:
        uint8, with one more dimension; of an array that has the dtype already, a view.

    Raises:
        ShapeMismatch: an element is no string.
        InvalidValue: a string is too long, holds a NUL character, or is no Unicode.
    """
    width, texts = info.dtype.itemsize, array
    if texts.dtype.kind not in "OUS":
        raise ShapeMismatch(f"input {info.name!r}: expected strings, got {texts.dtype}")
    if texts.dtype.kind != "S":
        texts = _encoded(texts, info)
    if texts.dtype.itemsize > width:
        longest = int(np.char.str_len(texts).max(initial=0))
        if longest > width:
            raise InvalidValue(
                f"input {info.name!r}: a string has {longest} bytes, this program takes at most {width}; "
                f"convert the model again with max_string_bytes={longest}"
            )
    flat = np.ascontiguousarray(texts, info.dtype).reshape(-1).view(np.uint8).reshape(-1, width)
    if array.dtype.kind == "S" and ((flat[:, :-1] == 0) & (flat[:, 1:] != 0)).any():
        raise InvalidValue(f"input {info.name!r}: a string holds a NUL character, which ends strings here")
    return flat.reshape(*array.shape, width)


def _encoded(texts: np.ndarray, info: TensorInfo) -> np.ndarray:
    items = texts.reshape(-1).tolist()
    try:
        data = list(map(str.encode, items))  # two times as fast as one by one
    except (TypeError, UnicodeEncodeError):
        data = [_bytes(text, info) for text in items]
    if b"\0" in b"".join(data):
        raise InvalidValue(f"input {info.name!r}: a string holds a NUL character, which ends strings here")
    return np.array(data, np.bytes_).reshape(texts.shape) if data else np.empty(texts.shape, info.dtype)


def _bytes(text: Any, info: TensorInfo) -> bytes:
    if not isinstance(text, (str, bytes)):
        raise ShapeMismatch(f"input {info.name!r}: expected strings, got an element of type {type(text).__name__}")
    try:
        return text.encode() if isinstance(text, str) else text
    except UnicodeEncodeError as error:
        raise InvalidValue(f"input {info.name!r}: {text!r} has no UTF-8 form") from error


def place_for(array: np.ndarray, info: TensorInfo) -> np.ndarray:
    """The bytes of an array of dtype S64, say, that a caller wants results in."""
    if array.dtype != info.dtype or not array.flags.c_contiguous:
        raise ShapeMismatch(f"output {info.name!r}: expected a C-contiguous array of {info.dtype}, got {array.dtype}")
    return array.reshape(-1).view(np.uint8).reshape(*array.shape, info.dtype.itemsize)


def decode(array: np.ndarray) -> np.ndarray:
    """An object array of str from bytes with one more dimension, as onnxruntime gives it; broken UTF-8 shows as U+FFFD."""
    shape, width = array.shape[:-1], array.shape[-1]
    texts = np.ascontiguousarray(array).reshape(-1).view(f"S{width}") if array.size else np.empty(0, "S1")
    result = np.empty(len(texts), object)
    items = texts.tolist()
    try:
        result[:] = list(map(bytes.decode, items))
    except UnicodeDecodeError:
        result[:] = [text.decode(errors="replace") for text in items]
    return result.reshape(shape)
