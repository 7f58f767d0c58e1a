# SPDX-License-Identifier: Apache-2.0
"""Example inputs of any structure, dimensions with ranges and derived sizes, and what a model may do with complex numbers."""

import numpy as np
import pytest

import penlight as pl
from penlight import nn
from penlight.symbolic import parse_expression
from penlight_export import export
from penlight_export.engines import OnnxEngine
from penlight_export.errors import VerifyError
from penlight_runtime import Program


def run(exported, **inputs):
    return OnnxEngine(exported.onnx_model.SerializeToString()).run(inputs)


def names(exported):
    return [port.name for port in exported.onnx_model.graph.input]


def sizes(exported, name):
    return sorted({row.sizes[name] for row in exported.report.rows})


class Cell(nn.Module):
    """One step with a state of two tensors."""

    def __init__(self):
        super().__init__()
        self.inner = nn.LSTMCell(3, 4)

    def forward(self, x, state, scale=None):
        h, c = self.inner(x, (state["h"], state["c"]))
        return {"y": h if scale is None else h * scale, "next": {"h": h, "c": c}}


@pytest.mark.parametrize("by_name", [False, True])
def test_nested_inputs_have_names(by_name):
    pl.manual_seed(0)
    x, state = pl.randn(2, 3), {"h": pl.zeros(2, 4), "c": pl.zeros(2, 4)}
    inputs = {"x": x, "state": state, "scale": None} if by_name else (x, state, None)
    batch = {0: "batch"}
    made = export(Cell().eval(), inputs, dynamic={"x": batch, "state.h": batch, "state.c": batch})
    assert made.report.ok and made.refusal is None
    assert names(made) == ["x", "state.h", "state.c"]
    assert [port.name for port in made.onnx_model.graph.output] == ["y", "next.h", "next.c"]
    assert sizes(made, "batch") == [1, 2, 3]


def test_a_range_is_kept_to():
    table = nn.Embedding(8, 4)
    made = export(
        lambda x: table(pl.arange(x.shape[1])) + x, pl.randn(2, 8, 4), dynamic={"x": {0: "batch", 1: pl.Dim("time", max=8)}}
    )
    assert max(sizes(made, "time")) == 8 and min(sizes(made, "time")) < 8


BRANCHES = [lambda x: x * 10 if x.shape[0] > 2 else x, lambda x: x + 1 if x.shape[0] == 1 else x]


@pytest.mark.parametrize("branch", BRANCHES)
def test_a_branch_on_a_size_shows_at_the_smallest(branch):
    """The two traces take the same side, so that nothing else tells."""
    with pytest.raises(VerifyError, match=r"if it branches on a size, .*Dim\(name, min=\.\.\.\).*, b=1: ") as caught:
        export(branch, pl.ones(3, 2), dynamic={"x": {0: "b"}})
    assert {row.sample for row in caught.value.report.rows if not row.ok} == {"smallest sizes"}
    made = export(branch, pl.ones(3, 2), dynamic={"x": {0: pl.Dim("b", min=3)}})
    np.testing.assert_array_equal(run(made, x=np.ones((3, 2), np.float32))["output"], branch(pl.ones(3, 2)).numpy())
    assert min(sizes(made, "b")) == 3


def test_a_module_may_refuse_the_smallest_sizes():
    def wide(x, y):
        if x.shape[0] < 2:
            raise ValueError("too few")
        return x.sum(0) + y

    made = export(wide, (pl.ones(3, 2), pl.ones(4, 2)), dynamic={"x": {0: "a"}, "y": {0: "b"}})
    assert min(sizes(made, "a")) == 3 and sizes(made, "b") == [1, 4, 5]
    assert made.refusal is None and Program(made.program).golden()[0].inputs["x"].shape == (3, 2)


def test_a_fixed_range_is_one_size():
    made = export(lambda x: x * 2, pl.ones(4, 2), dynamic={"x": {0: pl.Dim("n", min=4, max=4)}})
    assert sizes(made, "n") == [4]


def test_a_size_derived_from_another_one():
    def interleave(a, b):
        return a.reshape(b.shape[0], 2, -1).sum(1) + b

    dynamic = {"a": {0: "2*n"}, "b": {0: "n"}}
    made = export(interleave, (pl.randn(6, 3), pl.randn(3, 3)), dynamic=dynamic)
    dims = [port.type.tensor_type.shape.dim[0].dim_param for port in made.onnx_model.graph.input]
    assert dims == ["2*n", "n"] and sizes(made, "n") == [1, 3, 4]
    a, b = np.ones((10, 3), np.float32), np.zeros((5, 3), np.float32)
    np.testing.assert_array_equal(run(made, a=a, b=b)["output"], np.full((5, 3), 2, np.float32))


def test_an_input_that_is_not_used_is_noted():
    made = export(lambda x, mask: x * 2, (pl.ones(2), pl.ones(2)))
    assert "the model does not use its input 'mask'" in made.report.notes


def test_two_dimensions_of_one_size_may_differ():
    made = export(lambda a, b: a.sum(0) + b.sum(0), (pl.randn(4, 2), pl.randn(4, 2)), dynamic={"a": {0: "n"}, "b": {0: "m"}})
    a, b = np.ones((3, 2), np.float32), np.ones((5, 2), np.float32)
    np.testing.assert_array_equal(run(made, a=a, b=b)["output"], [8, 8])


def test_a_spectrogram():
    window = pl.hann_window(16)

    def loudness(signal):
        return pl.stft(signal, 16, 4, window=window, return_complex=True).abs()

    made = export(loudness, pl.randn(2, 64), dynamic={"signal": {0: "batch"}})
    assert made.report.ok and made.refusal is None


def test_complex_arithmetic_inside():
    def turned(x, y):
        z = pl.complex(x, y) * pl.complex(y, x).conj() / 2
        return pl.view_as_real(pl.cat([z, -z], 0).reshape(2, -1)), z.abs()

    assert export(turned, (pl.randn(3, 4), pl.randn(3, 4))).report.ok


@pytest.mark.parametrize("text", ["batch", "2*batch + 1", "batch*time - 3", "(batch + 1)//2", "-batch + 4"])
def test_sizes_are_read_as_they_are_written(text):
    assert parse_expression(text).text == text


@pytest.mark.parametrize("text", ["", "2 batch", "batch/2", "f(x)", "a.b", "1 +", "a // 0", "True"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="is no size"):
        parse_expression(text)
