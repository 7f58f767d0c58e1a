# SPDX-License-Identifier: Apache-2.0
"""The lowering of rotary position embedding."""

from __future__ import annotations

from typing import Any

import numpy as np

from penlight_export.graph import Value
from penlight_export.onnx.builder import Builder
from penlight_export.onnx.lowerings.registry import lowering

_ROTARY_OPSET = 23


@lowering("rotary_embedding")
def rotary_embedding(b: Builder, operator: Any, x: Value, cos: Value, sin: Value, position_ids: Value | None) -> Value:
    """RotaryEmbedding from version 23 on, its formula before."""
    size, turned = b.fixed(b.specs[x].shape[3]), 2 * b.fixed(b.specs[cos].shape[-1])
    ids = position_ids
    if ids is not None and b.specs[ids].dtype.numpy != np.int64:
        ids = b.op("Cast", ids, to=7)
    if b.opset >= _ROTARY_OPSET:
        interleaved, part = 1 if operator.interleaved else None, turned if turned < size else None
        return b.op("RotaryEmbedding", x, cos, sin, ids, interleaved=interleaved, rotary_embedding_dim=part)
    rows = [table if ids is None else b.op("Gather", table, ids, axis=0) for table in (cos, sin)]
    cosines, sines = (b.op("Unsqueeze", each, b.integers([1])) for each in rows)
    first, second = _pairs(b, operator.interleaved, x, turned)
    low = b.op("Sub", b.op("Mul", first, cosines), b.op("Mul", second, sines))
    high = b.op("Add", b.op("Mul", first, sines), b.op("Mul", second, cosines))
    result = _in_turns(b, low, high, turned) if operator.interleaved else b.op("Concat", low, high, axis=-1)
    return result if turned == size else b.op("Concat", result, _slice(b, x, turned, size, 1), axis=-1)


def _pairs(b: Builder, interleaved: bool, x: Value, turned: int) -> tuple[Value, Value]:
    if interleaved:
        return _slice(b, x, 0, turned, 2), _slice(b, x, 1, turned, 2)
    return _slice(b, x, 0, turned // 2, 1), _slice(b, x, turned // 2, turned, 1)


def _slice(b: Builder, x: Value, start: int, end: int, step: int) -> Value:
    result: Value = b.op("Slice", x, *(b.integers([number]) for number in (start, end, -1, step)))
    return result


def _in_turns(b: Builder, low: Value, high: Value, turned: int) -> Value:
    """Neighbours out of two halves: (B, H, T, R / 2, 2), whose last sizes are joined."""
    pairs = b.op("Concat", *(b.op("Unsqueeze", each, b.integers([-1])) for each in (low, high)), axis=-1)
    result: Value = b.op("Reshape", pairs, b.integers([0, 0, 0, turned]))
    return result
