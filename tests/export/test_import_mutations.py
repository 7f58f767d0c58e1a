# SPDX-License-Identifier: Apache-2.0
"""Models with fields that were changed, removed and doubled end in a model or in one error of ours, on one line and soon."""

import numpy as np
import onnx
import pytest
from ml_models import BOTH, BRANCHES, LABELS, LINEAR, MANY, single, tree
from onnx_text import model_from_text

from penlight_export import convert
from penlight_export.errors import ExportError

ROWS = np.zeros((3, 6), np.float32)
KERNEL = {"k": np.ones((2, 1, 3, 3), np.float32), "s": np.array([0, -1], np.int64)}
MODELS = [
    model_from_text(
        "g (float[N,1,4,4] x) => (float[N,M] y) { a = Conv<pads = [1, 1, 0, 0]>(x, k) b = Relu(a) "
        "c = MaxPool<kernel_shape = [2, 2]>(b) y = Reshape(c, s) }",
        weights=KERNEL,
    ),
    model_from_text(
        "g (float[N,8] x) => (float[A,B] y) { a = Gather<axis = 1>(x, s) q = SplitToSequence<axis = 1>(a) y = SequenceAt(q, i) }",
        17,
        {"s": KERNEL["s"], "i": np.int64(0)},
    ),
    model_from_text(
        """g (float[N,3] x, int64 n) => (float[N,3] y) { c = Constant<value = bool {1}>() y = Loop(n, c, x) <
            body = b (int64 i, bool k, float[N,3] v) => (bool o, float[N,3] z) { o = Identity(k) z = Relu(v) }> }""",
        17,
    ),
    model_from_text(
        "g (float[N,5,6] x) => (float[A,B,C] y) { a = ReduceMean<axes = [1]>(x) b = Sub(x, a) c = Clip<min = -1.0>(b) "
        "y = Transpose<perm = [0, 2, 1]>(c) }",
        10,
    ),
    single("TreeEnsembleClassifier", {"x": ROWS}, BOTH, **tree(BRANCHES, MANY, "class", **LABELS)),
    single("LinearClassifier", {"x": ROWS}, BOTH, **(LINEAR | {"classlabels_ints": [1, 2, 3]})),
]
INTEGERS = (0, 1, 2, 3, 7, 17, -1, -5, 2**31 - 1, 2**40)
VALUES = {  # by the type of a protobuf field
    **dict.fromkeys((1, 2), (0.0, -1.0, float("nan"), float("inf"), 1e38)),
    **dict.fromkeys((3, 4, 5, 13, 14), INTEGERS),
    9: ("", "x", "y", "Nope", "Add", "Conv", "Reshape", "ai.onnx.ml"),
    12: (b"", b"x", b"SAME_UPPER", b"\xff" * 48),
}


def messages(message):
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if hasattr(value, "add") else (value,):
                yield from messages(part)


def mutate(proto, rng):
    """Changes one field of one message in place."""
    parts = list(messages(proto))
    message = parts[rng.integers(len(parts))]
    fields = message.ListFields()
    if not fields:
        return
    field, value = fields[rng.integers(len(fields))]
    number = rng.integers(len(value)) if hasattr(value, "__delitem__") and len(value) else 0
    kind = rng.integers(3)
    try:
        if field.message_type is not None and hasattr(value, "add") and kind:
            value.add().CopyFrom(value[number])
        elif hasattr(value, "__delitem__") and kind:
            del value[number]
        elif field.message_type is not None:
            message.ClearField(field.name)
        else:
            new = VALUES[field.type][rng.integers(len(VALUES[field.type]))]
            if hasattr(value, "__delitem__"):
                value[number] = new
            else:
                setattr(message, field.name, new)
    except ValueError:  # out of the field's range
        return


def outcome(proto, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    try:
        convert(path, tmp_path / "model.pen")
    except ExportError as error:
        assert "\n" not in str(error)
        assert error.exit_code in (1, 2, 3)
        return type(error).__name__
    return "converted"


def sweep(count, seed, tmp_path):
    rng = np.random.default_rng(seed)
    outcomes = set()
    for _ in range(count):
        proto = onnx.ModelProto()
        proto.CopyFrom(MODELS[rng.integers(len(MODELS))])
        for _ in range(rng.integers(1, 3)):
            mutate(proto, rng)
        outcomes.add(outcome(proto, tmp_path))
    return outcomes


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # infinite and huge attributes in the reference implementation
def test_changed_models(tmp_path):
    assert {"converted", "InvalidModelError"} <= sweep(60, 1, tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # as above
def test_many_changed_models(tmp_path):
    assert {"converted", "InvalidModelError", "UnsupportedOperatorsError"} <= sweep(300, 2, tmp_path)


def with_nodes(*nodes, inputs=("x",), outputs=("y",), imports=()):
    kind = onnx.TensorProto.FLOAT
    ports = [onnx.helper.make_tensor_value_info(name, kind, ["N", 4]) for name in inputs]
    ends = [onnx.helper.make_tensor_value_info(name, kind, ["N", 4]) for name in outputs]
    opsets = [onnx.helper.make_opsetid("", 17), *(onnx.helper.make_opsetid(name, 1) for name in imports)]
    return onnx.helper.make_model(onnx.helper.make_graph(list(nodes), "g", ports, ends), opset_imports=opsets, ir_version=8)


def huge():
    proto = with_nodes(onnx.helper.make_node("Add", ["x", "w"], ["y"]))
    proto.graph.initializer.append(onnx.TensorProto(name="w", data_type=1, dims=[2**31, 2**31, 4]))
    return proto


NODE = onnx.helper.make_node
STRUCTURES = {
    "cycle": (
        with_nodes(NODE("Add", ["x", "b"], ["a"]), NODE("Neg", ["a"], ["b"]), NODE("Neg", ["b"], ["y"])),
        "InvalidModelError",
    ),
    "order": (with_nodes(NODE("Neg", ["a"], ["y"]), NODE("Neg", ["x"], ["a"])), "InvalidModelError"),
    "twice": (with_nodes(NODE("Neg", ["x"], ["y"]), NODE("Abs", ["x"], ["y"])), "InvalidModelError"),
    "inputs": (with_nodes(NODE("Neg", ["x"], ["y"]), inputs=("x", "x")), "InvalidModelError"),
    "outputs": (with_nodes(NODE("Neg", ["x"], ["y"]), outputs=("y", "y")), None),
    "nothing": (with_nodes(NODE("Neg", ["x"], ["z"])), "InvalidModelError"),
    "domain": (with_nodes(NODE("Neg", ["x"], ["y"], domain="elsewhere"), imports=("elsewhere",)), "UnsupportedOperatorsError"),
    "undeclared": (with_nodes(NODE("Neg", ["x"], ["y"], domain="elsewhere")), "InvalidModelError"),
    "huge": (huge(), "InvalidModelError"),
    "arguments": (with_nodes(NODE("Add", ["x"], ["y"])), "InvalidModelError"),
    "attribute": (with_nodes(NODE("Softmax", ["x"], ["y"], axis=9)), None),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_broken_structures(name, tmp_path):
    proto, expected = STRUCTURES[name]
    found = outcome(proto, tmp_path)
    assert found == expected if expected else found != "converted"
