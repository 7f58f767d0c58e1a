# SPDX-License-Identifier: Apache-2.0
"""Sequences and optionals of known lengths become plain tensors; those that are not known are named."""

import numpy as np
import onnx
import pytest
from onnx_text import model_from_text, run_onnx

import penlight_runtime
from penlight_export import UnsupportedOperatorsError, convert
from penlight_export.errors import UnsupportedFeatureError

RNG = np.random.default_rng(4)
WEIGHTS = {
    "zero": np.int64(0),
    "one": np.int64(1),
    "last": np.int64(-1),
    "two": np.int64(2),
    "parts": np.array([1, 3], np.int64),
}

CASES = {
    "construct": "s = SequenceConstruct(x, a) y = SequenceAt(s, one)",
    "insert": "e = SequenceEmpty() s = SequenceInsert(e, x) t = SequenceInsert(s, a, zero) y = SequenceAt(t, last)",
    "erase": "s = SequenceConstruct(x, a, x) t = SequenceErase(s, zero) u = SequenceErase(t) y = SequenceAt(u, zero)",
    "concat": "s = SequenceConstruct(x, a) y = ConcatFromSequence<axis = 1>(s)",
    "stack": "s = SequenceConstruct(x, a) y = ConcatFromSequence<axis = -1, new_axis = 1>(s)",
    "length": "s = SequenceConstruct(x, a, a) n = SequenceLength(s) f = Cast<to = 1>(n) y = Mul(x, f)",
    "split-ones": "s = SplitToSequence<axis = 1>(x) y = SequenceAt(s, last)",
    "split-flat": "s = SplitToSequence<axis = 1, keepdims = 0>(x) y = SequenceAt(s, two)",
    "split-steps": "s = SplitToSequence<axis = 1>(x, two) y = ConcatFromSequence<axis = 1>(s)",
    "split-parts": "s = SplitToSequence<axis = 1>(x, parts) t = Identity(s) y = SequenceAt(t, one)",
    "branches": """flag = Greater(total, total) y = If(flag) <
        then_branch = then () => (float[A,B] t) { s = SequenceConstruct(x, a) t = SequenceAt(s, zero) },
        else_branch = other () => (float[C,D] e) { u = SequenceConstruct(a, x) e = ConcatFromSequence<axis = 0>(u) }>""",
}


def model(body, opset=17):
    used = {name: array for name, array in WEIGHTS.items() if f"{name})" in body or f"{name}," in body}
    rank = {"stack": 3, "split-flat": 1}.get(next((k for k, v in CASES.items() if v == body), ""), 2)
    shape = ",".join("PQR"[:rank])
    lines = f"a = Neg(x) total = ReduceSum<keepdims = 0>(x) {body}"
    return model_from_text(f"g (float[N,4] x) => (float[{shape}] y) {{ {lines} }}", opset, used)


@pytest.mark.parametrize("name", CASES)
def test_known_sequences(name, tmp_path):
    proto = model(CASES[name])
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    result = convert(path, tmp_path / "model.pen")
    assert not any("Sequence" in operator for operator in result.summary.operators)
    session = penlight_runtime.Program.open(result.path).session()
    for rows in (1, 5):
        x = RNG.standard_normal((rows, 4)).astype(np.float32)
        np.testing.assert_allclose(session.run({"x": x})["y"], run_onnx(proto, {"x": x})["y"], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "body", ["o = Optional(x) h = OptionalHasElement(o) v = OptionalGetElement(o) f = Cast<to = 1>(h) y = Mul(v, f)"]
)
def test_optionals(body, tmp_path):
    proto = model(body, 15)
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    session = penlight_runtime.Program.open(convert(path, tmp_path / "model.pen").path).session()
    x = RNG.standard_normal((3, 4)).astype(np.float32)
    np.testing.assert_array_equal(session.run({"x": x})["y"], x)


@pytest.mark.parametrize(
    "body",
    [
        "s = SequenceConstruct(x, a) i = Cast<to = 7>(total) y = SequenceAt(s, i)",  # which one depends on the data
        "s = SplitToSequence<axis = 0>(x) y = SequenceAt(s, zero)",  # how many depends on the batch
        "s = SequenceConstruct(x, a) y = SequenceAt(s, two)",  # there is no third
    ],
)
def test_unknown_sequences_are_named(body, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(model(body).SerializeToString())
    with pytest.raises((UnsupportedOperatorsError, UnsupportedFeatureError), match="Sequence"):
        convert(path, tmp_path / "model.pen")


def test_sequences_that_come_in_are_named(tmp_path):
    kind = onnx.helper.make_tensor_sequence_value_info("s", onnx.TensorProto.FLOAT, ["N"])
    node = onnx.helper.make_node("SequenceAt", ["s", "i"], ["y"])
    index = onnx.numpy_helper.from_array(np.int64(0), "i")
    end = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N"])
    graph = onnx.helper.make_graph([node], "g", [kind], [end], [index])
    path = tmp_path / "model.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
    with pytest.raises(UnsupportedOperatorsError, match="SequenceAt"):
        convert(path, tmp_path / "model.pen")
