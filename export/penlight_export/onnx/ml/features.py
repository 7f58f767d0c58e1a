# SPDX-License-Identifier: Apache-2.0
"""Operators of ai.onnx.ml that prepare features: scaling, imputing, encoding, choosing columns."""

from __future__ import annotations

from typing import Any

import numpy as np

from penlight_export.graph import DataType, TensorType, Value, rank_of, text_array
from penlight_export.onnx.ml.body import Body


def scaler(body: Body) -> None:
    """(x - offset) * scale."""
    x = body.cast(body.input(), DataType.FLOAT)
    offset, scale = body.numbers("offset"), body.numbers("scale")
    x = body.add("Sub", x, body.constant(offset)) if offset.size else x
    body.finish(body.add("Mul", x, body.constant(scale if scale.size else 1)))


def normalizer(body: Body) -> None:
    """Rows over their norm; a row of zeros stays. As in onnxruntime, the norm MAX is the largest entry, not its magnitude."""
    reductions = {"MAX": "ReduceMax", "L1": "ReduceL1", "L2": "ReduceL2"}
    kind = body.attribute("norm", "MAX")
    if kind not in reductions:
        raise body.refusal(f"has norm {kind}, expected {', '.join(reductions)}")
    x = body.cast(body.input(), DataType.FLOAT)
    norm = body.add(reductions[kind], x, body.constant([-1], np.int64))
    empty = body.add("Equal", norm, body.constant(0))
    body.finish(body.add("Div", x, body.add("Where", empty, body.constant(1), norm)))


def imputer(body: Body) -> None:
    """Replaces one value, often NaN, by a number per column."""
    x = body.input()
    integers = x.dtype in (DataType.INT64, DataType.INT32)
    dtype = x.dtype.numpy() if x.dtype is not None else np.float32
    kind = "int64" if integers else "float"
    old, new = body.attribute(f"replaced_value_{kind}", 0), body.numbers(f"imputed_value_{kind}s")
    is_old = body.add("IsNaN", x) if old != old else body.add("Equal", x, body.constant(old, dtype))
    body.finish(body.add("Where", is_old, body.constant(new, dtype), x))


def binarizer(body: Body) -> None:
    """1 above the threshold, else 0, in the operand's type."""
    x = body.input()
    dtype = x.dtype if x.dtype is not None else DataType.FLOAT
    above = body.add("Greater", body.cast(x, DataType.DOUBLE), body.constant(body.attribute("threshold", 0.0), np.float64))
    body.finish(body.add("Cast", above, to=dtype.value))


def array_feature_extractor(body: Body) -> None:
    """Columns by number; a vector is one row."""
    x, columns = body.input(), body.add("Reshape", body.input(1), body.constant([-1], np.int64))
    if rank_of(x) == 1:
        x = body.add("Unsqueeze", x, body.constant([0], np.int64))
    body.finish(body.add("Gather", x, columns, axis=-1))


def feature_vectorizer(body: Body) -> None:
    """All operands side by side as float32; a vector is one column."""
    parts: list[Value] = []
    for i, value in enumerate(body.node.inputs):
        part = body.cast(body.input(i), DataType.FLOAT)
        parts.append(body.add("Unsqueeze", part, body.constant([1], np.int64)) if rank_of(value) == 1 else part)
    body.finish(body.add("Concat", *parts, axis=1))


def one_hot_encoder(body: Body) -> None:
    """A last dimension of 0 and 1 per category; a value of no category has none (an error elsewhere when zeros=0)."""
    texts, categories = body.texts("cats_strings"), body.numbers("cats_int64s")
    if texts.size:
        keys, categories = np.unique(texts.astype(str), return_inverse=True)
        found = body.index(body.input(), keys.astype(object))
    else:
        found = body.cast(body.input(), DataType.INT64)
    body.finish(body.cast(_matches(body, found, categories), DataType.FLOAT))


def label_encoder(body: Body) -> None:
    """A table from keys to values; what has no key gets the default."""
    keys = body.entries("keys_int64s", "keys_floats", "keys_strings", "keys_tensor")
    values = body.entries("values_int64s", "values_floats", "values_strings", "values_tensor")
    classes = body.texts("classes_strings")  # of version 1: between texts and their places
    if classes.size:
        keys, values = np.arange(classes.size), classes
        keys, values = (values, keys) if body.input().dtype == DataType.STRING else (keys, values)
    if values.dtype.kind == "f" and not body.attribute("values_tensor"):
        values = values.astype(np.float32)
    _encode(body, keys, values, _default(body, values))


def category_mapper(body: Body) -> None:
    """The same between texts and int64."""
    texts, numbers = body.texts("cats_strings"), body.numbers("cats_int64s").astype(np.int64)
    keys, values = (texts, numbers) if body.input().dtype == DataType.STRING else (numbers, texts)
    _encode(body, keys, values, _default(body, values))


def _default(body: Body, values: np.ndarray) -> Any:
    tensor = body.attribute("default_tensor")
    if values.dtype.kind == "O":
        return str(text_array(tensor).reshape(-1)[0]) if tensor is not None else body.attribute("default_string", "_Unused")
    if tensor is not None:
        return tensor.numpy().reshape(-1)[0]
    return body.attribute("default_int64", -1) if values.dtype.kind == "i" else body.attribute("default_float", -0.0)


def _encode(body: Body, keys: np.ndarray, values: np.ndarray, default: Any) -> None:
    """Looks every element up; of keys that come twice the first counts."""
    if not keys.size or keys.size != values.size:
        raise body.refusal("has not one value for each key")
    keys, values, x = keys.reshape(-1), values.reshape(-1), body.input()
    if keys.dtype.kind == "O":
        keys, first = np.unique(keys.astype(str), return_index=True)
        place, values = body.index(x, keys.astype(object)), values[first]
    else:
        found = body.cast(_matches(body, x, keys), DataType.INT32)
        known = body.cast(body.add("ReduceMax", found, body.constant([-1], np.int64), keepdims=0), DataType.BOOL)
        place = body.add("Where", known, body.add("ArgMax", found, axis=-1, keepdims=0), body.constant(-1, np.int64))
    table = np.append(values, np.array([default], values.dtype))  # the place -1 is that of the default
    chosen = body.add("Gather", body.constant(table, table.dtype), place)
    chosen.type, chosen.shape = (
        TensorType(DataType.STRING if table.dtype.kind == "O" else DataType.from_numpy(table.dtype)),
        x.shape,
    )
    body.finish(chosen)


def _matches(body: Body, x: Value, keys: np.ndarray) -> Value:
    """bool, x's shape and a last dimension: which key each element equals. NaN equals NaN."""
    dtype = x.dtype.numpy() if x.dtype is not None else keys.dtype
    wide = body.add("Unsqueeze", x, body.constant([-1], np.int64))
    equal = body.add("Equal", wide, body.constant(keys, dtype))
    if keys.dtype.kind == "f" and np.isnan(keys).any():
        both = body.add("And", body.add("IsNaN", wide), body.constant(np.isnan(keys), bool))
        equal = body.add("Or", equal, both)
    return equal
