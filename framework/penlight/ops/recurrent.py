# SPDX-License-Identifier: Apache-2.0
"""Recurrent networks over whole sequences, one operator for one layer in one direction.

The gradient is written once, in arithmetic that arrays and Tensors share: `backward` runs it on arrays, `vjp` on Tensors, where
it can be differentiated again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from penlight.errors import ArgumentError, ShapeError
from penlight.ops.activation import tanh
from penlight.ops.broadcast import same_dtype
from penlight.ops.dispatch import apply
from penlight.ops.operator import Operator, Spec
from penlight.ops.registry import register
from penlight.ops.samples import Sample, of, sample
from penlight.ops.shape import cat
from penlight.tensor import Tensor

Step = tuple[int, int]  # first row and number of rows


class _TensorMath:
    """The functions of NumPy that the gradients call, on Tensors."""

    tanh = staticmethod(tanh)
    concatenate = staticmethod(cat)


class _Recurrent(Operator):
    """What the operators share.

    Inputs: x (T, B, I); the first state, h0 (B, H) and for an LSTM c0 (B, H); w_ih (gates * H, I); w_hh (gates * H, H); b_ih and
    b_hh (gates * H), both or neither. Outputs: y (T, B, H), the last state, and what the gradient needs of every step.

    With `sizes`, x and y are packed, (sum(sizes), ...): step t has the rows of the first sizes[t] sequences, and sizes never
    grow. `reverse` goes from the last step to the first.
    """

    gates: ClassVar[int]
    states: ClassVar[int] = 1
    saved: ClassVar[tuple[int, ...]] = ()  # widths of the private outputs, in H
    saves_output = True

    reverse: bool
    sizes: tuple[int, ...] | None

    def infer(self, x: Spec, *rest: Spec | None) -> tuple[Spec, ...]:
        first, (w_ih, w_hh, b_ih, b_hh) = rest[: self.states], rest[self.states :]
        assert w_ih is not None and w_hh is not None and first[0] is not None
        given = ", ".join(str(tuple(map(int, s.shape))) for s in (x, *rest) if s is not None)
        hidden, batch = w_hh.shape[-1], first[0].shape[0]
        rows = self.gates * hidden
        fits = len(x.shape) == (3 if self.sizes is None else 2) and (self.sizes is not None or x.shape[1] == batch)
        fits = fits and all(s is not None and tuple(s.shape) == (batch, hidden) for s in first)
        fits = fits and tuple(w_ih.shape) == (rows, x.shape[-1]) and tuple(w_hh.shape) == (rows, hidden)
        if not fits or any(b is not None and tuple(b.shape) != (rows,) for b in (b_ih, b_hh)):
            raise ShapeError(
                f"{self.name}: expected x (T, B, I), states (B, H), w_ih ({self.gates} * H, I), w_hh ({self.gates} * H, H) and "
                f"biases ({self.gates} * H), came {given}"
            )
        if (b_ih is None) != (b_hh is None):
            raise ArgumentError(f"{self.name}: expected both biases or neither, came one")
        self._check_sizes(x, batch)
        dtype = same_dtype(self.name, *(s for s in (x, *rest) if s is not None))
        last = (Spec((batch, hidden), dtype),) * self.states
        return Spec((*x.shape[:-1], hidden), dtype), *last, *(Spec((*x.shape[:-1], n * hidden), dtype) for n in self.saved)

    def _check_sizes(self, x: Spec, batch: int) -> None:
        sizes = self.sizes
        if sizes is None:
            return
        falling = all(a >= b for a, b in pairwise(sizes))
        if sum(sizes) != x.shape[0] or not falling or (sizes and (sizes[0] != batch or sizes[-1] < 1)):
            raise ShapeError(f"{self.name}: sizes {sizes} must fall from the batch size {batch} and add up to {x.shape[0]} rows")

    def steps(self, x: Any, batch: int) -> list[Step]:
        """The rows of each step, in the order in which the network goes over them."""
        sizes = (batch,) * x.shape[0] if self.sizes is None else self.sizes
        ends = np.cumsum([0, *sizes]).tolist()
        steps = list(zip(ends[:-1], sizes, strict=True))
        return steps[::-1] if self.reverse else steps

    def forward(self, xp, x, *rest):
        first, (w_ih, w_hh, b_ih, b_hh) = rest[: self.states], rest[self.states :]
        if w_ih.shape[-1] != x.shape[-1]:
            raise ValueError("the input does not fit")
        rows = x.reshape(x.size // max(x.shape[-1], 1), x.shape[-1])
        projected = rows @ w_ih.T if b_ih is None else rows @ w_ih.T + b_ih
        state = [part.copy() for part in first]
        kept = [xp.empty((len(rows), n * w_hh.shape[1]), dtype=x.dtype) for n in (1, *self.saved)]
        for start, count in self.steps(x, len(first[0])):
            own = state[0][:count] @ w_hh.T if b_hh is None else state[0][:count] @ w_hh.T + b_hh
            step = slice(start, start + count)
            new, saved = self._step(xp, projected[step], own, [part[:count] for part in state])
            for part, value in zip(state, new, strict=True):
                part[:count] = value
            for array, value in zip(kept, (new[0], *saved), strict=True):
                array[step] = value
        y, *others = (array.reshape(*x.shape[:-1], array.shape[-1]) for array in kept)
        return y, *state, *others

    def _step(self, xp: Any, projected: Any, own: Any, state: list[Any]) -> tuple[list[Any], list[Any]]:
        """The new state and what to save, of the input's and the state's part of the gates: (B, gates * H)."""
        raise NotImplementedError

    def _step_gradient(
        self, xp: Any, g_y: Any, g_state: list[Any], g_saved: list[Any], y: Any, saved: list[Any], before: list[Any]
    ) -> tuple[Any, Any, list[Any]]:
        """Gradients of the input's and the state's part of the gates, and of the state before, without what goes through w_hh."""
        raise NotImplementedError

    def backward(self, xp, needs, grad, output, *inputs):
        return self._gradient(xp, needs, grad, output, *inputs)

    def vjp(self, grad, output, *inputs):
        return self._gradient(_TensorMath, [t is not None and t.requires_grad for t in inputs], grad, output, *inputs)

    def _gradient(self, xp: Any, needs: Any, grad: Any, output: Any, x: Any, *rest: Any) -> Any:
        first, (w_ih, w_hh, b_ih, _) = rest[: self.states], rest[self.states :]
        flat: list[Any] = [None if a is None else a.reshape(-1, a.shape[-1]) if a.ndim == 3 else a for a in (*grad, *output)]
        g_y, g_last, g_saved = flat[0], flat[1 : 1 + self.states], flat[1 + self.states : len(grad)]
        y, saved = flat[len(grad)], flat[len(grad) + 1 + self.states :]
        steps = self.steps(x, len(first[0]))
        g_state = [0 * part if g is None else g for g, part in zip(g_last, first, strict=True)]
        histories = (y, *saved[1:])[: self.states]
        befores = [list(_before(xp, steps, history, start)) for history, start in zip(histories, first, strict=True)]
        found: dict[int, tuple[Any, Any]] = {}
        for number in range(len(steps) - 1, -1, -1):
            start, count = steps[number]
            step = slice(start, start + count)
            parts = [g[:count] for g in g_state], [_rows(g, step) for g in g_saved]
            before = [history[number] for history in befores]
            g_in, g_own, g_before = self._step_gradient(xp, _rows(g_y, step), *parts, y[step], [s[step] for s in saved], before)
            found[start] = g_in, g_own
            g_before[0] = g_own @ w_hh if g_before[0] is None else g_before[0] + g_own @ w_hh
            g_state = [_joined(xp, new, old, count) for new, old in zip(g_before, g_state, strict=True)]
        if not found:
            return NotImplemented
        ordered = [found[start] for start in sorted(found)]
        g_in, g_own = (xp.concatenate(parts, 0) for parts in zip(*ordered, strict=True))
        h_before = xp.concatenate([h for _, h in sorted(zip([s for s, _ in steps], befores[0], strict=True), key=_first)], 0)
        g_x = (g_in @ w_ih).reshape(*x.shape) if needs[0] else None
        g_biases = (None, None) if b_ih is None else (g_in.sum(0), g_own.sum(0))
        return g_x, *g_state, g_in.T @ x.reshape(-1, x.shape[-1]), g_own.T @ h_before, *g_biases


def _first(pair: tuple[int, Any]) -> int:
    return pair[0]


def _rows(array: Any, step: slice) -> Any:
    return 0 if array is None else array[step]


def _joined(xp: Any, new: Any, old: Any, count: int) -> Any:
    """`new` for the first `count` sequences, `old` for those that take no part in the step."""
    return new if count == len(old) else xp.concatenate([new, old[count:]], 0)


def _before(xp: Any, steps: Sequence[Step], history: Any, first: Any) -> Iterator[Any]:
    """The state before each step: rows of the step before, and of the first state for sequences that begin."""
    start = common = 0
    for number, (_, count) in enumerate(steps):
        if number:
            start, common = steps[number - 1][0], min(count, steps[number - 1][1])
        parts = [part for part in (history[start : start + common], first[common:count]) if len(part)]
        yield parts[0] if len(parts) == 1 else xp.concatenate(parts, 0) if parts else first[:0]


def _quarters(array: Any, count: int) -> list[Any]:
    size = array.shape[-1] // count
    return [array[:, k * size : (k + 1) * size] for k in range(count)]


def _samples(gates: int, states: int, **fields: Any) -> tuple[Sample, ...]:
    def call(steps: int, batch: int, size: int, hidden: int, bias: bool = True, **more: Any) -> Sample:
        rows = gates * hidden
        biases = (of(rows), of(rows)) if bias else (None, None)
        x = of(sum(more["sizes"]), size) if "sizes" in more else of(steps, batch, size)
        return sample(x, *(of(batch, hidden),) * states, of(rows, size), of(rows, hidden), *biases, **fields, **more)

    return (
        call(3, 2, 3, 4),
        call(4, 3, 2, 3, bias=False, reverse=True),
        call(1, 1, 1, 1),
        call(3, 3, 2, 2, sizes=(3, 2, 2)),
        call(3, 3, 2, 2, sizes=(3, 1, 1), reverse=True),
    )


@register
class Rnn(_Recurrent):
    """Elman network: h = tanh(or relu)(x w_ih^T + b_ih + h w_hh^T + b_hh)"""

    name = "rnn"
    gates = 1
    outputs = 2
    samples = _samples(1, 1) + _samples(1, 1, nonlinearity="relu")[:2]

    reverse: bool = False
    sizes: tuple[int, ...] | None = None
    nonlinearity: str = "tanh"

    def _step(self, xp, projected, own, state):
        total = projected + own
        return [xp.tanh(total) if self.nonlinearity == "tanh" else xp.maximum(total, 0)], []

    def _step_gradient(self, xp, g_y, g_state, g_saved, y, saved, before):
        g = (g_state[0] + g_y) * (1 - y * y if self.nonlinearity == "tanh" else _positive(y))
        return g, g, [None]


def _positive(y: Any) -> Any:
    return (y > 0).to(y.dtype) if isinstance(y, Tensor) else (y > 0).astype(y.dtype)


@register
class Gru(_Recurrent):
    """Gated recurrent units (Cho et al. 2014): reset r, update z, candidate n = tanh(x_n + r * h_n), h = n + z * (h - n)

    The third output holds r, z, n and h_n of every step.
    """

    name = "gru"
    gates = 3
    outputs = 3
    private_outputs = 1
    saved = (4,)
    samples = _samples(3, 1)

    reverse: bool = False
    sizes: tuple[int, ...] | None = None

    def _step(self, xp, projected, own, state):
        (x_r, x_z, x_n), (h_r, h_z, h_n) = _quarters(projected, 3), _quarters(own, 3)
        r, z = _sigmoid(xp, x_r + h_r), _sigmoid(xp, x_z + h_z)
        n = xp.tanh(x_n + r * h_n)
        return [n + z * (state[0] - n)], [xp.concatenate([r, z, n, h_n], -1)]

    def _step_gradient(self, xp, g_y, g_state, g_saved, y, saved, before):
        r, z, n, h_n = _quarters(saved[0], 4)
        more_r, more_z, more_n, more_h = (0, 0, 0, 0) if isinstance(g_saved[0], int) else _quarters(g_saved[0], 4)
        g = g_state[0] + g_y
        g_n = (g * (1 - z) + more_n) * (1 - n * n)
        g_r = (g_n * h_n + more_r) * r * (1 - r)
        g_z = (g * (before[0] - n) + more_z) * z * (1 - z)
        g_h = g_n * r + more_h
        return xp.concatenate([g_r, g_z, g_n], -1), xp.concatenate([g_r, g_z, g_h], -1), [g * z]


@register
class Lstm(_Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber 1997): c = f * c + i * g, h = o * tanh(c)

    The fourth output holds the gates i, f, g, o of every step, the fifth its c.
    """

    name = "lstm"
    gates = 4
    states = 2
    outputs = 5
    private_outputs = 2
    saved = (4, 1)
    samples = _samples(4, 2)

    reverse: bool = False
    sizes: tuple[int, ...] | None = None

    def _step(self, xp, projected, own, state):
        i, f, g, o = _quarters(projected + own, 4)
        i, f, g, o = _sigmoid(xp, i), _sigmoid(xp, f), xp.tanh(g), _sigmoid(xp, o)
        c = f * state[1] + i * g
        return [o * xp.tanh(c), c], [xp.concatenate([i, f, g, o], -1), c]

    def _step_gradient(self, xp, g_y, g_state, g_saved, y, saved, before):
        (i, f, g, o), t = _quarters(saved[0], 4), xp.tanh(saved[1])
        more_i, more_f, more_g, more_o = (0, 0, 0, 0) if isinstance(g_saved[0], int) else _quarters(g_saved[0], 4)
        g_h = g_state[0] + g_y
        g_c = g_state[1] + g_h * o * (1 - t * t) + g_saved[1]
        g_i = (g_c * g + more_i) * i * (1 - i)
        g_f = (g_c * before[1] + more_f) * f * (1 - f)
        g_g = (g_c * i + more_g) * (1 - g * g)
        g_o = (g_h * t + more_o) * o * (1 - o)
        g_gates = xp.concatenate([g_i, g_f, g_g, g_o], -1)
        return g_gates, g_gates, [None, g_c * f]


def _sigmoid(xp: Any, x: Any) -> Any:
    return 0.5 * xp.tanh(0.5 * x) + 0.5


def lstm_layer(
    x: Tensor, state: Sequence[Tensor], weights: Sequence[Tensor | None], reverse: bool = False, sizes: Any = None
) -> Any:
    """Returns y and the last (h, c) of one LSTM layer in one direction; `weights` are w_ih, w_hh, b_ih, b_hh."""
    y, h, c, *_ = apply(Lstm(reverse, sizes), x, *state, *weights)
    return y, (h, c)


def gru_layer(
    x: Tensor, state: Sequence[Tensor], weights: Sequence[Tensor | None], reverse: bool = False, sizes: Any = None
) -> Any:
    """Returns y and the last (h,) of one GRU layer in one direction; `weights` are w_ih, w_hh, b_ih, b_hh."""
    y, h, _ = apply(Gru(reverse, sizes), x, *state, *weights)
    return y, (h,)


def rnn_layer(
    x: Tensor,
    state: Sequence[Tensor],
    weights: Sequence[Tensor | None],
    reverse: bool = False,
    sizes: Any = None,
    nonlinearity: str = "tanh",
) -> Any:
    """Returns y and the last (h,) of one Elman layer in one direction; `weights` are w_ih, w_hh, b_ih, b_hh."""
    y, h = apply(Rnn(reverse, sizes, nonlinearity), x, *state, *weights)
    return y, (h,)
