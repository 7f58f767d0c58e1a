# SPDX-License-Identifier: Apache-2.0
"""cond, while_loop and scan as plain Python: results, gradients, and what they refuse."""

from collections import namedtuple

import numpy as np
import pytest

import penlight as pl
from penlight.errors import ArgumentError, ControlFlowError, DTypeError, ShapeError

State = namedtuple("State", ["h", "count"])


def leaf(*shape, seed=0):
    return pl.tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=True)


@pytest.mark.parametrize("pred", [True, pl.tensor(True), pl.tensor([True]), pl.tensor([[True]])])
def test_cond_runs_the_chosen_function_only(pred):
    calls = []
    result = pl.cond(
        pred, lambda x: calls.append("then") or {"y": x + 1}, lambda x: calls.append("else") or {"y": x}, (pl.ones(2),)
    )
    assert result["y"].tolist() == [2, 2] and calls == ["then"]
    assert pl.cond(pl.tensor(False), lambda: 1, lambda: 2) == 2


@pytest.mark.parametrize("sign", [1, -1])
def test_gradient_through_cond(sign):
    x, w = leaf(3), leaf(3, seed=1)
    value = x.abs() * sign
    y = pl.cond(value.sum() > 0, lambda v: (v * w).sum(), lambda v: (v * v * w).sum(), (value,))
    expected = (value * w).sum() if sign > 0 else (value * value * w).sum()
    wanted = pl.autograd.grad(expected, (x, w), retain_graph=True)
    for got, want in zip(pl.autograd.grad(y, (x, w)), wanted, strict=True):
        assert got.tolist() == want.tolist()


def test_while_loop_counts_collatz_steps():
    steps = [
        pl.while_loop(lambda n, i: n > 1, lambda n, i: (pl.where(n % 2 == 0, n // 2, 3 * n + 1), i + 1), (pl.tensor(n), 0))
        for n in (1, 6, 27)
    ]
    assert [(int(n), int(i)) for n, i in steps] == [(1, 0), (1, 8), (1, 111)]


def test_gradient_through_while_loop():
    x = leaf(2)
    y = x
    while float(y.abs().sum()) < 100:
        y = y * 2 + x
    (want,) = pl.autograd.grad(y.sum(), x)
    (z,) = pl.while_loop(lambda y: y.abs().sum() < 100, lambda y: y * 2 + x, [x])
    assert z.tolist() == y.tolist()
    assert pl.autograd.grad(z.sum(), x)[0].tolist() == want.tolist()


def test_while_loop_keeps_structure_and_sizes_may_change():
    (state,) = pl.while_loop(
        lambda s: s.count < 3, lambda s: (State(pl.cat([s.h, s.h[:1] + 1]), s.count + 1),), (State(pl.zeros(1), pl.tensor(0)),)
    )
    assert isinstance(state, State) and state.h.tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_is_a_loop_over_slices(reverse):
    w, x, h0 = leaf(4, 4), leaf(5, 2, 4, seed=1), leaf(2, 4, seed=2)

    def cell(h, x):
        h = (x + h @ w).tanh()
        return h, {"h": h, "sum": h.sum()}

    last, out = pl.scan(cell, h0, x, reverse=reverse)
    h, rows = h0, [None] * 5
    for t in reversed(range(5)) if reverse else range(5):
        h = (x[t] + h @ w).tanh()
        rows[t] = h
    assert last.tolist() == h.tolist()
    assert out["h"].tolist() == pl.stack(rows).tolist() and out["sum"].shape == (5,)
    loss, other = (out["h"] ** 2).sum() + last.sum(), (pl.stack(rows) ** 2).sum() + h.sum()
    for got, want in zip(pl.autograd.grad(loss, (w, x, h0)), pl.autograd.grad(other, (w, x, h0)), strict=True):
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-12)


def test_second_derivatives_of_a_scan_and_slices_without_a_gradient():
    x = leaf(4, 3)
    product = lambda x: pl.scan(lambda c, row: ((c * row).sin(), c), pl.ones(3, dtype=pl.float64), x)[0]  # noqa: E731  # one line
    assert pl.autograd.gradcheck(product, (x,)) and pl.autograd.gradgradcheck(product, (x,))
    _, rows = pl.scan(lambda c, row: (c, row), None, x)
    assert pl.autograd.grad(rows[1].sum(), x)[0].tolist() == [[0] * 3, [1] * 3, [0] * 3, [0] * 3]
    last, _ = pl.scan(lambda c, row: (row * 1, None), pl.zeros(3, dtype=pl.float64), x)
    assert pl.autograd.grad(last.sum(), x)[0].tolist() == [[0] * 3] * 3 + [[1] * 3]


def test_scan_without_slices_and_without_steps():
    carry, rows = pl.scan(lambda c, _: (c * 2, c), pl.tensor(1.0), length=4, reverse=True)
    assert carry.item() == 16 and rows.tolist() == [8, 4, 2, 1]
    carry, rows = pl.scan(lambda c, x: (c + x[0], (x[1].sum(), None)), pl.zeros(3), (pl.zeros(0, 3), pl.zeros(0, 2)))
    assert carry.tolist() == [0, 0, 0] and rows[0].shape == (0,) and rows[1] is None
    assert pl.scan(lambda c, x: (None, x), None, pl.arange(3))[1].tolist() == [0, 1, 2]


def test_scan_takes_pytrees():
    carry, out = pl.scan(lambda c, x: ({"n": c["n"] + x[0]}, x[1]), {"n": 0}, (pl.arange(3), pl.ones(3, 2)))
    assert carry["n"].item() == 3 and out.tolist() == [[1, 1]] * 3


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: pl.cond(pl.tensor(1.0), abs, abs), DTypeError, "must be one bool, came a tensor of penlight.float32"),
        (lambda: pl.cond(1, abs, abs), DTypeError, "must be one bool, came int"),
        (lambda: pl.cond(pl.tensor([True, False]), abs, abs), ShapeError, r"came shape \(2,\); use .any\(\)"),
        (lambda: pl.cond(True, abs, abs, pl.ones(2)), ArgumentError, r"tuple or list of arguments, came Tensor; write \(x,\)"),
        (lambda: pl.while_loop(lambda x: x, lambda x: x, (pl.ones(1),)), DTypeError, "what cond_fn returns must be one bool"),
        (lambda: pl.while_loop(lambda: True, lambda: (), ()), ArgumentError, "at least one tensor"),
        (lambda: pl.while_loop(lambda x: True, lambda x: "a", (1,)), ArgumentError, "tensors and numbers, came str"),
        (lambda: pl.scan(lambda c, x: (c, x), 0), ArgumentError, "expected xs, or length"),
        (lambda: pl.scan(lambda c, x: (c, x), 0, (pl.ones(2), pl.ones(3))), ShapeError, "must be equal, came 2, 3"),
        (lambda: pl.scan(lambda c, x: (c, x), 0, pl.ones(2), length=3), ShapeError, "must be equal, came 2, 3"),
        (lambda: pl.scan(lambda c, x: (c, x), 0, pl.tensor(1)), ShapeError, "needs a first dimension"),
        (lambda: pl.scan(lambda c, x: c, 0, pl.ones(2)), ControlFlowError, r"must return \(carry, y\), came Tensor"),
        (lambda: pl.scan(lambda c, x: (c, "y"), 0, pl.ones(2)), ArgumentError, "tensors and numbers, came str"),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (lambda x: (x, x), r"it takes \(\*,\) and it returns \(\*, \*\)"),
        (lambda x: ({"a": x},), r"it takes \(\*,\) and it returns \({'a': \*},\)"),
        (lambda x: x.double(), r"it takes penlight.float32 \(2,\) and it returns penlight.float64 \(2,\)"),
        (lambda x: x[None], r"it takes penlight.float32 \(2,\) and it returns penlight.float32 \(1, 2\)"),
    ],
)
def test_a_body_must_return_what_it_takes(body, message):
    with pytest.raises(ControlFlowError, match=rf"<lambda> \(.*test_control.py:\d+\) must return its values.*{message}"):
        pl.while_loop(lambda x: True, body, (pl.ones(2),))
    with pytest.raises(ControlFlowError, match="must return the carried value as it takes"):
        pl.scan(lambda c, x: (body(c), x), pl.ones(2), pl.ones(2))
