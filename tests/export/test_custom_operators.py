# SPDX-License-Identifier: Apache-2.0
"""Operators that a user defines outside of the package: exported as functions of the model, expanded for the edge."""

import numpy as np
import onnx
import pytest

import penlight as pl
from penlight import nn
from penlight.ops.dispatch import apply
from penlight.ops.operator import Operator
from penlight_export import UnsupportedOperatorsError, export


class ScaledTanh(Operator):
    """scale * tanh(x / scale)"""

    name = "scaled_tanh"
    saves_output = True
    scale: float = 2.0

    def infer(self, x):
        return x

    def forward(self, xp, x):
        return xp.tanh(x / x.dtype.type(self.scale)) * x.dtype.type(self.scale)

    def vjp(self, grad, output, x):
        return (grad * (1 - (output / self.scale) ** 2),)

    def composite(self, x):
        return pl.tanh(x / self.scale) * self.scale


class RowShare(Operator):
    """Each element as a part of its row's sum, and the sums"""

    name = "row_share"
    outputs = 2

    def infer(self, x):
        return x, type(x)(x.shape[:-1], x.dtype)

    def forward(self, xp, x):
        total = x.sum(-1)
        return x / total[..., None], total

    def composite(self, x):
        total = x.sum(-1)
        return x / total.reshape(*x.shape[:-1], 1), total


class NoForm(Operator):
    """Twice x"""

    name = "no_form"

    def infer(self, x):
        return x

    def forward(self, xp, x):
        return x * 2


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x):
        x = apply(ScaledTanh(), self.linear(x))
        x = apply(ScaledTanh(), x) + apply(ScaledTanh(0.5), x)
        share, total = apply(RowShare(), x.exp())
        return {"share": share, "total": total}


@pytest.fixture
def exported():
    pl.manual_seed(0)
    return export(Model().eval(), pl.randn(2, 4, 3), dynamic={"x": {0: "batch", 1: "time"}})


def test_engines_agree_at_three_sizes(exported):
    assert exported.report.ok and exported.refusal is None
    assert {row.pair for row in exported.report.rows} == {"eager / onnxruntime", "eager / edge", "onnxruntime / edge"}
    assert len({tuple(row.sizes.items()) for row in exported.report.rows}) == 3


def test_each_operator_is_one_function(exported):
    model = exported.onnx_model
    onnx.checker.check_model(model, full_check=True)
    assert {(f.domain, f.name) for f in model.functions} == {("custom", n) for n in ("ScaledTanh", "ScaledTanh_2", "RowShare")}
    calls = [node.op_type for node in model.graph.node if node.domain == "custom"]
    assert calls == ["ScaledTanh", "ScaledTanh", "ScaledTanh_2", "RowShare"]
    assert ("custom", 1) in {(entry.domain, entry.version) for entry in model.opset_import}


def test_the_edge_program_has_no_functions(exported):
    assert "Tanh" in exported.summary.operators
    assert not {"ScaledTanh", "RowShare"} & set(exported.summary.operators)


def test_its_gradient_is_that_of_the_class():
    x = pl.tensor(np.array([0.5, -1.0], np.float32), requires_grad=True)
    apply(ScaledTanh(), x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 1 - np.tanh(x.detach().numpy() / 2) ** 2, rtol=1e-6)


def test_without_a_form_the_message_says_what_to_write():
    with pytest.raises(UnsupportedOperatorsError, match=r"no_form at .*test_custom_operators.py:\d+ on float32 .*composite\(self"):
        export(lambda x: apply(NoForm(), x), pl.ones(2))
