# SPDX-License-Identifier: Apache-2.0
"""The compiled kernels of recurrent networks: one product for the inputs of all steps, then one call for the sequence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from penlight import _native
from penlight.backends.product_kernels import column_sums, multiply


def recurrent_kernels() -> dict[str, Callable[..., Any]]:
    """Operator name -> kernel, and `<name>.backward` -> kernel of its gradient."""
    return {
        "lstm": _lstm,
        "lstm.backward": _lstm_backward,
        "gru": _gru,
        "gru.backward": _gru_backward,
        "rnn": _rnn,
        "rnn.backward": _rnn_backward,
    }


def _takes(operator: Any, x: Any, *rest: Any) -> bool:
    """Whether all arrays are float32, none is empty, and the shapes fit; if not, the reference says what is wrong."""
    first, (w_ih, w_hh, b_ih, b_hh) = rest[: operator.states], rest[operator.states :]
    present = [a for a in (x, *rest) if a is not None]
    if any(type(a) is not np.ndarray or a.dtype != np.float32 or not a.size for a in present) or (b_ih is None) != (b_hh is None):
        return False
    batch, hidden = len(first[0]), w_hh.shape[-1]
    rows = operator.gates * hidden
    if x.ndim != (3 if operator.sizes is None else 2) or (operator.sizes is None and x.shape[1] != batch):
        return False
    if operator.sizes is not None and sum(operator.sizes) != len(x):
        return False
    shapes = [w_ih.shape == (rows, x.shape[-1]), w_hh.shape == (rows, hidden), *(s.shape == (batch, hidden) for s in first)]
    return all(shapes) and (b_ih is None or b_ih.shape == b_hh.shape == (rows,))


def _sizes(operator: Any, x: Any) -> np.ndarray:
    return np.full(x.shape[0], x.shape[1]) if operator.sizes is None else np.array(operator.sizes)


def _rows(x: Any) -> Any:
    return np.ascontiguousarray(x).reshape(-1, x.shape[-1])


def _project(x: Any, w_ih: Any, bias: Any, width: int) -> Any:
    """The input's part of all gates, (rows, gates * H), in the first columns of (rows, width)."""
    rows = _rows(x)
    result = np.empty((len(rows), width), np.float32)
    _native.matmul(rows, w_ih.T, bias, result[:, : len(w_ih)])
    return result


def _shaped(x: Any, array: Any) -> Any:
    return array.reshape(*x.shape[:-1], array.shape[-1])


def _gradients(grad: tuple[Any, ...], output: tuple[Any, ...], states: int) -> list[Any] | None:
    """Writable gradients of the last state behind that of y, zeros where there is none; None: private outputs have gradients."""
    if any(g is not None for g in grad[1 + states :]):
        return None
    g_y = np.zeros_like(output[0]) if grad[0] is None else np.ascontiguousarray(grad[0])
    last = zip(grad[1 : 1 + states], output[1 : 1 + states], strict=True)
    return [g_y, *(np.zeros_like(o) if g is None else np.array(g, order="C") for g, o in last)]


def _weights(needs: Any, x: Any, w_ih: Any, g_in: Any, g_own: Any, h_before: Any) -> tuple[Any, tuple[Any, ...]]:
    """Gradients of x, and of the weights and biases: one product each over all steps."""
    g_x = multiply(g_in, w_ih).reshape(x.shape) if needs[0] else None
    g_w_ih, g_w_hh, g_b_ih, g_b_hh = needs[-4:]
    g_bias = column_sums(g_in) if g_b_ih or g_b_hh else None
    g_own_bias = g_bias if g_own is g_in else column_sums(g_own) if g_b_hh else None
    products = multiply(g_in.T, _rows(x)) if g_w_ih else None, multiply(g_own.T, h_before) if g_w_hh else None
    return g_x, (*products, g_bias if g_b_ih else None, g_own_bias if g_b_hh else None)


def _lstm(operator: Any, x: Any, h0: Any, c0: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> Any:
    if not _takes(operator, x, h0, c0, w_ih, w_hh, b_ih, b_hh):
        return NotImplemented
    gates = _project(x, w_ih, None if b_ih is None else b_ih + b_hh, len(w_ih))
    h, c = np.array(h0, order="C"), np.array(c0, order="C")
    y, cells = (np.empty((len(gates), h.shape[1]), np.float32) for _ in range(2))
    _native.lstm(gates, np.ascontiguousarray(w_hh), _sizes(operator, x), operator.reverse, h, c, y, cells)
    return _shaped(x, y), h, c, _shaped(x, gates), _shaped(x, cells)


def _lstm_backward(operator: Any, needs: Any, grad: Any, output: Any, x: Any, *rest: Any) -> Any:
    gradients = _gradients(grad, output, 2) if _takes(operator, x, *rest) else None
    if gradients is None:
        return NotImplemented
    (g_y, g_h, g_c), (y, _, _, gates, cells) = gradients, output
    h0, c0, w_ih, w_hh = map(np.ascontiguousarray, rest[:4])
    g_gates = np.empty((gates.size // gates.shape[-1], gates.shape[-1]), np.float32)
    h_before = np.empty((len(g_gates), h0.shape[1]), np.float32)
    sizes = _sizes(operator, x)
    _native.lstm_grad(gates, w_hh, sizes, operator.reverse, h0, c0, y, cells, g_y, g_h, g_c, g_gates, h_before)
    g_x, weights = _weights(needs, x, w_ih, g_gates, g_gates, h_before)
    return g_x, g_h, g_c, *weights


def _gru(operator: Any, x: Any, h0: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> Any:
    if not _takes(operator, x, h0, w_ih, w_hh, b_ih, b_hh):
        return NotImplemented
    h = np.array(h0, order="C")
    size = h.shape[1]
    bias, bias_n = b_ih, np.zeros(size, np.float32)
    if bias is not None:
        bias, bias_n = bias.copy(), np.ascontiguousarray(b_hh[2 * size :])
        bias[: 2 * size] += b_hh[: 2 * size]
    gates = _project(x, w_ih, bias, 4 * size)
    y = np.empty((len(gates), size), np.float32)
    _native.gru(gates, np.ascontiguousarray(w_hh), bias_n, _sizes(operator, x), operator.reverse, h, y)
    return _shaped(x, y), h, _shaped(x, gates)


def _gru_backward(operator: Any, needs: Any, grad: Any, output: Any, x: Any, *rest: Any) -> Any:
    gradients = _gradients(grad, output, 1) if _takes(operator, x, *rest) else None
    if gradients is None:
        return NotImplemented
    (g_y, g_h), (y, _, gates) = gradients, output
    h0, w_ih, w_hh = map(np.ascontiguousarray, rest[:3])
    g_in, g_own = (np.empty((gates.size // gates.shape[-1], len(w_hh)), np.float32) for _ in range(2))
    h_before = np.empty((len(g_in), h0.shape[1]), np.float32)
    _native.gru_grad(gates, w_hh, _sizes(operator, x), operator.reverse, h0, y, g_y, g_h, g_in, g_own, h_before)
    g_x, weights = _weights(needs, x, w_ih, g_in, g_own, h_before)
    return g_x, g_h, *weights


def _rnn(operator: Any, x: Any, h0: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> Any:
    if not _takes(operator, x, h0, w_ih, w_hh, b_ih, b_hh):
        return NotImplemented
    y, h = _project(x, w_ih, None if b_ih is None else b_ih + b_hh, len(w_ih)), np.array(h0, order="C")
    is_relu = operator.nonlinearity == "relu"
    _native.rnn(y, np.ascontiguousarray(w_hh), is_relu, _sizes(operator, x), operator.reverse, h)
    return _shaped(x, y), h


def _rnn_backward(operator: Any, needs: Any, grad: Any, output: Any, x: Any, *rest: Any) -> Any:
    gradients = _gradients(grad, output, 1) if _takes(operator, x, *rest) else None
    if gradients is None:
        return NotImplemented
    (g_y, g_h), y = gradients, output[0]
    h0, w_ih, w_hh = map(np.ascontiguousarray, rest[:3])
    g_sums, h_before = (np.empty((y.size // y.shape[-1], y.shape[-1]), np.float32) for _ in range(2))
    is_relu = operator.nonlinearity == "relu"
    _native.rnn_grad(y, w_hh, is_relu, _sizes(operator, x), operator.reverse, h0, g_y, g_h, g_sums, h_before)
    g_x, weights = _weights(needs, x, w_ih, g_sums, g_sums, h_before)
    return g_x, g_h, *weights
