# SPDX-License-Identifier: Apache-2.0
"""The models of our zoo, exported at old and new operator sets, load in onnxruntime and come back with the same answers."""

import numpy as np
import onnx
import pytest
from onnx_text import run_onnx

import penlight as pl
import penlight_runtime
from penlight import models
from penlight_export import convert, export

RNG = np.random.default_rng(2)


def image(*shape):
    return pl.from_numpy(RNG.standard_normal(shape).astype(np.float32))


def words(count, *shape):
    return pl.from_numpy(RNG.integers(0, count, shape))


ZOO = {
    "mlp": (lambda: models.MLP([12, 16, 5]), lambda batch: (image(batch, 12),)),
    "digits": (lambda: models.DigitsCNN(4), lambda batch: (image(batch, 1, 8, 8),)),
    "mnist": (lambda: models.MnistCNN(4), lambda batch: (image(batch, 1, 28, 28),)),
    "resnet": (lambda: models.ResNet((1, 1, 1, 1), classes=10, width=8), lambda batch: (image(batch, 3, 32, 32),)),
    "gpt": (lambda: models.CharGPT(17, context=8, size=16, layers=2, heads=2), lambda batch: (words(17, batch, 8),)),
    "bert": (
        lambda: models.BertModel(23, size=16, layers=2, heads=2, intermediate=32, positions=16),
        lambda batch: (words(23, batch, 6),),
    ),
}


@pytest.mark.parametrize("opset", [17, 19, 21, 23])
@pytest.mark.parametrize("name", ZOO)
def test_back_and_forth(name, opset, tmp_path):
    make, data = ZOO[name]
    pl.manual_seed(0)
    model = make().eval()
    export(model, data(2), names=["x"], dynamic={"x": {0: "batch"}}, opset=opset).save(tmp_path / "model.onnx")
    proto = onnx.load(tmp_path / "model.onnx")
    assert proto.opset_import[0].version == opset
    result = convert(tmp_path / "model.onnx", tmp_path / "model.pen")
    assert result.report.ok
    session = penlight_runtime.Program.open(result.path).session()
    (x,) = data(5)
    answers = model(x)
    answers = [answer.detach().numpy() for answer in (answers if isinstance(answers, tuple) else (answers,))]
    for engine in (run_onnx(proto, {"x": x.numpy()}), session.run({"x": x.numpy()})):
        for found, expected in zip(engine.values(), answers, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
