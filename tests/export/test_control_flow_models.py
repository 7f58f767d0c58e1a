# SPDX-License-Identifier: Apache-2.0
"""Subgraphs through `convert`, checked against onnxruntime at two sizes."""

import numpy as np
import onnx
import pytest
from onnx_text import model_from_text, run_onnx

import penlight_runtime
from penlight_export import UnsupportedFeatureError, convert, summarize

RNG = np.random.default_rng(11)


def f32(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def converted(tmp_path, proto, **options):
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    result = convert(path, tmp_path / "model.pen", **options)
    assert result.report.ok
    program = penlight_runtime.Program.open(result.path)
    assert program.self_test() == 1
    return program.session()


def agree(session, proto, **inputs):
    expected = run_onnx(proto, inputs)
    for name, array in session.run(inputs).items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-5, atol=1e-5)


def test_branches_read_values_around_them(tmp_path):
    proto = model_from_text(
        """g (float[N,4] x) => (float[M,K] y) {
            total = ReduceSum<keepdims = 0>(x)
            positive = Greater(total, zero)
            h = MatMul(x, w)
            y = If(positive) <
                then_branch = then () => (float[A,B] t) { r = Relu(h) t = MatMul(r, w) },
                else_branch = other () => (float[C,D] e) { e = Transpose<perm = [1, 0]>(h) }>
        }""",
        weights={"w": f32(4, 4), "zero": np.float32(0)},
    )
    session = converted(tmp_path, proto)
    agree(session, proto, x=np.abs(f32(3, 4)))
    agree(session, proto, x=-np.abs(f32(2, 4)))
    data = (tmp_path / "model.pen").read_bytes()
    assert len(data) < 4096 and summarize(tmp_path / "model.pen").operators["If"] == 1


def test_the_weights_of_a_body_are_written_once(tmp_path):
    proto = model_from_text(
        """g (float[N,64] x, bool flag) => (float[N,64] y) {
            h = MatMul(x, w)
            y = If(flag) <
                then_branch = then () => (float[N,64] t) { t = MatMul(h, w) },
                else_branch = other () => (float[N,64] e) { e = Sub(h, x) }>
        }""",
        weights={"w": f32(64, 64)},
    )
    session = converted(tmp_path, proto)
    agree(session, proto, x=f32(2, 64), flag=np.array(True))
    assert (tmp_path / "model.pen").stat().st_size < 2 * 64 * 64 * 4


def test_a_loop_with_an_old_operator_set(tmp_path):
    """Attributes of the body's nodes become inputs as in the main graph."""
    proto = model_from_text(
        """g (float[N,3] x) => (float[N,1] last, float[T,N,3] all) {
            trips = Constant<value = int64 {4}>()
            go = Constant<value = bool {1}>()
            row = ReduceSum<axes = [1]>(x)
            last, all = Loop(trips, go, row) <body = step (int64 i, bool c, float[N,1] s) => (bool d, float[N,1] t, float[N,3] o) {
                d = Identity(c)
                k = Cast<to = 1>(i)
                u = Unsqueeze<axes = [0]>(k)
                t = Add(s, u)
                o = Mul(x, t) }>
        }""",
        opset=11,
    )
    session = converted(tmp_path, proto)
    agree(session, proto, x=f32(3, 3))
    agree(session, proto, x=f32(5, 3))


def test_a_loop_ends_by_its_condition(tmp_path):
    """Newton's method: the number of steps depends on the data."""
    proto = model_from_text(
        """g (float x) => (float y, float[T] steps) {
            none = Constant<value = int64 {1000}>()
            go = Constant<value = bool {1}>()
            y, steps = Loop(none, go, x) <body = step (int64 i, bool c, float r) => (bool more, float n, float e) {
                half = Constant<value = float {0.5}>()
                q = Div(x, r)
                s = Add(r, q)
                n = Mul(s, half)
                d = Sub(n, r)
                e = Abs(d)
                small = Constant<value = float {0.01}>()
                more = Greater(e, small) }>
        }"""
    )
    session = converted(tmp_path, proto, data={"x": np.array(7, np.float32)})
    for number in (2, 9, 1e4):
        agree(session, proto, x=np.array(number, np.float32))


def test_a_scan_of_a_recurrent_cell(tmp_path):
    proto = model_from_text(
        """g (float[T,B,4] x, float[B,3] h) => (float[B,3] last, float[T,B,3] all) {
            last, all = Scan<num_scan_inputs = 1, body = step (float[B,3] s, float[B,4] u) => (float[B,3] t, float[B,3] o) {
                a = MatMul(u, w)
                b = MatMul(s, v)
                c = Add(a, b)
                t = Tanh(c)
                o = Identity(t) }>(h, x)
        }""",
        weights={"w": f32(4, 3), "v": f32(3, 3)},
    )
    session = converted(tmp_path, proto)
    agree(session, proto, x=f32(5, 2, 4), h=f32(2, 3))
    agree(session, proto, x=f32(1, 3, 4), h=f32(3, 3))


def test_loops_inside_of_branches(tmp_path):
    """A value of the main graph that only the innermost body reads, and the middle one's own."""
    proto = model_from_text(
        """g (float[N] x, bool flag, int64 trips) => (float[M] y) {
            base = Mul(x, x)
            y = If(flag) <
                then_branch = then () => (float[A] t) {
                    go = Constant<value = bool {1}>()
                    shift = Neg(x)
                    t = Loop(trips, go, x) <body = step (int64 i, bool c, float[N] s) => (bool d, float[N] n) {
                        d = Identity(c)
                        m = Add(s, base)
                        n = Sub(m, shift) }> },
                else_branch = other () => (float[E] e) { e = Concat<axis = 0>(x, base) }>
        }"""
    )
    session = converted(tmp_path, proto, data={"x": f32(3), "flag": np.array(True), "trips": np.array(2)})
    agree(session, proto, x=f32(4), flag=np.array(True), trips=np.array(3))
    agree(session, proto, x=f32(4), flag=np.array(False), trips=np.array(3))


def test_a_detector_with_boxes_gathered_by_their_indices(tmp_path):
    proto = model_from_text(
        """g (float[1,N,4] boxes, float[1,2,N] scores) => (int64[K,3] chosen, float[K,4] kept) {
            chosen = NonMaxSuppression(boxes, scores, most, overlap, least)
            index = Slice(chosen, two, three, one)
            flat = Squeeze(index, one)
            all = Squeeze(boxes, zero)
            kept = Gather(all, flat)
        }""",
        weights={
            "most": np.array([3], np.int64),
            "overlap": np.array([0.3], np.float32),
            "least": np.array([0.2], np.float32),
            **{name: np.array([n], np.int64) for name, n in (("zero", 0), ("one", 1), ("two", 2), ("three", 3))},
        },
    )
    corners = np.sort(RNG.random((1, 30, 2, 2), np.float32), axis=2).reshape(1, 30, 4)
    scores = RNG.random((1, 2, 30), np.float32)
    session = converted(tmp_path, proto, data={"boxes": corners, "scores": scores})
    for _ in range(5):
        corners = np.sort(RNG.random((1, 20, 2, 2), np.float32), axis=2).reshape(1, 20, 4)
        agree(session, proto, boxes=corners, scores=RNG.random((1, 2, 20), np.float32))


def test_shapes_from_inputs(tmp_path):
    """Sizes that come as data are found while running."""
    proto = model_from_text(
        """g (float[N,4] x, int64[2] shape) => (float[A,B] y) { r = Reshape(x, shape) y = Softmax(r) }""",
    )
    session = converted(tmp_path, proto, data={"x": f32(3, 4), "shape": np.array([2, 6])})
    agree(session, proto, x=f32(3, 4), shape=np.array([4, 3]))
    agree(session, proto, x=f32(2, 4), shape=np.array([-1, 1]))


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("ordered", [0, 1])
def test_unique(tmp_path, axis, ordered):
    text = f"sorted = {ordered}" + ("" if axis is None else f", axis = {axis}")
    y = "float[K]" if axis is None else "float[K,L]"
    proto = model_from_text(
        f"g (float[N,3] x) => ({y} y, int64[K] first, int64[I] inverse, int64[K] counts) "
        f"{{ y, first, inverse, counts = Unique<{text}>(x) }}"
    )
    x = RNG.integers(0, 2, (9, 3)).astype(np.float32)
    session = converted(tmp_path, proto, data={"x": x})
    for _ in range(3):
        x = RNG.integers(0, 2, (7, 3)).astype(np.float32)
        agree(session, proto, x=x)


def test_deformed_convolutions(tmp_path):
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node(
                "DeformConv", ["x", "w", "offset", "b", "mask"], ["y"], pads=[1, 0, 1, 2], strides=[1, 2], group=2, offset_group=2
            )
        ],
        "g",
        [
            onnx.helper.make_tensor_value_info("x", 1, ["N", 4, 5, 6]),
            onnx.helper.make_tensor_value_info("offset", 1, ["N", 24, 5, 4]),
            onnx.helper.make_tensor_value_info("mask", 1, ["N", 12, 5, 4]),
        ],
        [onnx.helper.make_tensor_value_info("y", 1, ["N", 6, 5, 4])],
        [onnx.numpy_helper.from_array(f32(6, 2, 3, 2), "w"), onnx.numpy_helper.from_array(f32(6), "b")],
    )
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 22)], ir_version=10)
    session = converted(tmp_path, proto)
    agree(session, proto, x=f32(2, 4, 5, 6), offset=2 * f32(2, 24, 5, 4), mask=f32(2, 12, 5, 4))


def test_too_many_captured_values(tmp_path):
    names = [f"v{i}" for i in range(70)]
    nodes = " ".join(f"{name} = Mul(x, c{i})" for i, name in enumerate(names))
    proto = model_from_text(
        f"""g (float[N] x, bool flag) => (float[N] y) {{ {nodes}
            y = If(flag) <then_branch = then () => (float[N] t) {{ t = Sum({", ".join(names)}) }},
                          else_branch = other () => (float[N] e) {{ e = Neg(x) }}> }}""",
        weights={f"c{i}": np.float32(i) for i in range(70)},
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(UnsupportedFeatureError, match="has at most 64"):
        convert(path, tmp_path / "model.pen")


def test_the_scan_of_operator_set_8_is_refused(tmp_path):
    body = onnx.helper.make_graph(
        [onnx.helper.make_node("Add", ["s", "u"], ["t"])],
        "b",
        [onnx.helper.make_tensor_value_info(n, 1, [2]) for n in "su"],
        [onnx.helper.make_tensor_value_info("t", 1, [2])],
    )
    node = onnx.helper.make_node("Scan", ["", "h", "x"], ["y"], num_scan_inputs=1, body=body)
    inputs = [onnx.helper.make_tensor_value_info("h", 1, [1, 2]), onnx.helper.make_tensor_value_info("x", 1, [1, 3, 2])]
    graph = onnx.helper.make_graph([node], "g", inputs, [onnx.helper.make_tensor_value_info("y", 1, [1, 2])])
    path = tmp_path / "model.onnx"
    path.write_bytes(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 8)], ir_version=4).SerializeToString()
    )
    with pytest.raises(UnsupportedFeatureError, match="batch dimension"):
        convert(path, tmp_path / "model.pen")
