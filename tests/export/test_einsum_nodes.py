# SPDX-License-Identifier: Apache-2.0
"""Einsum is written out as products of matrices when a model is converted, for sizes that are known and for those that are not."""

import numpy as np
import pytest
from onnx_text import model_from_text

import penlight_runtime
from penlight_export import convert
from penlight_export.errors import UnsupportedFeatureError

RNG = np.random.default_rng(11)
EQUATIONS = [
    ("ij->ji", [(2, 3)], {"Transpose"}),
    ("i->i", [(3,)], {"Identity"}),
    ("ij->", [(2, 3)], {"ReduceSum"}),
    ("...i->...", [(2, 4, 3)], {"ReduceSum"}),
    ("i,j->ij", [(2,), (3,)], {"Mul"}),
    ("i,i", [(3,), (3,)], {"MatMul"}),
    (",ij->ij", [(), (2, 3)], {"Mul"}),
    (" i j , j k -> k i ", [(2, 3), (3, 4)], {"MatMul", "Transpose"}),
    ("abc,cd->abd", [(2, 3, 4), (4, 5)], {"MatMul"}),
    ("bhqd,bhkd->bhqk", [(2, 3, 4, 5), (2, 3, 6, 5)], {"MatMul", "Transpose"}),
    ("bhqk,bkhd->bqhd", [(2, 3, 4, 6), (2, 6, 3, 5)], {"MatMul", "Transpose"}),
    ("bchw,bdhw->bcd", [(2, 3, 4, 5), (2, 6, 4, 5)], {"MatMul", "Transpose", "Reshape"}),
    ("ijk,ilm->jklm", [(2, 3, 4), (2, 5, 6)], {"MatMul", "Transpose", "Reshape"}),
    ("abcd,cdef->abef", [(2, 3, 4, 5), (4, 5, 6, 7)], {"MatMul", "Reshape"}),
    ("...ij,...jk->...ik", [(2, 1, 3, 4), (5, 4, 6)], {"MatMul", "Transpose", "Reshape"}),
    ("bij,bjk", [(2, 3, 4), (2, 4, 5)], {"MatMul", "Transpose", "Reshape"}),
    ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)], {"MatMul"}),
    ("a,ab,abc->abc", [(2,), (2, 3), (2, 3, 4)], {"Mul"}),
    ("bii->bi", [(2, 3, 3)], {"Where", "ReduceSum"}),
    ("iij,jk->ik", [(3, 3, 4), (4, 5)], {"Where", "ReduceSum", "MatMul", "Transpose"}),
    ("ij,jk->ik", [(2, 0), (0, 4)], {"MatMul"}),
    ("abc,dbc->ad", [(2, 3, 0), (4, 3, 0)], {"MatMul", "Transpose", "Reshape"}),
]
SHAPES = {"Shape", "Gather", "Concat", "ReduceProd", "Reshape", "Unsqueeze", "Squeeze", "CastLike", "Equal", "Range", "Transpose"}


def einsum_model(equation, shapes, named=False):
    names = "xyz"[: len(shapes)]

    def port(name, shape):
        sizes = ",".join(f"{name}{axis}" if named else str(size) for axis, size in enumerate(shape))
        return f"float[{sizes}] {name}"

    ports = ", ".join(map(port, names, shapes))
    proto = model_from_text(f'g ({ports}) => (float o) {{ o = Einsum<equation="{equation}">({", ".join(names)}) }}', 17)
    return proto, {name: RNG.standard_normal(shape).astype(np.float32) for name, shape in zip(names, shapes, strict=True)}


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize(("equation", "shapes", "operators"), EQUATIONS, ids=lambda value: value if isinstance(value, str) else "")
def test_equations(equation, shapes, operators, named, tmp_path):
    proto, inputs = einsum_model(equation, shapes, named)
    wanted = np.einsum(equation.replace(" ", ""), *inputs.values())
    for port in (*proto.graph.input, *proto.graph.output):
        port.type.tensor_type.shape.SetInParent()  # of a scalar, which has no dimensions
    for axis in range(wanted.ndim):
        proto.graph.output[0].type.tensor_type.shape.dim.add(dim_param=f"o{axis}")
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    result = convert(tmp_path / "m.onnx", tmp_path / "m.pen", data=inputs)
    found = penlight_runtime.Program.open(tmp_path / "m.pen").session().run(inputs)["o"]
    assert result.report.ok and found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert set(result.summary.operators) - SHAPES <= operators <= set(result.summary.operators) | SHAPES


@pytest.mark.parametrize(
    ("equation", "shapes", "words"),
    [
        ("ij,jk->ik", [(2, 3)], "has 2 terms for 1 operands"),
        ("ijk->i", [(2, 3)], "has the term 'ijk' for an operand of rank 2"),
        ("i?->i", [(2, 3)], r"has the term 'i\?' for"),
        ("ij->k", [(2, 3)], "a letter twice, or with one that no operand has"),
        ("ij->ii", [(2, 3)], "a letter twice, or with one that no operand has"),
    ],
)
def test_equations_that_do_not_fit_are_refused(equation, shapes, words, tmp_path):
    proto, _ = einsum_model(equation, shapes)
    proto.graph.output[0].type.tensor_type.shape.dim.add(dim_param="o")
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(UnsupportedFeatureError, match=words):
        convert(tmp_path / "m.onnx", tmp_path / "m.pen")
