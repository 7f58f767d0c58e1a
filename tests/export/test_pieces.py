# SPDX-License-Identifier: Apache-2.0
"""Files are written from the weights where they lie: the same bytes as protobuf's own, no second copy, no other weights."""

import json
import os
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx_text import model_from_text

import penlight as pl
import penlight.nn as nn
from penlight_export import export, load_onnx
from penlight_export.errors import ChangedWeightsError, InvalidModelError
from penlight_export.graph import clone, from_proto, to_proto
from penlight_export.onnx import mapped
from penlight_export.onnx.message import OnnxMessage, onnx_pieces
from penlight_export.pieces import Pieces

SIMPLE = sorted((Path(onnx.__file__).parent / "backend" / "test" / "data").glob("simple/*/model.onnx"))
LIGHT = sorted((Path(onnx.__file__).parent / "backend" / "test" / "data" / "light").glob("*.onnx"))
WEIGHT_BYTES = 100 << 20


@pytest.mark.parametrize("path", [*SIMPLE, *LIGHT], ids=lambda path: path.stem if path.stem != "model" else path.parent.name)
def test_the_bytes_are_those_of_protobuf(path):
    model = from_proto(onnx.load(path))
    assert onnx_pieces(model).join() == to_proto(clone(model)).SerializeToString(deterministic=True)
    onnx.checker.check_model(OnnxMessage(model).outline())


@pytest.mark.parametrize("path", [*SIMPLE, *LIGHT], ids=lambda path: path.stem if path.stem != "model" else path.parent.name)
def test_mapped_files_are_the_same_models(path, monkeypatch):
    plain = load_onnx(path)
    monkeypatch.setattr(mapped, "LARGEST_IN_MEMORY", 0)
    assert to_proto(load_onnx(path)) == to_proto(plain)


def test_mapped_files_are_checked(tmp_path, monkeypatch):
    """The weights' sizes, and cut files at any place: the same errors as without the map."""
    monkeypatch.setattr(mapped, "LARGEST_IN_MEMORY", 0)
    weight = np.ones((32, 32), np.float32)
    proto = model_from_text("g (float[N,32] x) => (float[N,32] y) { y = MatMul(x, w) }", weights={"w": weight})
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    found = mapped.map_onnx(path)
    assert found is not None and list(found.weights) == ["w"] and len(found.outline) < 300
    np.testing.assert_array_equal(load_onnx(path).graph.initializers["w"].const_value.numpy(), weight)
    for cut in (10, 200, 3000, path.stat().st_size - 1):
        (tmp_path / "cut.onnx").write_bytes(path.read_bytes()[:cut])
        with pytest.raises(InvalidModelError, match=r"truncated|no graph"):
            load_onnx(tmp_path / "cut.onnx")
    proto.graph.initializer[0].dims[0] = 31
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(InvalidModelError, match="not as many elements"):
        load_onnx(path)


def test_blocks_of_arrays():
    turned = np.arange(3 << 20, dtype=np.float32).reshape(3, 1 << 20).T  # 12 MB, columns first
    pieces = Pieces([b"ab", b"c", turned, np.ones((), ml_dtypes.bfloat16), np.zeros((0, 3), np.float32)])
    assert pieces.size_bytes == 3 + turned.nbytes + 2
    assert pieces.join() == b"abc" + turned.tobytes() + b"\x80\x3f"
    assert max(len(block) for block in pieces) <= 1 << 22


def test_weights_that_changed_after_the_export_are_not_written(tmp_path):
    model = nn.Linear(64, 64)
    exported = export(model, (pl.zeros(2, 64),), verify=False)
    files = [exported.save(tmp_path / name) for name in ("m.onnx", "m.pen")]
    before = [path.read_bytes() for path in files]
    with pl.no_grad():
        model.weight.mul_(2.0)
    for path in files:
        with pytest.raises(ChangedWeightsError, match="export it again"):
            exported.save(path)
    assert [path.read_bytes() for path in files] == before
    with pytest.raises(ChangedWeightsError):
        _ = exported.program


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc")
def test_peak_memory_of_an_export():
    """Weights of 100 MB: the export and both saves hold them once, as the module does."""
    benchmark = Path(__file__).parents[1] / "benchmarks" / "export_memory.py"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, os.fspath(benchmark), "--one", "export", str(WEIGHT_BYTES)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["weight_bytes"] >= WEIGHT_BYTES
    assert result["peak_bytes"] <= 1.1 * result["weight_bytes"] + (12 << 20)  # the fixed part: arenas, tables, one block
