# SPDX-License-Identifier: Apache-2.0
"""One LSTM layer whose h is projected to fewer units (Sak et al. 2014), step by step."""

from __future__ import annotations

from collections.abc import Sequence

from penlight.nn.recurrent_cell import lstm_step
from penlight.ops.matmul import linear
from penlight.ops.shape import cat, stack
from penlight.tensor import Tensor

State = tuple[Tensor, ...]


def projected_lstm_layer(
    x: Tensor,
    first: State,
    weights: Sequence[Tensor | None],
    w_hr: Tensor,
    reverse: bool = False,
    sizes: Sequence[int] | None = None,
) -> tuple[Tensor, State]:
    """Returns the outputs and the last (h, c).

    Args:
        x: (T, B, I), or (sum(sizes), I).
        first: h (B, P) and c (B, H).
        weights: w_ih (4 H, I), w_hh (4 H, P), and the biases b_ih and b_hh (4 H) or None.
        w_hr: (P, H).
        reverse: go from the last step to the first.
        sizes: of a packed sequence: rows of each step, never growing.
    """
    w_ih, w_hh, b_ih, b_hh = weights
    assert w_ih is not None and w_hh is not None
    projected = linear(x, w_ih, b_ih)
    steps = list(projected.unbind(0) if sizes is None else projected.split(list(sizes)))
    state, outputs = first, []
    for step in reversed(steps) if reverse else steps:
        count = step.shape[0]
        h, c = lstm_step(step, state[0][:count], state[1][:count], w_hh, b_hh)
        state = _with_rest((linear(h, w_hr), c), state)
        outputs.append(state[0][:count])
    outputs = outputs[::-1] if reverse else outputs
    return stack(outputs, 0) if sizes is None else cat(outputs, 0), state


def _with_rest(new: State, old: State) -> State:
    """The state of the sequences that took part in the step, and of those that have ended or not begun."""
    count = new[0].shape[0]
    if count == old[0].shape[0]:
        return new
    return tuple(cat([part, rest[count:]], 0) for part, rest in zip(new, old, strict=True))
