# SPDX-License-Identifier: Apache-2.0
"""Weights beside the .onnx file: above a limit or when asked for, streamed, and swapped together with the model."""

import os

import numpy as np
import onnx
import onnxruntime
import pytest

import penlight as pl
import penlight.nn as nn
from penlight_export import export, load_onnx
from penlight_export.graph import Tensor
from penlight_export.onnx import weights as external
from penlight_export.onnx.message import OnnxMessage


def network(seed=0):
    pl.manual_seed(seed)
    return nn.Sequential(nn.Linear(24, 40), nn.ReLU(), nn.Linear(40, 24)).eval()


X = pl.from_numpy(np.random.default_rng(3).standard_normal((2, 24)).astype(np.float32))


def exported(seed=0, **options):
    return export(network(seed), X, dynamic={"input": {0: "n"}}, names=["input"], **options)


def outputs(path):
    return onnxruntime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"]).run(None, {"input": X.numpy()})[0]


def test_weights_go_into_a_second_file(tmp_path):
    path = exported(external_data=True).save(tmp_path / "model.onnx")
    (data,) = tmp_path.glob("*.data")
    assert path.stat().st_size < 2500
    assert data.stat().st_size >= 2 * 24 * 40 * 4
    with pl.no_grad():
        np.testing.assert_allclose(outputs(path), network()(X).numpy(), rtol=1e-5, atol=1e-5)
    tensors = {t.name: t for t in onnx.load(path, load_external_data=False).graph.initializer}
    entries = {e.key: e.value for e in tensors["0.weight"].external_data}
    assert entries["location"] == data.name
    assert int(entries["offset"]) % 4096 == 0
    assert load_onnx(path).graph.num_nodes() == len(onnx.load(path).graph.node)


def test_the_limit_decides_by_itself(tmp_path, monkeypatch):
    assert exported().weights is None
    monkeypatch.setattr(external, "LARGEST_INLINE_BYTES", 4096)
    assert exported().weights is not None
    assert exported(external_data=False).weights is None


def test_the_same_model_gives_the_same_files(tmp_path):
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        exported(external_data=True).save(tmp_path / name / "model.onnx")
        contents.append({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()})
    assert contents[0] == contents[1]


def test_old_weights_go_when_the_new_model_is_there(tmp_path):
    path = exported(0, external_data=True).save(tmp_path / "model.onnx")
    other = tmp_path / "model.onnx.backup.data"
    other.write_bytes(b"mine")
    (old,) = tmp_path.glob("model.onnx.????????.data")
    exported(1, external_data=True).save(path)
    (new,) = tmp_path.glob("model.onnx.????????.data")
    assert new.name != old.name
    assert not old.exists()
    assert other.read_bytes() == b"mine"
    with pl.no_grad():
        np.testing.assert_allclose(outputs(path), network(1)(X).numpy(), rtol=1e-5, atol=1e-5)


def test_a_failed_save_keeps_the_old_model(tmp_path, monkeypatch):
    path = exported(0, external_data=True).save(tmp_path / "model.onnx")
    before = outputs(path)
    following = exported(1, external_data=True)
    real = external.atomic_write

    def failing(target, data):
        if str(target).endswith(".onnx"):
            raise OSError("no space")
        return real(target, data)

    monkeypatch.setattr(external, "atomic_write", failing)
    with pytest.raises(OSError, match="no space"):
        following.save(path)
    np.testing.assert_array_equal(outputs(path), before)


def test_two_gigabytes_are_streamed(tmp_path):
    """A weight that is zeros in virtual memory alone goes through as one view, and the model without it stays small."""
    model = external_model(count=640 << 20)
    beside = external.ExternalWeights(model)
    onnx.checker.check_model(OnnxMessage(model).outline())
    assert len(beside.proto.SerializeToString()) < 2000
    pieces = [len(piece) for piece in beside._pieces()]
    assert sum(pieces) == 4 * (640 << 20)
    assert max(pieces) == 4 * (640 << 20)  # one view of the array, no copy


def external_model(count):
    from onnx_text import model_from_text

    from penlight_export.graph import from_proto

    proto = model_from_text("g (float[1] x) => (float[N] y) { y = Add(x, w) }", weights={"w": np.zeros(512, np.float32)})
    model = from_proto(proto)
    value = model.graph.initializers["w"]
    value.const_value = Tensor(np.zeros(count, np.float32), name="w")
    value.shape = None
    return model
