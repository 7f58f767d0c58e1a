# SPDX-License-Identifier: Apache-2.0
"""Lowerings of recurrent networks, one node for one layer in one direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from penlight_export.graph import Value
from penlight_export.onnx.builder import Builder
from penlight_export.onnx.lowerings.registry import lowering

Order = Sequence[int]  # which of the operator's gates stands at each place of ONNX's


@lowering("lstm")
def lstm(b: Builder, operator: Any, x: Value, h0: Value, c0: Value, *weights: Value | None) -> tuple[Value | None, ...]:
    """LSTM; gates i, f, g, o become i, o, f, c."""
    return *_sequence(b, operator, "LSTM", (0, 3, 1, 2), x, (h0, c0), weights), None, None


@lowering("gru")
def gru(b: Builder, operator: Any, x: Value, h0: Value, *weights: Value | None) -> tuple[Value | None, ...]:
    """GRU; gates r, z, n become z, r, h."""
    return *_sequence(b, operator, "GRU", (1, 0, 2), x, (h0,), weights, linear_before_reset=1), None


@lowering("rnn")
def rnn(b: Builder, operator: Any, x: Value, h0: Value, *weights: Value | None) -> tuple[Value, ...]:
    """RNN."""
    return _sequence(b, operator, "RNN", (0,), x, (h0,), weights, activations=[operator.nonlinearity.capitalize()])


def _sequence(
    b: Builder,
    operator: Any,
    name: str,
    order: Order,
    x: Value,
    first: Sequence[Value],
    weights: Sequence[Value | None],
    **attributes: Any,
) -> tuple[Value, ...]:
    """y and the last states; ONNX has a dimension for the direction."""
    zero, one = b.integers([0]), b.integers([1])
    w_ih, w_hh, b_ih, b_hh = (None if w is None else _reordered(b, w, order) for w in weights)
    bias = None if b_ih is None or b_hh is None else b.op("Unsqueeze", b.op("Concat", b_ih, b_hh, axis=0), zero)
    w, r, *states = (b.op("Unsqueeze", value, zero) for value in (w_ih, w_hh, *first))
    hidden = b.fixed(b.outputs[1].shape[-1])
    attributes |= {"hidden_size": hidden, "direction": "reverse" if operator.reverse else "forward"}
    packed = operator.sizes is not None
    rows = b.op("Gather", x, b.constant(_padded_rows(operator.sizes), np.int64), axis=0) if packed else x
    lengths = b.constant(_lengths(operator.sizes), np.int32) if packed else None
    y, *last = b.op(name, rows, w, r, bias, lengths, *states, count=1 + len(first), **attributes)
    y = b.op("Squeeze", y, one)
    if packed:
        y = b.op("Gather", b.op("Reshape", y, b.integers([-1, hidden])), b.constant(_kept_rows(operator.sizes), np.int64), axis=0)
    return y, *(b.op("Squeeze", part, zero) for part in last)


def _reordered(b: Builder, weights: Value, order: Order) -> Value:
    """Weights or a bias with its blocks of H rows, one for each gate, in ONNX's order."""
    if len(order) == 1:
        return weights
    blocks = b.op("Split", weights, count=len(order), axis=0, num_outputs=len(order) if b.opset >= 18 else None)
    return b.op("Concat", *(blocks[gate] for gate in order), axis=0)


def _padded_rows(sizes: Sequence[int]) -> np.ndarray:
    """(T, B): the row of each step of each sequence among the packed rows; 0 behind the end of a sequence."""
    starts = np.cumsum([0, *sizes])
    return np.array([[start + k if k < size else 0 for k in range(sizes[0])] for start, size in zip(starts, sizes, strict=False)])


def _kept_rows(sizes: Sequence[int]) -> np.ndarray:
    """The rows of (T * B) that are within their sequence: the packed ones in their order."""
    return np.array([step * sizes[0] + k for step, size in enumerate(sizes) for k in range(size)])


def _lengths(sizes: Sequence[int]) -> np.ndarray:
    """(B,): the length of each sequence."""
    return np.array([sum(size > k for size in sizes) for k in range(sizes[0])])
