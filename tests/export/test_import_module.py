# SPDX-License-Identifier: Apache-2.0
"""An .onnx file as a module: what its parameters are, that it trains, and that it is exported again."""

import copy
import inspect

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx_text import run_onnx

import penlight as pl
import penlight_export
from penlight import nn
from penlight.data import load_digits
from penlight.nn import functional as F
from penlight_export.errors import ImportedNodeError, UnsupportedOperatorsError
from penlight_export.imported import ImportedModule, import_module


class Digits(nn.Module):
    """A small network with everything that behaves differently in training."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8 * 16, 10)

    def forward(self, image):
        x = F.max_pool2d(F.relu(self.norm(self.conv(image))), 2)
        return self.head(x.flatten(1))


def file_of(module, path, *inputs, **options):
    penlight_export.export(module.eval(), inputs, passes=(), **options).save(path)
    return path


@pytest.fixture
def digits(tmp_path):
    pl.manual_seed(3)
    return file_of(Digits(), tmp_path / "digits.onnx", pl.randn(2, 1, 8, 8), dynamic={"image": {0: "batch"}})


def model(text):
    return onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 21]>\n' + text)


def test_names_of_parameters_buffers_and_inputs(digits):
    module = import_module(digits)
    assert isinstance(module, ImportedModule)
    assert not module.training
    assert {name for name, _ in module.named_parameters()} == {name for name, _ in Digits().named_parameters()}
    assert {name for name, _ in module.named_buffers()} == {"norm.running_mean", "norm.running_var"}
    assert list(inspect.signature(module.forward).parameters) == module.input_names == ["image"]
    x = pl.randn(3, 1, 8, 8)
    np.testing.assert_array_equal(module(image=x).detach().numpy(), module(x).detach().numpy())
    with pytest.raises(TypeError, match="missing a required argument: 'image'"):
        module()


def test_it_computes_what_the_file_computes(digits):
    x = np.random.default_rng(0).standard_normal((5, 1, 8, 8), np.float32)
    (expected,) = run_onnx(onnx.load(digits), {"image": x}).values()
    np.testing.assert_allclose(import_module(digits)(pl.tensor(x)).detach().numpy(), expected, rtol=1e-5, atol=1e-5)


def test_it_trains_on_digits(digits):
    pl.manual_seed(0)
    data = load_digits()
    images, labels = pl.tensor(data.train_images[:256]), pl.tensor(data.train_labels[:256])
    module = import_module(digits).train()
    before = {name: t.detach().numpy().copy() for name, t in [*module.named_parameters(), *module.named_buffers()]}
    optimizer = pl.optim.Adam(module.parameters(), lr=3e-3)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = F.cross_entropy(module(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    for name, t in [*module.named_parameters(), *module.named_buffers()]:
        assert np.abs(t.detach().numpy() - before[name]).max() > 1e-4, name


def test_statistics_stay_in_evaluation_mode(digits):
    module = import_module(digits)
    before = module.get_buffer("norm.running_mean").numpy().copy()
    module(pl.randn(4, 1, 8, 8))
    np.testing.assert_array_equal(module.get_buffer("norm.running_mean").numpy(), before)


def test_exported_again(digits, tmp_path):
    module = import_module(digits)
    x = pl.randn(2, 1, 8, 8)
    exported = penlight_export.export(module, (x,), dynamic={"image": {0: "batch"}}, opset=17)
    exported.save(tmp_path / "again.onnx")
    again = import_module(tmp_path / "again.onnx")
    assert again.opset == 17
    assert again.input_names == ["image"]
    for count in (1, 5):
        x = pl.randn(count, 1, 8, 8)
        np.testing.assert_allclose(again(x).detach().numpy(), module(x).detach().numpy(), rtol=1e-5, atol=1e-5)


def test_copies_and_checkpoints(digits):
    module = import_module(digits)
    twin = copy.deepcopy(module)
    x = pl.randn(1, 1, 8, 8)
    with pl.no_grad():
        twin.get_parameter("head.bias").copy_(pl.full((10,), 7.0))
    assert np.abs((twin(x) - module(x)).detach().numpy()).max() > 1
    twin.load_state_dict(module.state_dict())
    np.testing.assert_array_equal(twin(x).detach().numpy(), module(x).detach().numpy())


def test_sizes_that_vary_stay_symbols():
    module = import_module(
        model("""
    f (float[n, t, 6] x) => (float[n, t, 3] y, float[t, 2, 3] z) {
        shape = Shape (x)
        zero = Constant <value = int64 {0}> ()
        one = Constant <value = int64 {1}> ()
        n = Gather (shape, zero)
        t = Gather (shape, one)
        at = Constant <value = int64[1] {0}> ()
        rest = Constant <value = int64[2] {2, 3}> ()
        n1 = Unsqueeze (n, at)
        t1 = Unsqueeze (t, at)
        sizes = Concat <axis = 0> (n1, t1, rest)
        pairs = Reshape (x, sizes)
        last = Constant <value = int64[1] {2}> ()
        y = ReduceMax <keepdims = 0> (pairs, last)
        z = ReduceMean <keepdims = 0> (pairs, at)
    }""")
    )
    exported = penlight_export.export(module, (pl.randn(2, 3, 6),), dynamic={"x": {0: "n", 1: "t"}})
    assert exported.report.ok
    assert {
        str(size) for port in exported.onnx_model.graph.output for size in [d.dim_param for d in port.type.tensor_type.shape.dim]
    } >= {
        "n",
        "t",
    }


def test_control_flow_is_recorded(tmp_path):
    module = import_module(
        model("""
    f (float[3] x) => (float[3] y) {
        total = ReduceSum <keepdims = 0> (x)
        zero = Constant <value = float {0.0}> ()
        positive = Greater (total, zero)
        y = If (positive) <
            then_branch = a () => (float[3] p) { p = Neg (x) },
            else_branch = b () => (float[3] q) { q = Exp (x) }
        >
    }""")
    )
    for x in ([1.0, 2.0, 3.0], [-1.0, -2.0, -3.0]):
        array = np.array(x, np.float32)
        np.testing.assert_allclose(module(pl.tensor(array)).numpy(), -array if array.sum() > 0 else np.exp(array), rtol=1e-6)
    exported = penlight_export.export(module, (pl.tensor([1.0, 2.0, 3.0]),))
    assert "If" in [node.op_type for node in exported.onnx_model.graph.node]


def test_unknown_operators_are_listed_at_once():
    strange = model("""
    f (string[n] s, uint8[m] file) => (string[n] t, uint8[h, w, c] image) {
        t = StringNormalizer (s)
        image = ImageDecoder (file)
    }""")
    with pytest.raises(UnsupportedOperatorsError, match=r"ImageDecoder .*, StringNormalizer "):
        import_module(strange)


def test_a_refused_node_is_named():
    module = import_module(model("f (float[n, k] a, float[k, m] b) => (float[n, m] y) { y = MatMul (a, b) }"))
    with pytest.raises(ImportedNodeError, match="MatMul node 'y' of the imported model") as caught:
        module(pl.randn(2, 3), pl.randn(4, 5))
    assert caught.value.code == "PL-E2011"


def test_dropout_drops_in_training():
    module = import_module(model("f (float[n] x) => (float[n] y) { r = Constant <value = float {0.5}> ()\n y = Dropout (x, r) }"))
    x = pl.ones(1000)
    np.testing.assert_array_equal(module(x).numpy(), x.numpy())
    pl.manual_seed(0)
    assert 300 < int((module.train()(x) == 0).sum().item()) < 700
