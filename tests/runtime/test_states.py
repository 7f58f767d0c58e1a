# SPDX-License-Identifier: Apache-2.0
"""Tensors that a session keeps from run to run, and files whose states break a rule."""

import numpy as np
import pen_builder
import pytest
from pen_builder import pen

import penlight_runtime as runtime

ONES = np.ones(3, np.float32)


def test_states_are_neither_inputs_nor_outputs():
    program = runtime.Program(pen_builder.counting_program().build())
    assert [info.name for info in program.inputs()] == ["x"]
    assert [info.name for info in program.outputs()] == ["y"]
    assert program.self_test() == 1


def test_each_session_keeps_its_own():
    program = runtime.Program(pen_builder.counting_program().build())
    a, b = program.session(), program.session()
    assert [a.run([ONES])["y"].tolist() for _ in range(2)] == [[2, 3, 4], [3, 4, 5]]
    assert b.run([ONES])["y"].tolist() == [2, 3, 4]
    assert a.states()["count"] == 2 and b.states()["count"] == 1
    a.reset()
    assert a.states()["total"].tolist() == [1, 2, 3] and a.states()["count"] == 0


def test_sessions_share_states_and_the_keeper_outlives():
    program = runtime.Program(pen_builder.counting_program().build())
    keeper = program.session()
    keeper.run([ONES])
    shared = program.session(states_of=program.session(states_of=keeper))
    del keeper
    shared.run([ONES])
    assert shared.states()["count"] == 2


def test_states_count_against_the_budget():
    builder = pen_builder.counting_program()
    builder.program.states[0] = pen.StateT(name="total", dtype=pen_builder.DTYPES["float32"], shape=[1 << 20])
    for value in builder.method.values:
        if value.name in ("past.total", "after", "y", "x"):
            value.shape = [builder.dim(1 << 20)]
    builder.program.golden = []
    program = runtime.Program(builder.build(), memory_budget=1 << 20)
    with pytest.raises(runtime.BudgetExceeded, match="state"):
        program.session()


@pytest.mark.parametrize("value", ["past.total", "after"])
@pytest.mark.parametrize("change", ["dtype", "shape", "rank", "symbol"])
def test_a_state_and_its_values_must_agree(value, change):
    builder = pen_builder.counting_program()
    (found,) = (v for v in builder.method.values if v.name == value)
    if change == "dtype":
        found.dtype = pen_builder.DTYPES["int32"]
    else:
        found.shape = {"shape": [builder.dim(4)], "rank": [builder.dim(3)] * 2, "symbol": [builder.dim("n")]}[change]
    with pytest.raises(runtime.InvalidProgram, match="last inputs and outputs are not its states"):
        runtime.Program(builder.build())


@pytest.mark.parametrize("states", [[0], [0, 0], [0, 7], [1, 0], [0, 1, 1, 1, 1]])
def test_the_states_of_a_method_must_be_there(states):
    builder = pen_builder.counting_program()
    builder.method.states = states
    with pytest.raises(runtime.InvalidProgram, match=r"states|golden"):
        runtime.Program(builder.build())


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "", "has no name"),
        ("name", "count", "two states are called 'count'"),
        ("dtype", 0, "no name, dtype or shape"),
        ("shape", [-3], "no name, dtype or shape"),
        ("shape", [1] * 9, "a State table has a list of 9, which is more than 8"),
        ("shape", [1 << 62, 4], "no name, dtype or shape"),
        ("initial", pen.SpanT(segment=0, offset=0, sizeBytes=8), "bytes do not fill it"),
        ("initial", pen.SpanT(segment=0, offset=1 << 40, sizeBytes=12), "bytes do not fill it"),
        ("initial", pen.SpanT(segment=9, offset=0, sizeBytes=12), "bytes do not fill it"),
    ],
)
def test_a_state_must_be_sound(field, value, message):
    builder = pen_builder.counting_program()
    setattr(builder.program.states[0], field, value)
    with pytest.raises(runtime.InvalidProgram, match=message):
        runtime.Program(builder.build())


def test_bodies_have_no_states():
    builder = pen_builder.PenBuilder()
    x, flag = builder.input("x", "float32", (2,)), builder.input("flag", "bool", ())
    branches = []
    for name in ("then", "else"):
        body = builder.body(name)
        inner = body.input("inner")
        body.output(body.node("Neg", [inner]))
        branches.append(body)
    builder.program.states = [pen.StateT(name="s", dtype=1, shape=[2])]
    branches[0].method.states = [0]
    y = builder.node("If", [flag, x], ["y"], then_branch=(branches[0], [1]), else_branch=(branches[1], [1]))
    builder.output(y, "float32", (2,))
    with pytest.raises(runtime.InvalidProgram, match="is a body with states"):
        runtime.Program(builder.build())


def test_states_that_swap_their_content():
    builder = pen_builder.PenBuilder()
    x = builder.input("x", "float32", (2,))
    a, b = builder.state("a", np.array([1, 2], np.float32)), builder.state("b", np.array([3, 4], np.float32))
    builder.output(builder.node("Add", [x, a], ["y"]), "float32", (2,))
    builder.output(b)
    builder.output(a)
    session = runtime.Program(builder.build()).session()
    assert [session.run([np.zeros(2, np.float32)])["y"].tolist() for _ in range(3)] == [[1, 2], [3, 4], [1, 2]]


def test_an_older_runtime_is_told_by_a_feature_bit():
    data = pen_builder.counting_program().build()
    assert int.from_bytes(data[40:48], "little") == 2
