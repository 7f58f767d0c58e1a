# SPDX-License-Identifier: Apache-2.0
"""Operators of ai.onnx.ml that prepare features: scaling, imputing, encoding, choosing columns."""

from __future__ import annotations

import numpy as np

from penlight_export.graph import DataType, Value, rank_of
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
    categories = body.numbers("cats_int64s")
    if not categories.size:
        raise body.refusal("has texts as categories, which the edge runtime cannot hold; encode numbers instead")
    body.finish(body.cast(_matches(body, body.cast(body.input(), DataType.INT64), categories), DataType.FLOAT))


def label_encoder(body: Body) -> None:
    """A table from keys to values, both numbers; what has no key gets the default."""
    keys = body.numbers("keys_int64s", "keys_floats", "keys_tensor")
    values = body.numbers("values_int64s", "values_floats", "values_tensor")
    if not (keys.size and keys.size == values.size and keys.dtype.kind in "if" and values.dtype.kind in "if"):
        raise body.refusal("maps texts, which the edge runtime cannot hold, or has not one value for each key")
    x = body.input()
    if values.dtype.kind == "f" and not body.attribute("values_tensor"):
        values = values.astype(np.float32)
    found = body.cast(_matches(body, x, keys), DataType.INT32)
    default = body.attribute("default_tensor")
    if default is None:
        default = body.attribute("default_int64", -1) if values.dtype.kind == "i" else body.attribute("default_float", -0.0)
    else:
        default = default.numpy().reshape(())
    chosen = body.add("Gather", body.constant(values, values.dtype), body.add("ArgMax", found, axis=-1, keepdims=0))
    known = body.cast(body.add("ReduceMax", found, body.constant([-1], np.int64), keepdims=0), DataType.BOOL)
    body.finish(body.add("Where", known, chosen, body.constant(default, values.dtype)))


def _matches(body: Body, x: Value, keys: np.ndarray) -> Value:
    """bool, x's shape and a last dimension: which key each element equals. NaN equals NaN."""
    dtype = x.dtype.numpy() if x.dtype is not None else keys.dtype
    wide = body.add("Unsqueeze", x, body.constant([-1], np.int64))
    equal = body.add("Equal", wide, body.constant(keys, dtype))
    if keys.dtype.kind == "f" and np.isnan(keys).any():
        both = body.add("And", body.add("IsNaN", wide), body.constant(np.isnan(keys), bool))
        equal = body.add("Or", equal, both)
    return equal
