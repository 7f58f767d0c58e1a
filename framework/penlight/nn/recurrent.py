# SPDX-License-Identifier: Apache-2.0
"""Recurrent layers over whole sequences: several layers, both directions, projections, packed sequences.

A layer in one direction is one operator. Only an LSTM with projections is a loop, so a trace unrolls it for its length.
"""

from __future__ import annotations

from typing import Any

import penlight.nn.functional as F
import penlight.nn.init as init
from penlight.nn.module import Module
from penlight.nn.parameter import Parameter
from penlight.nn.projected_lstm import projected_lstm_layer
from penlight.nn.recurrent_cell import GATES
from penlight.nn.utils.rnn import PackedSequence
from penlight.ops.create import zeros
from penlight.ops.recurrent import gru_layer, lstm_layer, rnn_layer
from penlight.ops.shape import cat, stack
from penlight.tensor import Tensor

State = tuple[Tensor, ...]
Weights = tuple[Tensor | None, ...]  # w_ih, w_hh, b_ih, b_hh
Sizes = tuple[int, ...] | None  # rows of each step of a packed sequence


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

    def _run(self, x: Tensor, first: State, weights: Weights, suffix: str, sizes: Sizes) -> tuple[Tensor, State]:
        """One layer in one direction: its outputs and its last state."""
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
        output, last = self._layers(x, self._first(x, x.shape[1], hx, unbatched), None)
        output = output.squeeze(1) if unbatched else output.transpose(0, 1) if self.batch_first else output
        return output, self._last([part.squeeze(1) if unbatched else part for part in last])

    def _packed(self, input: PackedSequence, hx: Any) -> tuple[PackedSequence, Any]:
        sizes = tuple(int(n) for n in input.batch_sizes.tolist())
        state = self._first(input.data, sizes[0], hx, False)
        if hx is not None and input.sorted_indices is not None:
            state = [part.index_select(1, input.sorted_indices) for part in state]
        output, last = self._layers(input.data, state, sizes)
        if input.unsorted_indices is not None:
            last = [part.index_select(1, input.unsorted_indices) for part in last]
        return PackedSequence(output, input.batch_sizes, input.sorted_indices, input.unsorted_indices), self._last(last)

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

    def _layers(self, x: Tensor, state: list[Tensor], sizes: Sizes) -> tuple[Tensor, list[Tensor]]:
        """Runs all layers over x, (T, B, size) or packed with `sizes` per step; returns the outputs and the last states."""
        finals: list[State] = []
        for layer in range(self.num_layers):
            outputs = []
            for suffix in self._suffixes(layer):
                first = tuple(part[len(finals)] for part in state)
                result, final = self._run(x, first, self._weights(suffix), suffix, sizes)
                outputs.append(result)
                finals.append(final)
            x = outputs[0] if len(outputs) == 1 else cat(outputs, -1)
            if self.dropout and layer < self.num_layers - 1:
                x = F.dropout(x, self.dropout, self.training)
        return x, [stack(parts, 0) for parts in zip(*finals, strict=True)]

    def _weights(self, suffix: str) -> Weights:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if self.bias else ("weight_ih", "weight_hh")
        return tuple(getattr(self, name + suffix) for name in names) + (() if self.bias else (None, None))

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

    def _run(self, x: Tensor, first: State, weights: Weights, suffix: str, sizes: Sizes) -> tuple[Tensor, State]:
        return rnn_layer(x, first, weights, suffix.endswith("_reverse"), sizes, self.nonlinearity)


class LSTM(_Recurrent):
    __doc__ = "Long short-term memory (Hochreiter and Schmidhuber 1997)." + (_Recurrent.__doc__ or "").partition(".")[2]

    kind = "LSTM"

    def _run(self, x: Tensor, first: State, weights: Weights, suffix: str, sizes: Sizes) -> tuple[Tensor, State]:
        reverse = suffix.endswith("_reverse")
        if self.proj_size:
            return projected_lstm_layer(x, first, weights, getattr(self, f"weight_hr{suffix}"), reverse, sizes)
        return lstm_layer(x, first, weights, reverse, sizes)


class GRU(_Recurrent):
    """Gated recurrent units (Cho et al. 2014); arguments as `LSTM`, without proj_size."""

    kind = "GRU"

    def _run(self, x: Tensor, first: State, weights: Weights, suffix: str, sizes: Sizes) -> tuple[Tensor, State]:
        return gru_layer(x, first, weights, suffix.endswith("_reverse"), sizes)
