# SPDX-License-Identifier: Apache-2.0
"""LSTM, GRU and RNN: by the framework's recurrent operators, or step by step where a node asks for more than those have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import penlight as pl
from penlight.nn import functional as F
from penlight.ops.recurrent import gru_layer, lstm_layer, rnn_layer
from penlight_export.imported.registry import operator
from penlight_export.imported.values import numbers

Tensor = pl.Tensor
Cell = Callable[[Tensor, list[Tensor]], list[Tensor]]

_ACTIVATIONS: dict[str, Callable[..., Tensor]] = {
    "affine": lambda x, a, b: x * a + b,
    "elu": lambda x, a, b: F.elu(x, a),
    "hardsigmoid": lambda x, a, b: pl.clamp(x * a + b, 0, 1),
    "leakyrelu": lambda x, a, b: F.leaky_relu(x, a),
    "relu": lambda x, a, b: F.relu(x),
    "scaledtanh": lambda x, a, b: pl.tanh(x * b) * a,
    "sigmoid": lambda x, a, b: pl.sigmoid(x),
    "softplus": lambda x, a, b: F.softplus(x),
    "softsign": lambda x, a, b: F.softsign(x),
    "tanh": lambda x, a, b: pl.tanh(x),
    "thresholdedrelu": lambda x, a, b: F.threshold(x, a, 0),
}
_NUMBERS = {
    "affine": (1.0, 0.0),
    "elu": (1.0, 0.0),
    "hardsigmoid": (0.2, 0.5),
    "leakyrelu": (0.01, 0.0),
    "thresholdedrelu": (1.0, 0.0),
}


class _Network:
    """What a node of either kind says, with defaults filled in."""

    def __init__(self, gates: int, names: Sequence[str], options: dict[str, Any]) -> None:
        self.gates = gates
        direction = options.get("direction", "forward")
        self.reverse = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[direction]
        given = options.get("activations") or [*names] * len(self.reverse)
        self.names = [name.lower() for name in given]
        self.default = self.names == [name.lower() for name in names] * len(self.reverse)
        alphas, betas = list(options.get("activation_alpha") or []), list(options.get("activation_beta") or [])
        self.functions = [self._function(name, alphas, betas) for name in self.names]
        self.clip, self.layout = options.get("clip"), options.get("layout", 0)
        self.per_direction = len(names)

    def _function(self, name: str, alphas: list[float], betas: list[float]) -> Callable[[Tensor], Tensor]:
        a, b = _NUMBERS.get(name, (0.0, 0.0))
        if name in ("affine", "scaledtanh", "hardsigmoid", "elu", "leakyrelu", "thresholdedrelu"):
            a = alphas.pop(0) if alphas else a
        if name in ("affine", "scaledtanh", "hardsigmoid"):
            b = betas.pop(0) if betas else b
        return lambda x: _ACTIVATIONS[name](x, a, b)

    def activations(self, number: int) -> list[Callable[[Tensor], Tensor]]:
        """The functions of one direction; what goes into each is clipped first."""
        own = self.functions[number * self.per_direction : (number + 1) * self.per_direction]
        if self.clip is None:
            return own
        limit = float(self.clip)
        return [lambda x, f=f: f(pl.clamp(x, -limit, limit)) for f in own]  # type: ignore[misc]  # mypy sees no default argument

    def run(
        self,
        x: Tensor,
        lengths: Any,
        first: Sequence[Tensor | None],
        hidden: int,
        layer: Callable[[int, Tensor, list[Tensor], Any], Any],
    ) -> tuple[Tensor, ...]:
        """y (T, D, B, H) and the last states (D, B, H), in the node's layout; `layer` runs one direction."""
        if self.layout:
            x = x.permute(1, 0, 2)
            first = [None if state is None else state.permute(1, 0, 2) for state in first]
        ys, lasts = [], []
        for number, _ in enumerate(self.reverse):
            zero = pl.zeros(x.shape[1], hidden, dtype=x.dtype)
            y, last = layer(number, x, [zero if state is None else state[number] for state in first], lengths)
            ys.append(y)
            lasts.append(last)
        y = pl.stack(ys, 1)
        states = [pl.stack(list(column), 0) for column in zip(*lasts, strict=True)]
        if self.layout:
            return y.permute(2, 0, 1, 3), *(state.permute(1, 0, 2) for state in states)
        return y, *states


def _blocks(w: Tensor, order: Sequence[int]) -> Tensor:
    """Rows of gates in another order."""
    size = w.shape[0] // len(order)
    return w if len(order) == 1 else pl.cat([w.narrow(0, gate * size, size) for gate in order], 0)


def _weights(w: Tensor, r: Tensor, bias: Tensor | None, number: int, order: Sequence[int]) -> list[Any]:
    """w_ih, w_hh, b_ih and b_hh of one direction, gates in an order."""
    if bias is None:
        return [_blocks(w[number], order), _blocks(r[number], order), None, None]
    rows = bias.shape[-1] // 2
    halves = bias[number].narrow(0, 0, rows), bias[number].narrow(0, rows, rows)
    return [_blocks(each, order) for each in (w[number], r[number], *halves)]


def _same_lengths(lengths: Any, x: Tensor) -> bool:
    return lengths is None or all(int(n) == int(x.shape[0]) for n in numbers(lengths))


def _steps(x: Tensor, states: list[Tensor], lengths: Any, reverse: bool, cell: Cell) -> tuple[Tensor, list[Tensor]]:
    """Goes over the steps; a sequence that has ended keeps its states and gives zeros."""
    order, rows = range(x.shape[0]), []
    ends = None if lengths is None else np.asarray(numbers(lengths))
    for step in reversed(order) if reverse else order:
        new = cell(x[step], states)
        if ends is not None:
            runs = pl.tensor((step < ends).reshape(-1, 1))
            rows.append(pl.where(runs, new[0], pl.zeros_like(new[0])))
            new = [pl.where(runs, after, before) for after, before in zip(new, states, strict=True)]
        else:
            rows.append(new[0])
        states = new
    return pl.stack(rows[::-1] if reverse else rows, 0), states


@operator("LSTM", known=(4,))
def lstm(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    bias: Tensor | None = None,
    lengths: Any = None,
    h: Tensor | None = None,
    c: Tensor | None = None,
    peepholes: Tensor | None = None,
    *,
    activation_alpha: Any = None,
    activation_beta: Any = None,
    activations: Any = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    input_forget: int = 0,
    layout: int = 0,
) -> tuple[Tensor, ...]:
    """ONNX's gates are i, o, f, c."""
    network = _Network(4, ("Sigmoid", "Tanh", "Tanh"), {**locals()})
    hidden = r.shape[-1]
    fast = network.default and clip is None and peepholes is None and not input_forget

    def layer(number: int, x: Tensor, states: list[Tensor], lengths: Any) -> Any:
        if fast and _same_lengths(lengths, x):
            return lstm_layer(x, states, _weights(w, r, bias, number, (0, 2, 3, 1)), network.reverse[number])
        w_ih, w_hh, b_ih, b_hh = _weights(w, r, bias, number, (0, 1, 2, 3))
        f, g, out = network.activations(number)
        p_i, p_o, p_f = (None,) * 3 if peepholes is None else pl.split(peepholes[number], hidden)

        def peep(weights: Tensor | None, cell: Tensor) -> Any:
            return 0 if weights is None else weights * cell

        def step(row: Tensor, states: list[Tensor]) -> list[Tensor]:
            before, cell = states
            i, o, forget, new = pl.split(F.linear(row, w_ih, b_ih) + F.linear(before, w_hh, b_hh), hidden, -1)
            i = f(i + peep(p_i, cell))
            forget = 1 - i if input_forget else f(forget + peep(p_f, cell))
            cell = forget * cell + i * g(new)
            return [f(o + peep(p_o, cell)) * out(cell), cell]

        return _steps(x, states, lengths, network.reverse[number], step)

    return network.run(x, lengths, (h, c), hidden, layer)


@operator("GRU", known=(4,))
def gru(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    bias: Tensor | None = None,
    lengths: Any = None,
    h: Tensor | None = None,
    *,
    activation_alpha: Any = None,
    activation_beta: Any = None,
    activations: Any = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    layout: int = 0,
    linear_before_reset: int = 0,
) -> tuple[Tensor, ...]:
    """ONNX's gates are z, r, h."""
    network = _Network(3, ("Sigmoid", "Tanh"), {**locals()})
    hidden = r.shape[-1]

    def layer(number: int, x: Tensor, states: list[Tensor], lengths: Any) -> Any:
        if network.default and clip is None and linear_before_reset and _same_lengths(lengths, x):
            return gru_layer(x, states, _weights(w, r, bias, number, (1, 0, 2)), network.reverse[number])
        w_ih, w_hh, b_ih, b_hh = _weights(w, r, bias, number, (0, 1, 2))
        f, g = network.activations(number)
        rows, shifts = pl.split(w_hh, hidden), (0, 0, 0) if b_hh is None else pl.split(b_hh, hidden)

        def step(row: Tensor, states: list[Tensor]) -> list[Tensor]:
            (before,) = states
            parts = pl.split(F.linear(row, w_ih, b_ih), hidden, -1)
            z, reset = (f(part + F.linear(before, rows[k]) + shifts[k]) for k, part in enumerate(parts[:2]))
            if linear_before_reset:
                new = g(parts[2] + reset * (F.linear(before, rows[2]) + shifts[2]))
            else:
                new = g(parts[2] + F.linear(reset * before, rows[2]) + shifts[2])
            return [new + z * (before - new)]

        return _steps(x, states, lengths, network.reverse[number], step)

    return network.run(x, lengths, (h,), hidden, layer)


@operator("RNN", known=(4,))
def rnn(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    bias: Tensor | None = None,
    lengths: Any = None,
    h: Tensor | None = None,
    *,
    activation_alpha: Any = None,
    activation_beta: Any = None,
    activations: Any = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    layout: int = 0,
) -> tuple[Tensor, ...]:
    """One gate."""
    network = _Network(1, ("Tanh",), {**locals()})

    def layer(number: int, x: Tensor, states: list[Tensor], lengths: Any) -> Any:
        w_ih, w_hh, b_ih, b_hh = weights = _weights(w, r, bias, number, (0,))
        if network.names[number] in ("tanh", "relu") and clip is None and _same_lengths(lengths, x):
            return rnn_layer(x, states, weights, network.reverse[number], nonlinearity=network.names[number])
        (f,) = network.activations(number)

        def step(row: Tensor, states: list[Tensor]) -> list[Tensor]:
            return [f(F.linear(row, w_ih, b_ih) + F.linear(states[0], w_hh, b_hh))]

        return _steps(x, states, lengths, network.reverse[number], step)

    return network.run(x, lengths, (h,), r.shape[-1], layer)
