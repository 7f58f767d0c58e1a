# SPDX-License-Identifier: Apache-2.0
"""Files that PyTorch's exporters write run on the edge runtime with the same answers."""

import logging
import warnings

import numpy as np
import pytest

import penlight_runtime
from penlight_export import convert

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")


def classifier():
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU6(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.Hardswish(),
        nn.AvgPool2d(2),
        nn.Dropout(0.5),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
        nn.LogSoftmax(-1),
    )


class Encoder(torch.nn.Module):
    """Embedding, one pre-norm transformer layer with a causal mask, and a head."""

    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(13, 16)
        self.layer = torch.nn.TransformerEncoderLayer(16, 4, 32, activation="gelu", batch_first=True, norm_first=True)
        self.head = torch.nn.Linear(16, 13)

    def forward(self, tokens):
        x = self.embed(tokens)
        mask = torch.triu(torch.full((tokens.shape[1], tokens.shape[1]), float("-inf")), diagonal=1)
        return self.head(self.layer(x, src_mask=mask))


MODELS = {
    "classifier": (classifier, lambda batch: torch.randn(batch, 3, 16, 16)),
    "encoder": (Encoder, lambda batch: torch.randint(0, 13, (batch, 7))),
}


@pytest.mark.filterwarnings("ignore")  # the exporters' own deprecations
@pytest.mark.parametrize("dynamo", [False, True], ids=["torchscript", "dynamo"])
@pytest.mark.parametrize("name", MODELS)
def test_same_answers(name, dynamo, tmp_path):
    torch.manual_seed(0)
    make, data = MODELS[name]
    module = make().eval()
    path = tmp_path / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_onnx(module, data(2), path, dynamo)
    result = convert(path, tmp_path / "model.pen")
    assert result.report.ok
    session = penlight_runtime.Program.open(result.path).session()
    for batch in (1, 2, 5):
        x = data(batch)
        with torch.no_grad():
            expected = module(x).numpy()
        (found,) = session.run([x.numpy()]).values()
        np.testing.assert_allclose(found, expected, atol=2e-5)
        assert (found.argmax(-1) == expected.argmax(-1)).all()


def write_onnx(module, example, path, dynamo):
    logging.disable(logging.WARNING)
    try:
        if dynamo:
            shapes = ({0: torch.export.Dim("batch", min=1, max=64)},)
            torch.onnx.export(module, (example,), str(path), dynamo=True, dynamic_shapes=shapes, verbose=False, external_data=False)
        else:
            torch.onnx.export(
                module,
                (example,),
                str(path),
                dynamo=False,
                input_names=["x"],
                output_names=["y"],
                dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}},
            )
    finally:
        logging.disable(logging.NOTSET)
