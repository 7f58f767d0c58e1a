# SPDX-License-Identifier: Apache-2.0
"""The fast recurrent layers of floats against the plain ones of doubles, with the same bits on any number of threads."""

import itertools

import numpy as np
import pytest
from kernel_runner import rand, run_node

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
SIZES = [(7, 1, 3, 5), (4, 3, 8, 16), (300, 5, 4, 64)]  # steps, batch, features, hidden; the last is prepared in several parts


def operands(kind, size, directions, batch_first):
    """x, w, r, bias, no lengths, and first states."""
    (steps, batch, features, hidden), rows = size, GATES[kind] * size[3]
    x = rand(*((batch, steps) if batch_first else (steps, batch)), features)
    state = (batch, directions, hidden) if batch_first else (directions, batch, hidden)
    weights = [0.1 * rand(directions, rows, features, seed=1), 0.03 * rand(directions, rows, hidden, seed=2)]
    states = [rand(*state, seed=4 + i) for i in range(2 if kind == "LSTM" else 1)]
    return [x, *weights, 0.3 * rand(directions, 2 * rows, seed=3), None, *states]


def run(kind, given, dtype, threads=1, **options):
    """The layer's outputs from inputs of a dtype."""
    outputs = [np.empty((1,) * rank, dtype) for rank in ((4, 3, 3) if kind == "LSTM" else (4, 3))]
    inputs = [None if array is None else array.astype(dtype) for array in given]
    return run_node(kind, inputs, outputs, threads=threads, version=14, **options)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("kind", GATES)
def test_floats_agree_with_doubles(kind, size):
    resets = (0, 1) if kind == "GRU" else (0,)
    for direction, layout, reset in itertools.product(("forward", "reverse", "bidirectional"), (0, 1), resets):
        given = operands(kind, size, 2 if direction == "bidirectional" else 1, layout == 1)
        options = {"hidden_size": size[3], "direction": direction, "layout": layout}
        options |= {"linear_before_reset": reset} if kind == "GRU" else {}
        wanted = run(kind, given, np.float64, **options)
        one, two = (run(kind, given, np.float32, threads=threads, **options) for threads in (1, 2))
        for expected, found, again in zip(wanted, one, two, strict=True):
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected, rtol=0, atol=5e-5)
            np.testing.assert_array_equal(found, again)


def test_without_bias_and_first_states():
    given = operands("LSTM", SIZES[1], 1, False)[:3]
    wanted, results = (run("LSTM", given, dtype, hidden_size=16) for dtype in (np.float64, np.float32))
    for expected, found in zip(wanted, results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
