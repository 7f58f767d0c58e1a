# SPDX-License-Identifier: Apache-2.0
"""Symbolic sizes: canonical text, arithmetic that agrees with integers, evaluation."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penlight.symbolic import SymInt, contains_symbol, symbol

B, T = symbol("batch", 4), symbol("time", 6)


@pytest.mark.parametrize(
    ("value", "text", "number"),
    [
        (B + 1, "batch + 1", 5),
        (1 + 2 * B, "2*batch + 1", 9),
        (B - T, "batch - time", -2),
        (3 - B, "-batch + 3", -1),
        (B * T * 2, "2*batch*time", 48),
        ((B + 1) * (B + 1), "batch*batch + 2*batch + 1", 25),
        (B * T // B, "time", 6),
        (B * 6 // 2, "3*batch", 12),
        ((2 * B + 5) // 2, "batch + 2", 6),
        ((T - 3) // 2 + 1, "(time - 3)//2 + 1", 2),
        ((B * T + T) // (B + 1), "time", 6),
        (B % 3, "batch - 3*(batch//3)", 1),
        (-B, "-batch", -4),
        (100 // B, "100//batch", 25),
        (B // T, "batch//time", 0),
    ],
)
def test_text_and_value(value, text, number):
    assert value.text == text and value == number and value.evaluate({"batch": 4, "time": 6}) == number


def test_names_that_cancel_leave_plain_integers():
    assert type(B - B) is int and B - B == 0 and type(B * 0) is int and type(B // B) is int
    assert type((B * 4) % 2) is int and (B * 4) % 2 == 0


def test_it_is_an_integer_elsewhere():
    assert B == 4 and hash(B) == hash(4) and list(range(B)) == [0, 1, 2, 3] and [1, 2, 3, 4, 5][B] == 5
    assert B / 2 == 2.0 and type(B / 2) is float and B > 3 and f"{B}" == "4" and "batch" in repr(B)
    assert contains_symbol((1, (2, B))) and not contains_symbol((1, 2.0, "x"))
    with pytest.raises(TypeError):
        B + "x"


def expressions():
    leaves = st.sampled_from(["batch", "time"]) | st.integers(-5, 9)
    return st.recursive(leaves, lambda inner: st.tuples(st.sampled_from("+-*/%"), inner, inner), max_leaves=8)


def build(tree, bindings):
    if not isinstance(tree, tuple):
        return bindings.get(tree, tree)
    operator, a, b = tree[0], build(tree[1], bindings), build(tree[2], bindings)
    if operator in "/%" and b == 0:
        return a
    return {"+": lambda: a + b, "-": lambda: a - b, "*": lambda: a * b, "/": lambda: a // b, "%": lambda: a % b}[operator]()


@settings(max_examples=200, deadline=None, derandomize=True)
@given(expressions(), st.integers(1, 20), st.integers(1, 20))
def test_arithmetic_agrees_with_integers(tree, batch, time):
    symbolic = build(tree, {"batch": symbol("batch", batch), "time": symbol("time", time)})
    plain = build(tree, {"batch": batch, "time": time})
    assert symbolic == plain
    if isinstance(symbolic, SymInt):
        assert symbolic.evaluate({"batch": batch, "time": time}) == plain
