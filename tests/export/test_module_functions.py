# SPDX-License-Identifier: Apache-2.0
"""Modules as ONNX functions: the calls are those of the modules, equal bodies are there once, and the numbers stay."""

import numpy as np
import onnx
import pytest
from onnx_text import run_onnx

import penlight as pl
from penlight import nn
from penlight_export import Method, convert, export, export_methods

DOMAIN = "penlight.modules"


class Feed(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.up, self.down, self.norm = nn.Linear(width, 2 * width), nn.Linear(2 * width, width), nn.LayerNorm(width)

    def forward(self, x):
        batch, width = x.shape
        return self.norm(x + self.down(self.up(x).relu()).reshape(batch, 2, width // 2).reshape(batch, width))


class Stack(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([Feed(8) for _ in range(3)])
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.layers[0](x), self.head(x) * 2

    def scores(self, x):
        return self.layers[1](x).sum(-1)


class Choice(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return pl.cond(x.sum() > 0, lambda a: self.first(a), lambda a: self.second(a).tanh(), (x,))


class Chooser(nn.Module):
    def __init__(self):
        super().__init__()
        self.choice = Choice()

    def forward(self, x):
        return self.choice(x + 1) * 3


@pytest.fixture(scope="module")
def stack():
    pl.manual_seed(5)
    model = Stack().eval()
    for layer in model.layers:
        layer.norm.weight.data[:] = pl.randn(8)  # no weights that happen to be equal
    return model


def exported(model, shape, functions=True, **options):
    pl.manual_seed(1)
    return export(model, {"x": pl.randn(*shape)}, dynamic={"x": {0: "batch"}}, functions=functions, **options)


def calls(nodes):
    return [node.op_type for node in nodes if node.domain == DOMAIN]


@pytest.mark.parametrize("opset", [17, 21, 24])
def test_layers_share_a_function(stack, opset):
    result = exported(stack, (3, 8), opset=opset)
    assert result.report.ok
    proto = result.onnx_model
    assert calls(proto.graph.node) == ["Feed", "Feed", "Feed", "Feed", "Linear"]
    bodies = {function.name: function for function in proto.functions}
    assert set(bodies) == {"Feed", "Linear", "LayerNorm"}
    assert calls(bodies["Feed"].node) == ["Linear", "Linear", "LayerNorm"]
    assert len(bodies["Linear"].input) == 3 and bodies["Linear"].input[0] == "x"
    names = [node.name for node in proto.graph.node if node.domain == DOMAIN]
    assert names[:3] == ["layers.0", "layers.1", "layers.2"] and "head" in names
    onnx.checker.check_model(proto, full_check=True)


def test_the_same_numbers_and_bytes(stack, tmp_path):
    result = exported(stack, (3, 8))
    plain = exported(stack, (3, 8), functions=False, verify=False)
    assert not plain.onnx_model.functions
    feed = {"x": np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)}
    before, after = run_onnx(plain.onnx_model, feed), run_onnx(result.onnx_model, feed)
    assert list(before) == list(after)
    for name, array in before.items():
        np.testing.assert_allclose(after[name], array, rtol=1e-6, atol=1e-6)
    again = exported(stack, (3, 8), verify=False)
    assert [again.save(tmp_path / "b.onnx").read_bytes()] == [result.save(tmp_path / "a.onnx").read_bytes()]
    assert result.program == plain.program  # the program has none of it


def test_the_file_comes_back(stack, tmp_path):
    exported(stack, (3, 8)).save(tmp_path / "m.onnx")
    result = convert(tmp_path / "m.onnx", tmp_path / "m.pen")
    assert result.report.ok
    assert not any(operator.startswith(DOMAIN) for operator in result.summary.operators)


def test_weights_beside_the_file(stack, tmp_path):
    result = exported(stack, (3, 8), external_data=True)
    assert result.report.ok
    result.save(tmp_path / "m.onnx")
    assert convert(tmp_path / "m.onnx", tmp_path / "m.pen").report.ok


def test_modules_with_branches():
    result = exported(Chooser().eval(), (2, 4))
    assert result.report.ok
    assert calls(result.onnx_model.graph.node) == ["Choice"]
    (function,) = result.onnx_model.functions
    assert "If" in [node.op_type for node in function.node]


def test_a_function_of_tensors_has_no_modules():
    assert not exported(lambda x: x.relu() + 1, (2, 4)).onnx_model.functions


def test_methods_call_the_functions_of_their_module(stack):
    """Each method's .onnx file has them; the program of all methods is the same as without."""
    methods = {"forward": Method(stack, (pl.ones(2, 8),)), "head": Method(stack.scores, (pl.ones(3, 8),))}
    plain, boxed = (export_methods(methods, functions=functions) for functions in (False, True))
    assert boxed.program == plain.program
    for name, expected in (("forward", {"Feed", "Linear"}), ("head", {"Feed"})):
        assert not plain.methods[name].onnx_model.functions
        found = {function.name.split(".")[0].rstrip("_0123456789") for function in boxed.methods[name].onnx_model.functions}
        assert expected <= found, found
