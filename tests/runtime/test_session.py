# SPDX-License-Identifier: Apache-2.0
"""Sessions through the Python binding: shapes, memory, outputs in place, threads, budgets, cancelling."""

import gc
import threading
import weakref

import numpy as np
import pen_builder
import pytest
from pen_builder import PenBuilder

import penlight_runtime as runtime


def open_session(builder: PenBuilder, **options) -> runtime.Session:
    return runtime.Program(builder.build()).session(**options)


def ramp(*shape) -> np.ndarray:
    return np.linspace(-2, 2, int(np.prod(shape)), dtype=np.float32).reshape(shape)


def chain(length: int, shape=("batch", 8)) -> PenBuilder:
    builder = PenBuilder()
    value = builder.input("x", "float32", shape)
    for _ in range(length):
        value = builder.node("Neg", [value])
    builder.output(value, "float32", shape)
    return builder


def test_describes_inputs_and_outputs():
    program = runtime.Program(pen_builder.small_program().build())
    assert program.inputs() == (("x", np.float32, ("batch", 4)),)
    assert program.outputs() == (("z", np.float32, ("?",)),)
    with pytest.raises(runtime.InvalidArgument, match="no method 'decode'; it has: forward"):
        program.inputs("decode")


def test_runs_at_changing_sizes():
    session = open_session(pen_builder.small_program())
    for batch in (1, 7, 3, 64, 1, 0):
        x = ramp(batch, 4) if batch else np.empty((0, 4), np.float32)
        expected = np.maximum(x + np.array([0.5, -1.0, 2.0, 0.0], np.float32), 0).reshape(-1)
        if batch == 0:
            with pytest.raises(runtime.ShapeMismatch, match="'batch' must lie between 1"):
                session.run([x])
        else:
            np.testing.assert_array_equal(session.run({"x": x})["z"], expected)


def test_empty_tensors_run():
    builder = PenBuilder()
    builder.symbol("batch", minimum=0)
    x = builder.input("x", "float32", ("batch", 4))
    builder.output(builder.node("Relu", [x], ["y"]), "float32", ("batch", 4))
    session = open_session(builder)
    assert session.run([np.empty((0, 4), np.float32)])["y"].shape == (0, 4)
    np.testing.assert_array_equal(session.run([ramp(2, 4)])["y"], np.maximum(ramp(2, 4), 0))


def test_scalars_run():
    session = open_session(chain(1, ()))
    result = session.run([np.float32(3)])
    assert result[next(iter(result))].shape == ()
    assert float(next(iter(result.values()))) == -3


def test_arena_is_reused_along_a_chain():
    """However long the chain, two tensors live at a time."""
    sessions = {length: open_session(chain(length)) for length in (2, 3, 40)}
    for session in sessions.values():
        session.run([ramp(4, 8)])
    assert sessions[2].arena_bytes == sessions[3].arena_bytes == sessions[40].arena_bytes == 2 * 4 * 8 * 4
    assert sessions[40].macs == 40 * sessions[2].macs // 2


def test_outputs_are_written_in_place():
    session = open_session(pen_builder.relu_program())
    out = np.full((2, 4), np.nan, np.float32)
    result = session.run([ramp(2, 4)], [out])
    assert result["y"] is out
    np.testing.assert_array_equal(out, np.maximum(ramp(2, 4), 0))
    session.run({"x": -ramp(2, 4)}, {"y": out})
    np.testing.assert_array_equal(out, np.maximum(-ramp(2, 4), 0))


def test_new_outputs_do_not_share_memory():
    session = open_session(pen_builder.relu_program())
    first = session.run([ramp(2, 4)])["y"]
    kept = first.copy()
    second = session.run([-ramp(2, 4)])["y"]
    assert not np.shares_memory(first, second)
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: np.empty((2, 5), np.float32), "expected an array of shape"),
        (lambda: np.empty((4, 2), np.float32), "expected an array of shape"),
        (lambda: np.empty((2, 4), np.float64), "expected float32"),
        (lambda: np.empty((4, 2), np.float32).T, "must be C-contiguous"),
    ],
)
def test_unsuitable_outputs_are_refused(make, message):
    session = open_session(pen_builder.relu_program())
    with pytest.raises(runtime.ShapeMismatch, match=message):
        session.run([ramp(2, 4)], [make()])


def test_outputs_may_not_overlap_inputs():
    session = open_session(pen_builder.relu_program())
    x = ramp(2, 4)
    with pytest.raises(runtime.InvalidArgument, match="overlaps"):
        session.run([x], [x])


def test_read_only_outputs_are_refused():
    session = open_session(pen_builder.relu_program())
    out = np.empty((2, 4), np.float32)
    out.flags.writeable = False
    with pytest.raises((runtime.InvalidArgument, BufferError, ValueError)):
        session.run([ramp(2, 4)], [out])


def test_inputs_are_read_in_place_and_never_cast():
    session = open_session(pen_builder.relu_program())
    x = ramp(2, 4)
    x.flags.writeable = False
    np.testing.assert_array_equal(session.run([x])["y"], np.maximum(x, 0))
    strided = ramp(4, 2).T
    np.testing.assert_array_equal(session.run([strided])["y"], np.maximum(strided, 0))
    with pytest.raises(runtime.ShapeMismatch, match="expected float32, got float64; convert it with astype"):
        session.run([x.astype(np.float64)])
    with pytest.raises(runtime.ShapeMismatch, match="got list"):
        session.run([[1.0, 2.0]])
    with pytest.raises(runtime.ShapeMismatch, match=">f4"):
        session.run([x.astype(">f4")])


def test_unaligned_inputs_are_copied():
    raw = np.zeros(33, np.uint8)
    x = raw[1:].view(np.float32).reshape(2, 4)
    assert not x.flags.aligned
    x[:] = ramp(2, 4)
    np.testing.assert_array_equal(open_session(pen_builder.relu_program()).run([x])["y"], np.maximum(x, 0))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, r"missing: \['x'\]"),
        ({"x": 0, "y": 1}, r"unknown: \['y'\]"),
        ([], "expected 1 inputs"),
        ([ramp(2, 4), ramp(2, 4)], "expected 1 inputs"),
    ],
)
def test_wrong_sets_of_inputs(inputs, message):
    with pytest.raises(runtime.InvalidArgument, match=message):
        open_session(pen_builder.relu_program()).run(inputs)


def test_shape_errors_name_the_declaration_and_leave_the_session_usable():
    session = open_session(pen_builder.relu_program())
    with pytest.raises(runtime.ShapeMismatch, match=r"input 'x': expected shape \(batch, 4\), got \(2, 5\)"):
        session.run([ramp(2, 5)])
    with pytest.raises(runtime.ShapeMismatch, match=r"expected shape \(batch, 4\), got \(8,\)"):
        session.run([ramp(8)])
    with pytest.raises(runtime.ShapeMismatch, match="at most 8"):
        session.run([np.zeros((1,) * 9, np.float32)])
    np.testing.assert_array_equal(session.run([ramp(2, 4)])["y"], np.maximum(ramp(2, 4), 0))


def two_inputs(first, second) -> PenBuilder:
    builder = PenBuilder()
    a = builder.input("a", "float32", first)
    b = builder.input("b", "float32", second)
    builder.output(builder.node("Identity", [a], ["c"]), "float32", first)
    builder.output(builder.node("Identity", [b], ["d"]), "float32", second)
    return builder


def test_symbols_must_agree_across_inputs():
    session = open_session(two_inputs(("n", 2), ("n", 3)))
    session.run([ramp(5, 2), ramp(5, 3)])
    with pytest.raises(runtime.ShapeMismatch, match=r"input 'b': .*dimension 0 does not agree with the others"):
        session.run([ramp(5, 2), ramp(4, 3)])


def test_affine_dimensions_are_solved_and_checked():
    builder = two_inputs(((1, {"n": 2}),), ((-1, {"n": 3}),))
    session = open_session(builder)
    result = session.run([ramp(9), ramp(11)])  # n = 4
    assert result["c"].shape == (9,) and result["d"].shape == (11,)
    with pytest.raises(runtime.ShapeMismatch, match=r"expected shape \(2\*n \+ 1,\), got \(8,\)"):
        session.run([ramp(8), ramp(11)])
    with pytest.raises(runtime.ShapeMismatch, match=r"expected shape \(3\*n - 1,\), got \(12,\)"):
        session.run([ramp(9), ramp(12)])


def test_symbol_bounds():
    builder = PenBuilder()
    builder.symbol("length", minimum=2, maximum=5)
    x = builder.input("x", "float32", ("length",))
    builder.output(builder.node("Relu", [x], ["y"]), "float32", ("length",))
    session = open_session(builder)
    session.run([ramp(5)])
    for size in (1, 6):
        with pytest.raises(runtime.ShapeMismatch, match="'length' must lie between 2 and 5"):
            session.run([ramp(size)])


def test_a_dimension_of_two_symbols_needs_both_bound():
    builder = two_inputs(((0, {"a": 1, "b": 1}),), ("a",))
    with pytest.raises(runtime.ShapeMismatch, match=r"expected shape \(a \+ b,\)"):
        open_session(builder).run([ramp(5), ramp(2)])


def test_wrong_declared_shapes_are_found():
    builder = PenBuilder()
    x = builder.input("x", "float32", ("batch", 4))
    builder.output(builder.node("Relu", [x], ["y"]), "float32", ("batch", 5))
    with pytest.raises(runtime.InvalidProgram, match=r"value 'y': declared float32 \(batch, 5\), computed float32 \(2, 4\)"):
        open_session(builder).run([ramp(2, 4)])


def test_shape_arithmetic_feeds_reshape():
    """reshape(x, concat(shape(x)[0], [-1])): the target is computed while shapes are prepared."""
    builder = PenBuilder()
    x = builder.input("x", "float32", ("batch", 3, 4))
    shape = builder.node("Shape", [x], ["shape"], start=0, end=1)
    rest = builder.constant("rest", np.array([-1], np.int64))
    target = builder.node("Concat", [shape, rest], ["target"], axis=0)
    builder.output(builder.node("Reshape", [x, target], ["y"]), "float32", ("batch", 12))
    session = open_session(builder, profile=True)
    for batch in (2, 5):
        assert session.run([ramp(batch, 3, 4)])["y"].shape == (batch, 12)
    assert [node.nanoseconds > 0 for node in session.profile()] == [False, False, True]


def test_a_kernel_error_names_the_node():
    builder = PenBuilder()
    x = builder.input("x", "float32", (2, 3))
    y = builder.input("y", "float32", (4,))
    builder.output(builder.node("Add", [x, y], ["z"]), "float32", (2, 3))
    with pytest.raises(runtime.RuntimeFailure, match=r"node 0 'node0' \(Add\) from layer\.0: .*3.*4") as caught:
        open_session(builder).run([ramp(2, 3), ramp(4)])
    assert caught.value.code.startswith("PL-E30")


def test_errors_quote_names_that_are_no_text():
    builder = PenBuilder()
    x, y = (builder.input(name, "float32", (size,)) for name, size in (("x", 3), ("y", 4)))
    builder.output(builder.node("Add", [x, y]), "float32", (None,))
    builder.method.nodes[0].name = b"\xe3total"
    with pytest.raises(runtime.RuntimeFailure, match="node 0 '\ufffdtotal'"):
        open_session(builder).run({"x": ramp(3), "y": ramp(4)})


def test_outputs_that_are_inputs_or_constants_are_copied():
    builder = PenBuilder()
    x = builder.input("x", "float32", ("n",))
    w = builder.constant("w", np.array([1, 2], np.int64))
    builder.output(x)
    builder.output(w)
    builder.output(builder.node("Relu", [x], ["y"]), "float32", ("n",))
    session = open_session(builder)
    given = ramp(3)
    result = session.run([given])
    np.testing.assert_array_equal(result["x"], given)
    np.testing.assert_array_equal(result["w"], [1, 2])
    assert not np.shares_memory(result["x"], given)
    result["w"][:] = 0
    np.testing.assert_array_equal(session.run([given])["w"], [1, 2])


def test_omitted_optional_outputs():
    builder = PenBuilder()
    x = builder.input("x", "float32", (4,))
    y = builder.node("Dropout", [x], ["y", "mask"])
    builder.method.nodes[0].outputs[1] = -1
    builder.output(y, "float32", (4,))
    np.testing.assert_array_equal(open_session(builder).run([ramp(4)])["y"], ramp(4))


def test_several_methods():
    first, second = pen_builder.relu_program(), chain(1)
    second.method.name = "negate"
    second.method.nodes[0].operator = first.operator("Neg")
    first.program.methods.append(second.method)
    program = runtime.Program(first.build())
    assert program.methods == ("forward", "negate")
    (result,) = program.session("negate").run([ramp(1, 8)]).values()
    np.testing.assert_array_equal(result, -ramp(1, 8))


def test_threads_give_the_same_answer():
    builder = PenBuilder()
    x = builder.input("x", "float32", ("n", 64))
    w = builder.constant("w", np.random.default_rng(0).standard_normal((64, 96), np.float32))
    builder.output(builder.node("MatMul", [x, w], ["y"]), "float32", ("n", 96))
    data = builder.build()
    x = np.random.default_rng(1).standard_normal((128, 64), np.float32)
    program = runtime.Program(data)
    one, two = program.session(), program.session(threads=2)
    for _ in range(20):
        np.testing.assert_array_equal(two.run([x])["y"], one.run([x])["y"])
    for threads in (0, -1, 1000):
        with pytest.raises(runtime.InvalidArgument, match="threads"):
            program.session(threads=threads)


def test_mac_budget():
    program = runtime.Program(chain(10, (1000,)).build())
    with pytest.raises(runtime.BudgetExceeded, match=r"node 4 'node4' \(Neg\).*budget is 4500"):
        program.session(mac_budget=4500).run([ramp(1000)])
    program.session(mac_budget=10_000).run([ramp(1000)])


@pytest.mark.parametrize(
    ("operator", "dtype", "x", "w", "output"),
    [
        ("ConvTranspose", "float32", (2, 0, 1, 2**38, 5), (0, 2, 3, 1, 3), [3, 2, 2]),
        ("ConvInteger", "int8", (1, 0, 2**20, 1, 1), (1, 0, 2**20, 1, 1), None),
        ("MatMulInteger", "int8", (200, 0), (0, 200), None),
    ],
)
def test_what_has_no_channels_takes_of_the_budget_too(operator, dtype, x, w, output):
    """No weights, but places to walk over: minutes of them, were they not counted."""
    builder = PenBuilder()
    values = [builder.input("x", dtype, x), builder.input("w", dtype, w)]
    builder.node(operator, values, ["y"], **({"output_shape": output} if output else {}))
    session = runtime.Program(builder.build()).session(mac_budget=10_000)
    with pytest.raises(runtime.BudgetExceeded):
        session.prepare([np.zeros(x, dtype), np.zeros(w, dtype)])


@pytest.mark.parametrize(
    ("operator", "shapes", "attributes"),
    [
        ("ReduceSum", [(5000, 0)], {"axes": [1]}),
        ("Conv", [(1, 1, 2, 2), (1, 1, 2, 2)], {"dilations": [500, 500], "pads": [500] * 4, "strides": [500, 500]}),
        ("ConvTranspose", [(1, 1, 4), (1, 1, 1)], {"output_shape": [40_000], "strides": [10_000]}),
        ("MatMul", [(1000, 1, 1), (1000, 1, 1)], {}),
        ("LayerNormalization", [(1000, 1), (1,)], {}),
        ("Tanh", [(5000,)], {}),
        ("Attention", [(1, 1, 80, 1)] * 3, {}),
    ],
)
def test_what_stands_around_little_work_takes_of_the_budget(operator, shapes, attributes):
    """Calls, clearing and curves, where there are few products or none."""
    builder = PenBuilder()
    values = [builder.input(f"x{i}", "float32", shape) for i, shape in enumerate(shapes)]
    builder.node(operator, values, ["y"], version=11 if operator == "ReduceSum" else None, **attributes)
    session = runtime.Program(builder.build()).session(mac_budget=10_000)
    with pytest.raises(runtime.BudgetExceeded):
        session.prepare([np.zeros(shape, np.float32) for shape in shapes])


@pytest.mark.parametrize(("operator", "attributes"), [("Unique", {"axis": 1}), ("Compress", {"axis": 1})])
def test_nothing_is_not_looked_at_plane_by_plane(operator, attributes):
    """2^40 planes without elements would take minutes."""
    builder = PenBuilder()
    values = [builder.input("x", "float32", (2**40, 0, 1))]
    if operator == "Compress":
        values.append(builder.input("c", "bool", (0,)))
    builder.output(builder.node(operator, values, ["y"], **attributes), "float32", [None] * 3)
    arrays = [np.zeros((2**40, 0, 1), np.float32), np.zeros(0, bool)][: len(values)]
    assert runtime.Program(builder.build()).session().run(arrays)["y"].shape == (2**40, 0, 1)


def roi_session(boxes, mac_budget=0):
    builder = PenBuilder()
    values = [builder.input("x", "float32", (1, 1, 4, 4)), builder.constant("rois", np.array(boxes, np.float32))]
    values.append(builder.constant("images", np.zeros(len(boxes), np.int64)))
    y = builder.node("RoiAlign", values, ["y"], output_height=2, output_width=2)
    builder.output(y, "float32", [len(boxes), 1, 2, 2])
    return runtime.Program(builder.build()).session(mac_budget=mac_budget)


def test_samples_beside_an_image_take_no_time_and_those_inside_take_of_the_budget():
    huge, image = [-1e9, -1e9, 1e9, 1e9], np.ones((1, 1, 4, 4), np.float32)
    assert np.all(roi_session([huge] * 1000).run([image])["y"] < 1e-4)
    assert np.allclose(roi_session([[0, 0, 4, 4]]).run([image])["y"], 1.0)
    with pytest.raises(runtime.BudgetExceeded):
        roi_session([[0, 0, 4, 4]] * 10, mac_budget=400).run([image])
    roi_session([[0, 0, 4, 4]] * 10, mac_budget=4000).run([image])


def test_phases_of_a_transposed_convolution_are_not_looked_at_one_by_one():
    builder = PenBuilder()
    values = [builder.input(name, "float32", (1, 1, 1, 1)) for name in ("x", "w")]
    builder.node("ConvTranspose", values, ["y"], strides=[2**31 - 1] * 2, output_shape=[2**30, 2**30])
    one = np.ones((1, 1, 1, 1), np.float32)
    with pytest.raises(runtime.RuntimeFailure, match="too large"):
        runtime.Program(builder.build()).session().prepare([one, one])


def test_profile_names_the_operators():
    session = open_session(pen_builder.small_program(), profile=True)
    session.run([ramp(2, 4)])
    profile = session.profile()
    assert [node.operator for node in profile] == ["Add", "Relu", "Reshape"]
    assert [node.source for node in profile] == ["layer.0", "layer.1", "layer.2"]
    assert all(node.nanoseconds > 0 for node in profile)
    assert sum(node.macs for node in profile) == session.macs


def test_cancel_from_another_thread():
    session = open_session(chain(2000, (200_000,)))
    x = ramp(200_000)
    session.prepare([x])
    timer = threading.Timer(0.02, session.cancel)
    timer.start()
    with pytest.raises(runtime.Cancelled):
        for _ in range(200):
            session.run([x])
    timer.join()
    assert session.run([x])


def test_a_session_serves_one_thread_at_a_time():
    session = open_session(chain(2000, (200_000,)))
    x = ramp(200_000)
    session.prepare([x])
    worker = threading.Thread(target=session.run, args=([x],))
    worker.start()
    failures = 0
    while worker.is_alive() and not failures:
        try:
            session.run([x])
        except runtime.InvalidArgument as error:
            assert "another thread" in str(error)
            failures += 1
    worker.join()
    assert failures


def test_threads_may_share_a_program():
    program = runtime.Program(pen_builder.small_program().build())
    results = []

    def work(batch):
        session = program.session()
        for _ in range(50):
            results.append(session.run([ramp(batch, 4)])["z"].shape == (4 * batch,))

    workers = [threading.Thread(target=work, args=(batch,)) for batch in (1, 2, 3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 150 and all(results)


def test_a_session_keeps_its_program_alive():
    program = runtime.Program(pen_builder.relu_with_weights().build())
    session = program.session()
    gone = weakref.ref(program)
    del program
    gc.collect()
    assert gone() is None  # the Python object; the file's bytes stay
    np.testing.assert_array_equal(session.run([ramp(2, 3)])["y"], np.maximum(ramp(2, 3) + np.array([1, 2, 3], np.float32), 0))


def test_bytes_that_can_change_are_copied():
    data = bytearray(pen_builder.relu_with_weights().build())
    program = runtime.Program(data)
    data[:] = bytes(len(data))
    assert program.session().run([ramp(1, 3)])["y"].shape == (1, 3)


@pytest.mark.parametrize("mmap", [False, True])
def test_pages_that_were_released_come_back(tmp_path, mmap):
    path = tmp_path / "model.pen"
    path.write_bytes(pen_builder.relu_with_weights().build())
    program = runtime.Program.open(path, mmap=mmap)
    session = program.session()
    before = session.run([ramp(1, 3)])["y"]
    program.release_pages()
    np.testing.assert_array_equal(session.run([ramp(1, 3)])["y"], before)
    program.release_pages()


@pytest.mark.parametrize("mmap", [False, True])
def test_open(tmp_path, mmap):
    path = tmp_path / "model.pen"
    path.write_bytes(pen_builder.small_program().build())
    assert runtime.Program.open(path, mmap=mmap).self_test() == 1
    path.write_bytes(b"")
    with pytest.raises(runtime.InvalidFile):
        runtime.Program.open(path, mmap=mmap)
    for wrong in (tmp_path, tmp_path / "missing.pen"):
        with pytest.raises(runtime.UnreadableFile, match="cannot be read") as caught:
            runtime.Program.open(wrong, mmap=mmap)
        assert caught.value.code == "PL-E3050" and caught.value.exit_code == 3


def test_golden_samples():
    program = runtime.Program(pen_builder.small_program().build())
    (sample,) = program.golden()
    assert sample.method == "forward"
    np.testing.assert_array_equal(program.session().run(sample.inputs)["z"], sample.outputs["z"])


@pytest.mark.parametrize(("atol", "rtol", "passes"), [(0, 0, False), (1e-3, 0, False), (2e-2, 0, True), (0, 0.1, True)])
def test_self_test_tolerances(atol, rtol, passes):
    builder = pen_builder.relu_program((3,))
    builder.golden([np.array([1, 2, np.nan], np.float32)], [np.array([1, 2.01, np.nan], np.float32)], atol, rtol)
    program = runtime.Program(builder.build())
    if passes:
        assert program.self_test() == 1
        return
    with pytest.raises(runtime.SelfTestFailed, match=r"golden sample 0: output 'y' differs .* at element 1") as caught:
        program.self_test()
    assert caught.value.exit_code == 1


def test_self_test_compares_shapes_and_integers():
    builder = PenBuilder()
    x = builder.input("x", "int32", ("n",))
    builder.output(builder.node("Identity", [x], ["y"]), "int32", ("n",))
    builder.golden([np.arange(3, dtype=np.int32)], [np.arange(4, dtype=np.int32)])
    with pytest.raises(runtime.SelfTestFailed, match="another shape"):
        runtime.Program(builder.build()).self_test()
    builder.program.golden.clear()
    builder.golden([np.arange(3, dtype=np.int32)], [np.array([0, 1, 3], np.int32)], 10.0, 10.0)
    with pytest.raises(runtime.SelfTestFailed, match="at element 2"):
        runtime.Program(builder.build()).self_test()


@pytest.mark.parametrize(
    "dtype", ["float16", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "bool"]
)
def test_every_dtype_passes_through(dtype):
    builder = PenBuilder()
    builder.output(builder.input("x", dtype, (3,)))
    (result,) = open_session(builder).run([np.array([0, 1, 1], dtype)]).values()
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, np.array([0, 1, 1], dtype))


def test_bfloat16_passes_through():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    builder = PenBuilder()
    builder.output(builder.input("x", "bfloat16", (3,)))
    x = np.array([0.5, -1, 3], ml_dtypes.bfloat16)
    session = open_session(builder)
    (result,) = session.run([x]).values()
    assert result.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(result, x)
    with pytest.raises(runtime.ShapeMismatch):
        session.run([x.view(np.uint16)])


def test_operators_are_listed():
    listed = runtime.operators()
    assert ("", "Relu") in {(entry.domain, entry.name) for entry in listed}
    assert all(entry.min_version <= entry.max_version for entry in listed)
    assert runtime.version().count(".") == 2


def test_every_error_has_its_own_code_and_explanation():
    from penlight_runtime import errors

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.RuntimeFailure)]
    assert len({kind.code for kind in kinds}) == len(kinds) == 14
    for kind in kinds:
        assert kind.__doc__ and kind.exit_code in (1, 2, 3, 4, 5, 130)
        assert kind.status == 0 or kind.code == f"PL-E30{kind.status:02d}"
