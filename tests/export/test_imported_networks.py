# SPDX-License-Identifier: Apache-2.0
"""Published networks as modules: onnxruntime's answers at other sizes, and a gradient for every parameter."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_text import run_onnx

import penlight as pl
import penlight_export
from penlight_export.imported import import_module

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
FAST = ("lstm", "resnet50", "whisper_encoder")
NARROW = {"vit_tiny": {"width": 48, "depth": 2}}


def check(path, case, options):
    module, proto = import_module(path), onnx.load(path)
    for sizes in case.sizes:
        arrays = [array.numpy() for array in case.data(sizes, **options).values()]
        expected = run_onnx(proto, dict(zip(module.input_names, arrays, strict=True)))
        results = module(*map(pl.tensor, arrays))
        results = results if isinstance(results, tuple) else (results,)
        for found, array in zip(results, expected.values(), strict=True):
            np.testing.assert_allclose(found.detach().numpy(), array, rtol=1e-3, atol=1e-3 * np.abs(array).max(initial=0))
    sum((each * each).sum() for each in results if each.requires_grad).backward()
    assert [name for name, parameter in module.named_parameters() if parameter.grad is None] == []
    return module


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in FAST else pytest.mark.slow)
        for name in (
            *FAST,
            "mobilenet_v3",
            "vit_tiny",
            "yolo",
            "unet",
            "bert",
            "gpt2",
            "whisper_decoder",
        )
    ],
)
def test_network(name, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    from imported_models import CASES, write_model  # here: it needs torch

    case = CASES[name]
    options = NARROW.get(name, case.narrow)
    write_model(case, tmp_path / "model.onnx", **options)
    module = check(tmp_path / "model.onnx", case, options)
    if name == "whisper_encoder":
        inputs = tuple(pl.tensor(array.numpy()) for array in case.data(case.sizes[0], **options).values())
        assert penlight_export.export(module, inputs, dynamic=case.dynamic).report.ok


@pytest.mark.parametrize("name", ["light_squeezenet", pytest.param("light_shufflenet", marks=pytest.mark.slow)])
def test_light(name):
    module, proto = import_module(DATA / f"{name}.onnx"), onnx.load(DATA / f"{name}.onnx")
    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224), np.float32)
    (expected,) = run_onnx(proto, {module.input_names[0]: x}).values()
    (found,) = [module(pl.tensor(x))]
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-3, atol=1e-4)
