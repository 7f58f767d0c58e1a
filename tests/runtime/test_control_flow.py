# SPDX-License-Identifier: Apache-2.0
"""If, Loop, Scan and outputs sized by data: values, and what a hostile file cannot do with them."""

import threading

import numpy as np
import pen_corpus
import pytest
from pen_builder import PenBuilder

import penlight_runtime
from penlight_runtime import BudgetExceeded, InvalidProgram, InvalidValue

X = np.arange(-4, 4, dtype=np.float32).reshape(2, 4)


def session(builder, **options):
    return penlight_runtime.Program(builder.build()).session(**options)


def run(builder, *inputs):
    return session(builder).run(list(inputs))


def while_program(condition=True, trips=None) -> PenBuilder:
    """y = x doubled at every step, for ever when nothing ends it."""
    builder = PenBuilder()
    x = builder.input("x", "float32", ("n",))
    body = builder.body("double")
    _, go, state = (body.input(name) for name in ("number", "go", "state"))
    body.output(go)
    body.output(body.node("Add", [state, state]))
    trip = -1 if trips is None else builder.constant("trips", np.array(trips, np.int64))
    loop = builder.node("Loop", [trip, builder.constant("go", np.array(condition)), x], ["y"], body=(body, []))
    builder.output(loop, "float32", ("n",))
    return builder


def test_branches():
    runner = session(pen_corpus.branches())
    np.testing.assert_array_equal(runner.run([X, np.array(True)])["y"], np.maximum(X, 0) ** 2)
    np.testing.assert_array_equal(runner.run([X, np.array(False)])["y"], (X + 1) ** 2)
    wide = np.concatenate([X, X])
    assert runner.run([wide, np.array(True)])["y"].shape == (2, 8)
    assert runner.run([wide, np.array(False)])["y"].shape == (4, 4)


@pytest.mark.parametrize("trips", [0, 1, 3, 5, -1])
def test_a_loop_grows_its_state_and_collects(trips):
    x = np.array([1, 2], np.float32)
    result = run(pen_corpus.loops(), np.array(trips), x)
    count = min(max(trips, 0), 3)
    np.testing.assert_array_equal(result["y"], np.tile(x, count + 1) * 9)
    np.testing.assert_array_equal(result["numbers"], np.arange(count, dtype=np.float32))


@pytest.mark.parametrize("time", [1, 5])
def test_a_scan_goes_backwards_over_columns(time):
    x = np.random.default_rng(1).random((3, time), np.float32)
    result = run(pen_corpus.scans(), x)
    sums = np.cumsum(x[:, ::-1] * x.max(), axis=1)
    np.testing.assert_allclose(result["last"], sums[:, -1], rtol=1e-6)
    np.testing.assert_allclose(result["all"], np.tanh(sums)[:, ::-1], rtol=1e-5)


def test_what_follows_is_planned_while_running():
    runner = session(pen_corpus.gathered())
    for x in ([[1, 0], [0, 3]], [[2, 2], [2, 2]], [[0, 0], [0, 5]]):
        x = np.array(x, np.float32)
        result = runner.run([x])
        picked = x[x != 0]
        np.testing.assert_array_equal(result["y"], picked / picked.sum())
        np.testing.assert_array_equal(result["tiled"], np.tile(x, (1, picked.size)))


def test_given_arrays_must_have_the_shape_that_comes_out():
    runner = session(pen_corpus.gathered())
    x = np.array([[1, 0], [0, 3]], np.float32)
    mine = {"y": np.empty(2, np.float32), "tiled": np.empty((2, 4), np.float32)}
    assert runner.run([x], mine)["y"] is mine["y"]
    np.testing.assert_array_equal(mine["y"], [0.25, 0.75])
    with pytest.raises(penlight_runtime.ShapeMismatch, match="expected an array of shape"):
        runner.run([x], mine | {"y": np.empty(3, np.float32)})


@pytest.mark.parametrize("trips", [None, 2**62])
def test_the_budget_ends_a_loop_without_end(trips):
    runner = session(while_program(trips=trips), mac_budget=100_000)
    with pytest.raises(BudgetExceeded, match=r"Loop.*budget of 100000"):
        runner.run([np.ones(2, np.float32)])
    few = session(while_program(trips=3), mac_budget=100_000)
    np.testing.assert_array_equal(few.run([np.ones(2, np.float32)])["y"], [8, 8])
    assert 0 < few.macs < 2000


def test_another_thread_cancels_a_loop_without_end():
    runner, ended = session(while_program()), threading.Event()

    def cancel():
        while not ended.wait(0.1):  # again and again: the first may come before the run
            runner.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(penlight_runtime.Cancelled):
        runner.run([np.ones(2, np.float32)])
    ended.set()
    thread.join()


def test_the_memory_budget_ends_a_loop_that_grows():
    builder = PenBuilder()
    x = builder.input("x", "float32", ("n",))
    body = builder.body("grow")
    _, go, state = (body.input(name) for name in ("number", "go", "state"))
    body.output(go)
    body.output(body.node("Concat", [state, state], axis=0))
    builder.output(builder.node("Loop", [-1, -1, x], ["y"], body=(body, [])), "float32", (None,))
    program = penlight_runtime.Program(builder.build(), memory_budget=1 << 20)
    with pytest.raises(BudgetExceeded, match="memory budget"):
        program.session().run([np.ones(4, np.float32)])


def test_zero_steps_do_nothing():
    x = np.ones(3, np.float32)
    np.testing.assert_array_equal(run(while_program(condition=False), x)["y"], x)
    np.testing.assert_array_equal(run(while_program(trips=0), x)["y"], x)


def test_collected_rows_must_have_one_shape():
    builder = PenBuilder()
    x = builder.input("x", "float32", ("n",))
    body = builder.body("grow")
    _, go, state = (body.input(name) for name in ("number", "go", "state"))
    body.output(go)
    body.output(body.node("Concat", [state, state], ["both"], axis=0))
    body.output(state)
    trips = builder.constant("trips", np.array(2, np.int64))
    builder.node("Loop", [trips, -1, x], ["y", "rows"], body=(body, []))
    builder.output(len(builder.method.values) - 1, "float32", (None, None))
    with pytest.raises(InvalidValue, match="changes its shape at iteration 1"):
        run(builder, np.ones(2, np.float32))


def refuse(builder, match, error=InvalidProgram):
    with pytest.raises(error, match=match):
        session(builder).run([np.ones(2, np.float32)])


def test_a_body_belongs_to_one_attribute():
    builder = while_program()
    body, go = builder.method.nodes[0].attributes[0], len(builder.method.values) - 2
    builder.node("Loop", [-1, go, 0], ["z"])
    builder.method.nodes[1].attributes = [body]
    refuse(builder, "attribute without the value")


def test_a_body_may_not_contain_itself():
    builder = while_program()
    body = builder.program.bodies[0]
    body.nodes = [*body.nodes, type(builder.method.nodes[0])(**vars(builder.method.nodes[0]))]
    body.values = [*body.values, type(body.values[0])(name="again")]
    body.nodes[-1].inputs, body.nodes[-1].outputs = [0, 1, 2], [len(body.values) - 1]
    refuse(builder, "attribute without the value")


def test_a_body_that_no_node_runs():
    builder = while_program()
    builder.body("alone")
    refuse(builder, "no node that stands before body 1 runs it")


@pytest.mark.parametrize("captured", [[3], [-1], [2**40], [1, 1, 1, 1]])
def test_captured_operands_exist(captured):
    builder = while_program()
    builder.method.nodes[0].attributes[0].integers = captured
    refuse(builder, "attribute without the value|inputs and outputs do not fit")


def test_bodies_are_not_too_deep():
    builder = PenBuilder()
    flag = builder.input("flag", "bool", ())
    outer, value = builder, flag
    for _ in range(9):
        pair = [outer.body("then"), outer.body("else")]
        outer.output(outer.node("If", [value], then_branch=(pair[0], []), else_branch=(pair[1], [])), "bool", ())
        pair[1].output(pair[1].constant("f", np.array(False)))
        outer, value = pair[0], pair[0].constant("t", np.array(True))
    outer.output(value)
    with pytest.raises(InvalidProgram, match="attribute without the value"):
        penlight_runtime.Program(builder.build())


def test_a_missing_body_and_a_wrong_number_of_outputs():
    builder = while_program()
    builder.method.nodes[0].attributes[0].name = b"other"
    refuse(builder, "it has no body")
    builder = while_program()
    builder.program.bodies[0].outputs = [1]
    refuse(builder, "do not fit the body's")


def test_a_file_with_bodies_says_so():
    data = while_program().build()
    assert data[40] == 1
    assert pen_corpus.arithmetic().build()[40] == 0
