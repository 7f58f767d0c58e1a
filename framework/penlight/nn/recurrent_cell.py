# SPDX-License-Identifier: Apache-2.0
"""One step of a recurrent network: RNN (Elman 1990), LSTM (Hochreiter and Schmidhuber 1997), GRU (Cho et al. 2014)."""

from __future__ import annotations

from typing import Any

import penlight.nn.functional as F
import penlight.nn.init as init
from penlight.nn.module import Module
from penlight.nn.parameter import Parameter
from penlight.ops.create import zeros
from penlight.ops.matmul import linear
from penlight.tensor import Tensor

GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}


def rnn_step(projected: Tensor, h: Tensor, w_hh: Tensor, b_hh: Tensor | None, nonlinearity: str) -> Tensor:
    """Returns tanh(or relu)(x W_ih + b_ih + h W_hh + b_hh), with the input's part already projected: (B, H)."""
    return getattr(F, nonlinearity)(projected + linear(h, w_hh, b_hh))


def lstm_step(projected: Tensor, h: Tensor, c: Tensor, w_hh: Tensor, b_hh: Tensor | None) -> tuple[Tensor, Tensor]:
    """Returns the new h and c, both (B, H), for projected inputs (B, 4H): input, forget, cell and output gate."""
    gates = projected + linear(h, w_hh, b_hh)
    size = c.shape[-1]
    i, f, g, o = (gates.narrow(-1, start * size, size) for start in range(4))
    c = F.sigmoid(f) * c + F.sigmoid(i) * F.tanh(g)
    return F.sigmoid(o) * F.tanh(c), c


def gru_step(projected: Tensor, h: Tensor, w_hh: Tensor, b_hh: Tensor | None) -> Tensor:
    """Returns the new h (B, H), for projected inputs (B, 3H): reset gate, update gate, candidate."""
    own = linear(h, w_hh, b_hh)
    size = h.shape[-1]
    both = F.sigmoid(projected.narrow(-1, 0, 2 * size) + own.narrow(-1, 0, 2 * size))
    reset, update = both.narrow(-1, 0, size), both.narrow(-1, size, size)
    candidate = F.tanh(projected.narrow(-1, 2 * size, size) + reset * own.narrow(-1, 2 * size, size))
    return candidate + update * (h - candidate)


class _Cell(Module):
    kind: str

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True):
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        rows = GATES[self.kind] * hidden_size
        self.weight_ih = Parameter(init.empty(rows, input_size))
        self.weight_hh = Parameter(init.empty(rows, hidden_size))
        self.register_parameter("bias_ih", Parameter(init.empty(rows)) if bias else None)
        self.register_parameter("bias_hh", Parameter(init.empty(rows)) if bias else None)
        self.bias_ih: Parameter | None
        self.bias_hh: Parameter | None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the parameters anew, uniform in +-1/sqrt(hidden_size)."""
        for parameter in self.parameters():
            init.uniform_fan_(parameter, self.hidden_size)

    def _project(self, input: Tensor) -> Tensor:
        if input.ndim not in (1, 2) or input.shape[-1] != self.input_size:
            wanted = f"(B, {self.input_size}) or ({self.input_size},)"
            raise ValueError(f"{type(self).__name__}: expected input {wanted}, got {tuple(input.shape)}")
        return linear(input, self.weight_ih, self.bias_ih)

    def _blank(self, input: Tensor) -> Tensor:
        return zeros(*input.shape[:-1], self.hidden_size, dtype=input.dtype, device=input.device)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}, bias={self.bias}"


class RNNCell(_Cell):
    """One step of an Elman network: tanh(or relu)(x W_ih^T + b_ih + h W_hh^T + b_hh).

    Args:
        input_size: size of the input. hidden_size: H.
        bias: whether there are biases.
        nonlinearity: "tanh" or "relu".
    """

    kind = "RNN"

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh"):
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNNCell: nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
        super().__init__(input_size, hidden_size, bias)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """Returns the new h, (B, H) or (H,), from the input and h, zeros by default."""
        h = self._blank(input) if hx is None else hx
        return rnn_step(self._project(input), h, self.weight_hh, self.bias_hh, self.nonlinearity)


class LSTMCell(_Cell):
    """One step of an LSTM; the four gates lie in the order input, forget, cell, output."""

    kind = "LSTM"

    def forward(self, input: Tensor, hx: Any = None) -> tuple[Tensor, Tensor]:
        """Returns the new (h, c), each (B, H) or (H,), from the input and (h, c), zeros by default."""
        h, c = (self._blank(input), self._blank(input)) if hx is None else hx
        return lstm_step(self._project(input), h, c, self.weight_hh, self.bias_hh)


class GRUCell(_Cell):
    """One step of a GRU; the three gates lie in the order reset, update, new."""

    kind = "GRU"

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """Returns the new h, (B, H) or (H,), from the input and h, zeros by default."""
        h = self._blank(input) if hx is None else hx
        return gru_step(self._project(input), h, self.weight_hh, self.bias_hh)
