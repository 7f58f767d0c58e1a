# SPDX-License-Identifier: Apache-2.0
"""The bytes of .pen files: checksum, header, alignment, sizes with names, every attribute and dtype, and damage."""

import struct

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx_text import model_from_text

import penlight_runtime
from penlight.checksum import crc32c
from penlight_export import graph as g
from penlight_export.edge.generated import pen_generated as pen
from penlight_export.edge.lower import parse_affine
from penlight_export.edge.program import build_program
from penlight_export.edge.reader import read_pen
from penlight_export.edge.segments import SegmentBuilder
from penlight_export.edge.writer import write_program
from penlight_export.errors import MissingFileError, UnsupportedFeatureError
from penlight_export.pieces import Pieces


def small(**options):
    """A program with weights, a named size, and a sample."""
    weights = {"w": np.arange(12, dtype=np.float32).reshape(4, 3), "b": np.ones(3, np.float32)}
    proto = model_from_text("g (float[N,4] x) => (float[N,3] y) { m = MatMul(x, w) a = Add(m, b) y = Neg(a) }", weights=weights)
    model = g.from_proto(proto)
    g.infer_shapes(model)
    x = np.ones((2, 4), np.float32)
    y = -(x @ weights["w"] + 1)
    return build_program(model, {"name": "small", "b": "2", "a": "1"}, {"x": x}, [y], {"N": 2}, 1e-4).data


def test_header_is_that_of_the_schema():
    data = small()
    size, version, metadata, base, total, required, optional, crc, zero, zero64 = struct.unpack_from("<IIQQQQQIIQ", data, 8)
    assert data[4:8] == b"PEN1"
    assert (size, version, required, optional, zero, zero64) == (64, 0 << 16 | 1 << 8, 0, 0, 0, 0)
    assert base % 64 == 0
    assert base >= metadata
    assert total == len(data)
    assert crc == crc32c(data[:56] + bytes(4) + data[60:metadata])
    assert data[metadata:base] == bytes(base - metadata)


def test_segments_are_aligned_and_checked():
    data = small()
    file = read_pen(data)
    base = struct.unpack_from("<Q", data, 24)[0]
    weights, golden = file.tables.segments
    for segment in (weights, golden):
        assert segment.offset % 64 == 0
        assert segment.crc32c == crc32c(data[base + segment.offset : base + segment.offset + segment.sizeBytes])
    gap = data[base + weights.offset + weights.sizeBytes : base + golden.offset]
    assert gap == bytes(len(gap))
    for value in file.tables.methods[0].values:
        if value.constant is not None:
            assert value.constant.offset % 64 == 0
    assert file.program.self_test() == 1


def test_tables_of_a_small_program():
    file = read_pen(small())
    method = file.methods[0]
    assert method.name == "forward"
    assert [method.values[k].name for k in method.inputs] == ["x"]
    assert [method.values[k].shape for k in (*method.inputs, *method.outputs)] == [("N", 4), ("N", 3)]
    assert [node.operator for node in method.nodes] == ["MatMul", "Add", "Neg"]
    assert file.program.metadata == {"a": "1", "b": "2", "name": "small"}
    (resources,) = file.resources
    assert resources.sizes == {"N": 2}
    assert resources.weight_bytes == 64 + 12
    assert resources.macs == sum(resources.node_macs)
    assert resources.node_macs[0] == 2 * 4 * 3


def test_damage_is_refused_by_the_runtime_before_python_reads():
    data = bytearray(small())
    for position in range(0, len(data), 7):
        data[position] ^= 0x40
        try:
            read_pen(bytes(data))
        except penlight_runtime.RuntimeFailure:
            pass
        else:
            pytest.fail(f"byte {position} is covered by no checksum")
        data[position] ^= 0x40
    for size in range(0, len(data), 11):
        with pytest.raises(penlight_runtime.RuntimeFailure):
            read_pen(bytes(data[:size]))


def test_a_missing_file(tmp_path):
    with pytest.raises(MissingFileError, match=r"absent\.pen cannot be read"):
        read_pen(tmp_path / "absent.pen")


@pytest.mark.parametrize(
    ("text", "affine"),
    [
        ("b", (0, {"b": 1})),
        ("2*b + 1", (1, {"b": 2})),
        ("b*2", (0, {"b": 2})),
        ("-b + 3", (3, {"b": -1})),
        ("b - c", (0, {"b": 1, "c": -1})),
        ("b + b - 1", (-1, {"b": 2})),
        ("", None),
        ("3", None),
        ("d", None),
        ("b*c", None),
        ("b//2", None),
        ("(b + 1)//2", None),
        ("max(b, 1)", None),
        ("b +", None),
        ("2 3", None),
    ],
)
def test_affine_sizes(text, affine):
    assert parse_affine(text, ["b", "c"]) == affine


def dims_of(name, proto):
    model = g.from_proto(proto)
    g.infer_shapes(model)
    file = read_pen(b"".join(write_program(model)))
    return next(value.shape for value in file.methods[0].values if value.name == name)


def test_sizes_of_values():
    proto = model_from_text(
        "g (float[N,4] x) => (float[N,4] y) { a = Concat<axis = 0>(x, x) b = Transpose(a) c = Neg(b) y = Neg(x) z = Neg(c) }"
    )
    assert dims_of("y", proto) == ("N", 4)
    assert dims_of("b", proto)[0] == 4  # two rows of N are a size that only the runtime's rules can tell, or 2*N
    assert dims_of("b", proto)[1] in ("?", "2*N")


def test_nameless_sizes_get_the_name_of_their_place():
    proto = model_from_text("g (float[N,4] x) => (float[N,4] y) { y = Neg(x) }")
    for value in (proto.graph.input[0], proto.graph.output[0]):
        value.type.tensor_type.shape.dim[0].ClearField("dim_param")
    data = b"".join(write_program(g.from_proto(proto)))
    assert penlight_runtime.Program(data).inputs()[0].shape == ("x_0", 4)


def test_omitted_operands_and_every_kind_of_attribute():
    """Kinds are told apart by the reader of the schema; the runtime ignores attributes that a kernel does not read."""
    proto = model_from_text("g (float[4] x) => (float[4] y) { y = Clip(x, , high) }", weights={"high": np.array(1, np.float32)})
    given = {"i": 7, "f": 0.5, "s": "text", "is": [1, 2], "fs": [0.5, 1.5], "ss": ["a", "b"], "t": np.ones((1, 2), np.int64)}
    for name, value in given.items():
        value = onnx.numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value
        proto.graph.node[0].attribute.append(onnx.helper.make_attribute(name, value))
    file = read_pen(b"".join(write_program(g.from_proto(proto))))
    node = file.tables.methods[0].nodes[0]
    assert [node.inputs[1], file.methods[0].values[node.inputs[2]].name] == [-1, "high"]
    found = {a.name.decode(): a for a in node.attributes}
    assert list(found) == sorted(given)
    assert found["i"].integer == 7
    assert found["f"].real == 0.5
    assert found["s"].text == b"text"
    assert found["is"].integers.tolist() == [1, 2]
    assert found["fs"].reals.tolist() == [0.5, 1.5]
    assert found["ss"].texts == [b"a", b"b"]
    assert found["t"].kind == pen.AttributeKind.tensor
    assert file.methods[0].values[found["t"].tensor].shape == (1, 2)


DTYPES = ["float32", "float16", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "bool"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_constants_of_every_dtype(dtype):
    array = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype)
    proto = model_from_text("g (float[1] x) => (float[1] y) { y = Neg(x) }", weights={"c": array})
    proto.graph.node.append(onnx.helper.make_node("Identity", ["c"], ["z"]))
    proto.graph.output.append(onnx.helper.make_tensor_value_info("z", onnx.helper.np_dtype_to_tensor_dtype(array.dtype), [2, 3]))
    program = penlight_runtime.Program(b"".join(write_program(g.from_proto(proto))))
    found = program.session().run({"x": np.zeros(1, np.float32)})["z"]
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_bfloat16_and_empty_arrays_in_segments():
    segment = SegmentBuilder()
    assert segment.add(np.ones(3, ml_dtypes.bfloat16)) == (0, 6)
    assert segment.add(np.zeros((0, 4), np.float32)) == (64, 0)
    assert segment.add(np.arange(6, dtype=np.float32).reshape(2, 3).T) == (64, 24)
    data = b"".join(Pieces(segment.chunks))
    assert data[:6] == b"\x80\x3f" * 3
    assert np.frombuffer(data[64:], np.float32).tolist() == [0, 3, 1, 4, 2, 5]
    assert segment.checksum == crc32c(data)


def test_what_a_pen_file_cannot_hold():
    proto = model_from_text("g (string[N] s, float[2] x) => (float[2] y) { y = Neg(x) }")
    with pytest.raises(UnsupportedFeatureError, match="'s' has element type string"):
        write_program(g.from_proto(proto))


def test_the_same_graph_gives_the_same_bytes():
    assert small() == small()
