# SPDX-License-Identifier: Apache-2.0
"""Recurrent layers over whole sequences: several layers, both directions, projections, packed sequences.

The input's part of all steps is one product; the steps themselves are a loop, so a trace unrolls them for its length.
"""

from __future__ import annotations

from typing import Any

import penlight.nn.functional as F
import penlight.nn.init as init
from penlight.nn.module import Module
from penlight.nn.parameter import Parameter
from penlight.nn.recurrent_cell import GATES, gru_step, lstm_step, rnn_step
from penlight.nn.utils.rnn import PackedSequence
from penlight.ops.create import zeros
from penlight.ops.matmul import linear
from penlight.ops.shape import cat, stack
from penlight.tensor import Tensor

State = tuple[Tensor, ...]


class _Recurrent(Module):
    """What the layers share.

    Args:
        input_size: size of the input. hidden_size: H.
        num_layers: layers, each on top of the one below.
        bias: whether there are biases.
        batch_first: whether inputs and outputs are (B, T, ...) rather than (T, B, ...).
        dropout: probability between the layers, in training mode.
        bidirectional: whether a second network reads from the end; its outputs are put beside.
        proj_size: if not 0, h is projected to this size (LSTM only).

    Attributes:
        weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, weight_hr_l0: of layer 0; `_reverse` at the end for the second
            direction.
    """

    kind: str

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
    ):
        name = type(self).__name__
        if hidden_size <= 0 or num_layers <= 0 or not 0 <= dropout <= 1:
            raise ValueError(f"{name}: hidden_size={hidden_size} and num_layers={num_layers} must be positive, 0 <= dropout <= 1")
        if proj_size and (self.kind != "LSTM" or not 0 < proj_size < hidden_size):
            raise ValueError(f"{name}: proj_size={proj_size} is for LSTM, and must be below hidden_size={hidden_size}")
        self.input_size, self.hidden_size, self.num_layers, self.bias = input_size, hidden_size, num_layers, bias
        self.batch_first, self.dropout, self.bidirectional, self.proj_size = batch_first, dropout, bidirectional, proj_size
        for layer in range(num_layers):
            for suffix in self._suffixes(layer):
                self._add(layer, suffix)
        self.reset_parameters()

    def _suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}", f"_l{layer}_reverse"] if self.bidirectional else [f"_l{layer}"]

    def _add(self, layer: int, suffix: str) -> None:
        rows, out = GATES[self.kind] * self.hidden_size, self.proj_size or self.hidden_size
        size = self.input_size if layer == 0 else out * (2 if self.bidirectional else 1)
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, size), "weight_hh": (rows, out)}
        if self.bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        if self.proj_size:
            shapes["weight_hr"] = (self.proj_size, self.hidden_size)
        for name, shape in shapes.items():
            self.register_parameter(name + suffix, Parameter(init.empty(*shape)))

    def reset_parameters(self) -> None:
        """Draws the parameters anew, uniform in +-1/sqrt(hidden_size)."""
        for parameter in self.parameters():
            init.uniform_fan_(parameter, self.hidden_size)

    def flatten_parameters(self) -> None:
        """Does nothing; there for code written for PyTorch."""

    def _step(self, projected: Tensor, state: State, suffix: str) -> State:
        raise NotImplementedError

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        """Returns the outputs of all steps and the last state.

        Args:
            input: (T, B, input_size), or (B, T, input_size) with batch_first, or (T, input_size), or a PackedSequence.
            hx: h (layers * directions, B, H), for an LSTM (h, c); zeros by default.

        Returns:
            Outputs of the last layer, (T, B, directions * H) arranged as the input, and the state, shaped as hx.
        """
        if isinstance(input, PackedSequence):
            return self._packed(input, hx)
        unbatched = input.ndim == 2
        x = input.unsqueeze(1) if unbatched else input.transpose(0, 1) if self.batch_first else input
        if x.ndim != 3 or x.shape[2] != self.input_size:
            raise ValueError(f"{type(self).__name__}: expected (T, B, {self.input_size}), got {tuple(input.shape)}")
        state = self._first(x, x.shape[1], hx, unbatched)
        steps, last = self._layers(list(x.unbind(0)), state)
        output = stack(steps, 0)
        output = output.squeeze(1) if unbatched else output.transpose(0, 1) if self.batch_first else output
        return output, self._last([part.squeeze(1) if unbatched else part for part in last])

    def _packed(self, input: PackedSequence, hx: Any) -> tuple[PackedSequence, Any]:
        sizes = [int(n) for n in input.batch_sizes.tolist()]
        state = self._first(input.data, sizes[0], hx, False)
        if hx is not None and input.sorted_indices is not None:
            state = [part.index_select(1, input.sorted_indices) for part in state]
        steps, last = self._layers(list(input.data.split(sizes)), state)
        if input.unsorted_indices is not None:
            last = [part.index_select(1, input.unsorted_indices) for part in last]
        packed = PackedSequence(cat(steps, 0), input.batch_sizes, input.sorted_indices, input.unsorted_indices)
        return packed, self._last(last)

    def _first(self, x: Tensor, batch: int, hx: Any, unbatched: bool) -> list[Tensor]:
        """The state as [h] or [h, c], each (layers * directions, B, size)."""
        layers = self.num_layers * (2 if self.bidirectional else 1)
        sizes = [self.proj_size or self.hidden_size] + ([self.hidden_size] if self.kind == "LSTM" else [])
        if hx is None:
            return [zeros(layers, batch, size, dtype=x.dtype, device=x.device) for size in sizes]
        given = list(hx) if self.kind == "LSTM" else [hx]
        given = [part.unsqueeze(1) for part in given] if unbatched else given
        for part, size in zip(given, sizes, strict=True):
            if tuple(part.shape) != (layers, batch, size):
                wanted = (layers, batch, size)
                raise ValueError(f"{type(self).__name__}: expected a state of {wanted}, got {tuple(part.shape)}")
        return given

    def _last(self, parts: list[Tensor]) -> Any:
        return tuple(parts) if self.kind == "LSTM" else parts[0]

    def _layers(self, steps: list[Tensor], state: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Runs all layers over the steps, each (B_t, size) with B_t never growing; returns outputs and last states."""
        finals: list[State] = []
        for layer in range(self.num_layers):
            outputs = []
            for suffix in self._suffixes(layer):
                first = tuple(part[len(finals)] for part in state)
                result, final = self._direction(steps, first, suffix)
                outputs.append(result)
                finals.append(final)
            steps = outputs[0] if len(outputs) == 1 else [cat(pair, -1) for pair in zip(*outputs, strict=True)]
            if self.dropout and layer < self.num_layers - 1:
                steps = [F.dropout(step, self.dropout, self.training) for step in steps]
        return steps, [stack(parts, 0) for parts in zip(*finals, strict=True)]

    def _direction(self, steps: list[Tensor], first: State, suffix: str) -> tuple[list[Tensor], State]:
        bias = getattr(self, f"bias_ih{suffix}") if self.bias else None
        sizes = [step.shape[0] for step in steps]
        projected = linear(cat(steps, 0), getattr(self, f"weight_ih{suffix}"), bias).split(sizes)
        if suffix.endswith("_reverse"):
            return self._backwards(list(projected), first, suffix)
        state, outputs, done = first, [], []
        for step in projected:
            size = step.shape[0]
            if size < state[0].shape[0]:  # the shorter sequences of a packed batch are over
                done.append(tuple(part[size:] for part in state))
                state = tuple(part[:size] for part in state)
            state = self._step(step, state, suffix)
            outputs.append(state[0])
        ends = [state, *reversed(done)]
        return outputs, state if len(ends) == 1 else tuple(cat(parts, 0) for parts in zip(*ends, strict=True))

    def _backwards(self, projected: list[Tensor], first: State, suffix: str) -> tuple[list[Tensor], State]:
        state, outputs = tuple(part[: projected[-1].shape[0]] for part in first), []
        for step in reversed(projected):
            begun = state[0].shape[0]
            if step.shape[0] > begun:  # shorter sequences join at their ends
                joined = zip(state, first, strict=True)
                state = tuple(cat([part, start[begun : step.shape[0]]], 0) for part, start in joined)
            state = self._step(step, state, suffix)
            outputs.append(state[0])
        return outputs[::-1], state

    def _hidden(self, suffix: str) -> tuple[Tensor, Tensor | None]:
        return getattr(self, f"weight_hh{suffix}"), getattr(self, f"bias_hh{suffix}") if self.bias else None

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        defaults = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False, "proj_size": 0}
        return text + "".join(f", {name}={getattr(self, name)}" for name, value in defaults.items() if getattr(self, name) != value)


class RNN(_Recurrent):
    """Elman network: h = tanh(or relu)(x W_ih^T + b_ih + h W_hh^T + b_hh).

    Args:
        input_size, hidden_size, num_layers: sizes.
        nonlinearity: "tanh" or "relu".
        bias, batch_first, dropout, bidirectional: as in `LSTM`.
    """

    kind = "RNN"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ):
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNN: nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
        self.nonlinearity = nonlinearity
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional)

    def _step(self, projected: Tensor, state: State, suffix: str) -> State:
        return (rnn_step(projected, state[0], *self._hidden(suffix), self.nonlinearity),)


class LSTM(_Recurrent):
    __doc__ = "Long short-term memory (Hochreiter and Schmidhuber 1997)." + (_Recurrent.__doc__ or "").partition(".")[2]

    kind = "LSTM"

    def _step(self, projected: Tensor, state: State, suffix: str) -> State:
        h, c = state
        h, c = lstm_step(projected, h, c, *self._hidden(suffix))
        return (linear(h, getattr(self, f"weight_hr{suffix}")) if self.proj_size else h), c


class GRU(_Recurrent):
    """Gated recurrent units (Cho et al. 2014); arguments as `LSTM`, without proj_size."""

    kind = "GRU"

    def _step(self, projected: Tensor, state: State, suffix: str) -> State:
        return (gru_step(projected, state[0], *self._hidden(suffix)),)
