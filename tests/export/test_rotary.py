# SPDX-License-Identifier: Apache-2.0
"""Rotary position embedding in the forms that exporters write out becomes one operator, and keeps its numbers."""

import re

import numpy as np
import onnx
import pytest
from onnx_text import model_from_text, run_onnx

import penlight_runtime
from penlight_export import convert, passes
from penlight_export import graph as g
from penlight_export.errors import PassError

RNG = np.random.default_rng(5)
BATCH, HEADS, TIME, SIZE, ROWS = 2, 3, 5, 8, 16


def angles(size):
    return np.arange(ROWS)[:, None] / 10000.0 ** (np.arange(0, size, 2) / size)


def tables(size, repeat):
    """Cosines and sines with a column for each pair, or for each feature: the pairs twice, or each of them twice."""
    narrow = angles(size)
    wide = {"once": narrow, "halves": np.concatenate([narrow, narrow], -1), "turns": np.repeat(narrow, 2, -1)}[repeat]
    return {"cosines": np.cos(wide).astype(np.float32), "sines": np.sin(wide).astype(np.float32)}


def numbers(*values):
    return np.asarray(values, np.int64)


NUMBERS = {
    "zero": numbers(0), "one": numbers(1), "two": numbers(2), "last": numbers(-1), "end": numbers(2**62),
    "half": numbers(SIZE // 2), "quarter": numbers(SIZE // 4), "first": np.asarray(0, np.int64), "second": np.asarray(1, np.int64),
    "pairs": numbers(0, 0, 0, -1, 2), "parted": numbers(0, 0, 0, 2, -1), "whole": numbers(0, 0, 0, SIZE),
    "split": numbers(0, 0, HEADS, SIZE), "splitpairs": numbers(0, 0, HEADS, -1, 2), "joined": numbers(0, 0, HEADS * SIZE),
    "batch": numbers(BATCH),
}  # fmt: skip

ROWS_OF_TABLES = "c = Gather(cosines, ids) s = Gather(sines, ids) "
HEADS_FIRST = ROWS_OF_TABLES + "cos = Unsqueeze(c, one) sin = Unsqueeze(s, one) "
TIME_FIRST = ROWS_OF_TABLES + "cos = Unsqueeze(c, two) sin = Unsqueeze(s, two) "
HALVES = "lo = Slice(x, zero, half, last) hi = Slice(x, half, end, last, one) "
TURNS = "lo = Slice(x, zero, end, last, two) hi = Slice(x, one, end, last, two) "
ROTATED = "n = Neg(hi) r = Concat<axis = -1>(n, lo) "
STACKED = "n = Neg(hi) nu = Unsqueeze(n, last) lu = Unsqueeze(lo, last) st = Concat<axis = -1>(nu, lu) r = Reshape(st, whole) "
TURNED = "p = Mul(x, cos) q = Mul(r, sin) y = Add(p, q)"
PARTS = "a = Mul(lo, cos) b = Mul(hi, sin) d = Mul(lo, sin) e = Mul(hi, cos) re = Sub(a, b) im = Add(d, e) "
JOINED = "ru = Unsqueeze(re, last) iu = Unsqueeze(im, last) st = Concat<axis = 4>(ru, iu) y = Reshape(st, whole)"

# name: (repeat of the tables, body, attributes); x is (B, 3, T, 8)
FORMS = {
    "halves": ("halves", HEADS_FIRST + HALVES + ROTATED + TURNED, {}),
    "split": ("halves", HEADS_FIRST + "lo, hi = Split<axis = -1, num_outputs = 2>(x) " + ROTATED + TURNED, {}),
    "commuted": ("halves", HEADS_FIRST + HALVES + ROTATED + "p = Mul(cos, x) q = Mul(sin, r) y = Add(q, p)", {}),
    "parts": ("once", HEADS_FIRST + HALVES + PARTS + "y = Concat<axis = -1>(re, im)", {}),
    "parts by reshape": (
        "once",
        HEADS_FIRST + "pa = Reshape(x, parted) lo = Gather<axis = 3>(pa, first) hi = Gather<axis = -2>(pa, second) " + PARTS
        + "y = Concat<axis = -1>(re, im)",
        {},
    ),
    "turns": ("turns", HEADS_FIRST + TURNS + STACKED + TURNED, {"interleaved": 1}),
    "turns in parts": ("once", HEADS_FIRST + TURNS + PARTS + JOINED, {"interleaved": 1}),
    "complex": (
        "once",
        HEADS_FIRST + "pa = Reshape(x, pairs) lo = Gather<axis = -1>(pa, first) hi = Gather<axis = -1>(pa, second) "
        + PARTS + JOINED,
        {"interleaved": 1},
    ),
    "repeated": (
        "once",
        ROWS_OF_TABLES + "cu = Unsqueeze(c, last) su = Unsqueeze(s, last) "
        "cc = Concat<axis = -1>(cu, cu) ss = Concat<axis = -1>(su, su) "
        "cf = Reshape(cc, joinedpairs) sf = Reshape(ss, joinedpairs) cos = Unsqueeze(cf, one) sin = Unsqueeze(sf, one) "
        + TURNS + STACKED + TURNED,
        {"interleaved": 1},
    ),
    "partial": (
        "halves",
        HEADS_FIRST + "v = Slice(x, zero, half, last, one) rest = Slice(x, half, end, last, one) "
        "lo = Slice(v, zero, quarter, last) hi = Slice(v, quarter, end, last) " + ROTATED
        + "p = Mul(v, cos) q = Mul(r, sin) t = Add(p, q) y = Concat<axis = -1>(t, rest)",
        {"rotary_embedding_dim": 4},
    ),
}  # fmt: skip


def written_out(repeat, body, size=SIZE, head="float[b,3,t,8] x, int64[b,t] ids", result="float[b,3,t,8] y", **weights):
    """A model at operator set 18, as exporters of its time wrote it."""
    known = {**NUMBERS, **tables(size, repeat), "joinedpairs": numbers(0, 0, SIZE), **weights}
    words = set(body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    return model_from_text(f"g ({head}) => ({result}) {{ {body} }}", 18, {n: a for n, a in known.items() if n in words})


def fused(proto, opset=23):
    model = g.from_proto(proto)
    g.infer_shapes(model)
    model.graph.opset_imports[""] = opset
    run = (passes.LiftConstants(), passes.FoldShapes(), passes.FuseRotary(), passes.RemoveDeadCode())
    return model, passes.run_passes(model, run)[2].changes


def data(*shape):
    return {"x": RNG.standard_normal(shape).astype(np.float32), "ids": RNG.integers(0, ROWS, (BATCH, TIME))}


def rotary_nodes(model):
    return [node for node in model.graph if node.op_type == "RotaryEmbedding"]


@pytest.mark.parametrize("form", FORMS)
def test_one_operator_says_the_same(form):
    repeat, body, attributes = FORMS[form]
    proto = written_out(repeat, body, size=SIZE // 2 if form == "partial" else SIZE)
    model, changes = fused(proto)
    (node,) = rotary_nodes(model)
    assert changes == 1
    assert not {"Mul", "Add", "Sub", "Neg"} & {each.op_type for each in model.graph}
    assert {name: attribute.value for name, attribute in node.attributes.items()} == attributes
    inputs = data(BATCH, HEADS, TIME, SIZE)
    np.testing.assert_allclose(run_onnx(g.to_proto(model), inputs)["y"], run_onnx(proto, inputs)["y"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", ["halves", "turns", "complex"])
def test_positions_choose_rows_of_tables(form):
    repeat, body, _ = FORMS[form]
    model, _ = fused(written_out(repeat, body))
    (node,) = rotary_nodes(model)
    assert [value.name for value in node.inputs][3] == "ids"
    assert [g.static_shape(value) for value in node.inputs[1:3]] == [(ROWS, SIZE // 2)] * 2
    assert len(list(model.graph)) == 1


def test_the_result_is_checked():
    model, _ = fused(written_out(*FORMS["halves"][:2]))
    (node,) = rotary_nodes(model)
    node.replace_input_with(3, None)
    with pytest.raises(PassError, match="rotary embedding: heads and positions are known; not so RotaryEmbedding"):
        passes.FuseRotary().ensures(model)


def test_older_operator_sets_keep_it_written_out(tmp_path):
    repeat, body, _ = FORMS["halves"]
    proto = written_out(repeat, body)
    assert fused(proto, opset=22)[1] == 0
    onnx.save(proto, tmp_path / "model.onnx")
    result = convert(tmp_path / "model.onnx", tmp_path / "model.pen")
    assert result.report.ok
    assert result.summary.operators == {"RotaryEmbedding": 1}


COMPUTED = (
    "idf = Cast<to = 1>(ids) idu = Unsqueeze(idf, last) a = Mul(idu, frequencies) aa = Concat<axis = -1>(a, a) c = Cos(aa) "
    "s = Sin(aa) cos = Unsqueeze(c, one) sin = Unsqueeze(s, one) "
)


@pytest.mark.parametrize("rows", ["b", "1"])
def test_computed_angles_of_one_row_serve_the_whole_batch(rows):
    body = COMPUTED + HALVES + ROTATED + TURNED
    frequencies = (1 / 10000.0 ** (np.arange(0, SIZE, 2) / SIZE)).astype(np.float32)
    proto = written_out("once", body, head=f"float[b,3,t,8] x, int64[{rows},t] ids", frequencies=frequencies)
    model, changes = fused(proto)
    assert changes == 1
    assert ("Expand" in {node.op_type for node in model.graph}) == (rows == "1")
    inputs = data(BATCH, HEADS, TIME, SIZE)
    inputs["ids"] = inputs["ids"][: 1 if rows == "1" else BATCH]
    np.testing.assert_allclose(run_onnx(g.to_proto(model), inputs)["y"], run_onnx(proto, inputs)["y"], rtol=1e-5, atol=1e-6)


def test_heads_that_stand_behind_time_need_no_transpose():
    """Llama's first code turns (B, T, H, D)."""
    body = (
        TIME_FIRST + "x = Reshape(flat, split) pa = Reshape(x, pairs) lo = Gather<axis = -1>(pa, first) "
        "hi = Gather<axis = -1>(pa, second) " + PARTS + JOINED.replace("y =", "z =").replace("whole", "split")
        + " y = Transpose<perm = [0, 2, 1, 3]>(z)"
    )  # fmt: skip
    proto = written_out("once", body, head="float[b,t,24] flat, int64[b,t] ids")
    model, changes = fused(proto)
    (node,) = rotary_nodes(model)
    assert changes == 1
    assert [each.op_type for each in model.graph] == ["RotaryEmbedding", "Reshape", "Transpose"]
    assert node.inputs[0].name == "flat"
    assert {name: attribute.value for name, attribute in node.attributes.items()} == {"interleaved": 1, "num_heads": HEADS}
    inputs = {"flat": RNG.standard_normal((BATCH, TIME, 24)).astype(np.float32), "ids": data(1)["ids"]}
    np.testing.assert_allclose(run_onnx(g.to_proto(model), inputs)["y"], run_onnx(proto, inputs)["y"], rtol=1e-5, atol=1e-6)


NO_ROTATION = {
    "other sign": ("halves", HEADS_FIRST + HALVES + ROTATED + "p = Mul(x, cos) q = Mul(r, sin) y = Sub(p, q)"),
    "halves the other way": (
        "halves",
        HEADS_FIRST + HALVES + "n = Neg(lo) r = Concat<axis = -1>(n, hi) " + TURNED,
    ),
    "unequal halves of the table": ("turns", HEADS_FIRST + HALVES + ROTATED + TURNED),
    "two readers": ("halves", HEADS_FIRST + HALVES + ROTATED + "p = Mul(x, cos) q = Mul(r, sin) o = Add(p, q) y = Mul(o, q)"),
    "another x": ("halves", HEADS_FIRST + HALVES + ROTATED + "w = Exp(x) p = Mul(w, cos) q = Mul(r, sin) y = Add(p, q)"),
    "mixed caches": (
        "once",
        HEADS_FIRST + HALVES + PARTS.replace("d = Mul(lo, sin)", "d = Mul(lo, cos)") + "y = Concat<axis = -1>(re, im)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", NO_ROTATION)
def test_what_is_no_rotation_stays(form):
    proto = written_out(*NO_ROTATION[form])
    model, changes = fused(proto)
    assert changes == 0
    assert not rotary_nodes(model)


STRETCHED = {
    "batch": ("float[1,3,t,8] x, int64[b,t] ids", HEADS_FIRST, (1, HEADS, TIME, SIZE)),
    "time": ("float[2,3,1,8] x, int64[2,t] ids", HEADS_FIRST, (2, HEADS, 1, SIZE)),
}


@pytest.mark.parametrize("axis", STRETCHED)
def test_an_x_that_the_caches_stretch_stays(axis, tmp_path):
    """The operator broadcasts nothing, Mul does."""
    head, caches, shape = STRETCHED[axis]
    proto = written_out("halves", caches + HALVES + ROTATED + TURNED, head=head, result="float[b,3,t,8] y")
    onnx.save(proto, tmp_path / "model.onnx")
    result = convert(tmp_path / "model.onnx", tmp_path / "model.pen", data=data(*shape))
    assert "RotaryEmbedding" not in result.summary.operators


@pytest.mark.parametrize(
    "head", ["float[b,3,t,8] x, int64[b,u] ids", "float[b,3,t,8] x, int64[c,t] ids", "float[b,3,?,8] x, int64[b,t] ids"]
)
def test_sizes_of_different_names_are_not_the_same(head):
    """Either may be 1 in some run, which Mul stretches."""
    proto = written_out("halves", HEADS_FIRST + HALVES + ROTATED + TURNED, head=head, result="float[b,3,t,8] y")
    assert fused(proto)[1] == 0


def test_a_reshape_that_mixes_axes_stays():
    body = HEADS_FIRST.replace("(cosines, ids)", "(cosines, row)").replace("(sines, ids)", "(sines, row)") + TURNS + PARTS + JOINED
    known = {"row": np.arange(TIME)[None], "whole": numbers(BATCH, TIME, HEADS, SIZE)}
    proto = written_out("once", body, head=f"float[2,3,{TIME},8] x", result=f"float[2,{TIME},3,8] y", **known)
    assert fused(proto)[1] == 0


def test_a_rotation_that_ends_in_a_branch_stays(tmp_path):
    shape = f"float[{BATCH},{HEADS},{TIME},{SIZE}]"
    branch = f"then_branch = yes () => ({shape} a) {{ p = Mul(x, cos) q = Mul(r, sin) a = Add(p, q) }}"
    other = f"else_branch = no () => ({shape} o) {{ o = Neg(x) }}"
    body = HEADS_FIRST + HALVES + ROTATED + f"y = If (flag) < {branch}, {other} >"
    head = f"{shape} x, int64[{BATCH},{TIME}] ids, bool flag"
    proto = written_out("halves", body, head=head, result=f"{shape} y")
    onnx.save(proto, tmp_path / "model.onnx")
    assert convert(tmp_path / "model.onnx", tmp_path / "model.pen").report.ok


HEADS_OF = "{0}h = Reshape({0}, split) {1} = Transpose<perm = [0, 2, 1, 3]>({0}h) "
ATTENTION = (
    "kt = Transpose<perm = [0, 1, 3, 2]>(y2) m = MatMul(y, kt) sc = Mul(m, scale) f = Softmax<axis = -1>(sc) o = MatMul(f, w) "
    "ot = Transpose<perm = [0, 2, 1, 3]>(o) out = Reshape(ot, joined)"
)


def test_the_transposes_of_the_heads_go_with_the_attention(tmp_path):
    turned = HALVES + ROTATED + TURNED
    again = re.sub(r"\b(x|lo|hi|n|r|p|q|y)\b", r"\g<1>2", turned)
    heads = HEADS_OF.format("query", "x") + HEADS_OF.format("key", "x2") + HEADS_OF.format("values", "w")
    head = "float[b,t,24] query, float[b,t,24] key, float[b,t,24] values, int64[b,t] ids"
    body = f"{HEADS_FIRST} {heads} {turned} {again} {ATTENTION}"
    proto = written_out("halves", body, head=head, result="float[b,t,24] out", scale=np.asarray(0.35, np.float32))
    onnx.save(proto, tmp_path / "model.onnx")
    result = convert(tmp_path / "model.onnx", tmp_path / "model.pen")
    assert result.report.ok
    assert result.summary.operators == {"RotaryEmbedding": 2, "Attention": 1}
    shape = (BATCH, TIME, HEADS * SIZE)
    inputs = {name: RNG.standard_normal(shape).astype(np.float32) for name in ("query", "key", "values")} | {"ids": data(1)["ids"]}
    found = penlight_runtime.Program.open(result.path).session().run(inputs)["out"]
    np.testing.assert_allclose(found, run_onnx(proto, inputs)["out"], rtol=1e-4, atol=1e-5)
