# SPDX-License-Identifier: Apache-2.0
"""Files are written from the weights where they lie: the same bytes as protobuf's own, no second copy, no other weights."""

import json
import mmap
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx_text import model_from_text

import penlight as pl
import penlight.nn as nn
from penlight.errors import SaveError
from penlight_export import engines, export, load_onnx
from penlight_export.edge.lower import lower_program
from penlight_export.edge.segments import SegmentBuilder
from penlight_export.engines import LargeOnnxEngine, OnnxEngine
from penlight_export.errors import ChangedWeightsError, EngineError, InvalidModelError
from penlight_export.graph import clone, from_proto, to_proto
from penlight_export.onnx import mapped
from penlight_export.onnx.beside import copy_with_weights_beside
from penlight_export.onnx.message import OnnxMessage, onnx_pieces
from penlight_export.pieces import Pieces, blocks_of
from penlight_export.residence import mapping_of, release

SIMPLE = sorted((Path(onnx.__file__).parent / "backend" / "test" / "data").glob("simple/*/model.onnx"))
LIGHT = sorted((Path(onnx.__file__).parent / "backend" / "test" / "data" / "light").glob("*.onnx"))
WEIGHT_BYTES = 64 << 20
SLOW = [pytest.param("verify", 2.1, marks=pytest.mark.slow), pytest.param("convert", 1.1, marks=pytest.mark.slow)]


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


ATTRIBUTES = """g (float[N] x) => (float[N] a, float[N] b, float[N] c, float[N] d, int64[K] e, int64[K] f) {
    a = LeakyRelu <alpha = 0.0> (x)
    b = LeakyRelu <alpha = -0.0> (x)
    c = LeakyRelu <alpha = -0.0> (x)
    d = LeakyRelu <alpha = 1.0> (x)
    e = Constant <value_ints = [1, 0]> ()
    f = Constant <value_ints = [1, 1]> ()
}"""


def test_equal_attributes_are_encoded_once_and_others_apart():
    """0.0 is not -0.0, which the same number would stand for in a table."""
    model = from_proto(model_from_text(ATTRIBUTES))
    message = OnnxMessage(model)
    assert len(message.attributes) == 5
    assert message.pieces().join() == to_proto(clone(model)).SerializeToString(deterministic=True)
    program = lower_program({"forward": model}, SegmentBuilder(), {})
    alphas = [node.attributes[0].real for node in program.methods[0].nodes[:4]]
    assert [str(alpha) for alpha in alphas] == ["0.0", "-0.0", "-0.0", "1.0"]
    assert program.methods[0].nodes[1].attributes[0] is program.methods[0].nodes[2].attributes[0]
    assert [node.attributes[0].integers for node in program.methods[0].nodes[4:]] == [[1, 0], [1, 1]]


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
@pytest.mark.parametrize(("way", "copies"), [("export", 1.1), ("convert-verify", 1.1), *SLOW])
def test_peak_memory(way, copies):
    """Weights of 64 MB are in memory once; while an export is verified, for the engine that runs as well as for the module."""
    benchmark = Path(__file__).parents[1] / "benchmarks" / "export_memory.py"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, os.fspath(benchmark), "--one", way, str(WEIGHT_BYTES)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["weight_bytes"] >= WEIGHT_BYTES
    assert result["peak_bytes"] <= copies * result["weight_bytes"] + (12 << 20)  # the fixed part: arenas, tables, one block


def test_mapped_arrays_give_their_pages_back(tmp_path):
    """In blocks, which the file gives again; a map that can be written is left alone, and so are other arrays."""
    path = tmp_path / "weights"
    content = np.random.default_rng(0).integers(0, 256, 9 << 20, np.uint8)
    path.write_bytes(content.tobytes())
    with path.open("rb") as file:
        read_only = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.float32, 2 << 20, 12)
        copied = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY), np.uint8)
    copied[:3] = 7
    copied.flags.writeable = False
    mapping = mapping_of(read_only[5:])
    assert mapping is not None and mapping_of(copied) is None and mapping_of(content) is None
    blocks = [bytes(block) for block in blocks_of(read_only.reshape(2, -1))]
    assert b"".join(blocks) == content[12 : 12 + (8 << 20)].tobytes() and len(blocks) == 2
    for turned in (read_only.reshape(2, -1).T, read_only.reshape(-1, 1024)[:, 3:500], read_only[::-1]):
        assert b"".join(bytes(block) for block in blocks_of(turned)) == turned.tobytes()
    release(read_only[-1:], mapping)
    assert read_only.tobytes() == b"".join(blocks)
    assert len(list(blocks_of(copied))) == 1 and bytes(copied[:3]) == b"\7\7\7"


def test_a_large_file_runs_with_its_weights_beside_it(tmp_path, monkeypatch):
    """onnxruntime gets the same graph; small files, and those whose weights lie outside, stay where they are."""
    weight = np.arange(32 * 32, dtype=np.float32).reshape(32, 32)
    text = "g (float[N,32] x) => (float[N,32] y) { h = MatMul(x, w)\ny = MatMul(h, v) }"
    proto = model_from_text(text, weights={"w": weight, "v": weight.T.copy()})
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    assert copy_with_weights_beside(path, tmp_path) == path
    monkeypatch.setattr(mapped, "LARGEST_IN_MEMORY", 0)
    (tmp_path / "copy").mkdir()
    copy = copy_with_weights_beside(path, tmp_path / "copy")
    loaded = onnx.load(copy)
    for tensor in loaded.graph.initializer:
        assert not tensor.external_data
        tensor.ClearField("data_location")
    assert loaded == proto
    places = [entry.value for t in onnx.load(copy, load_external_data=False).graph.initializer for entry in t.external_data]
    assert places == ["weights.data", "0", "4096", "weights.data", "4096", "4096"]
    x = {"x": np.ones((2, 32), np.float32)}
    engine = LargeOnnxEngine(str(path))
    np.testing.assert_array_equal(engine.run(x)["y"], OnnxEngine(str(path)).run(x)["y"])
    np.testing.assert_array_equal(engine.run(x)["y"], OnnxEngine(str(copy)).run(x)["y"])
    assert copy_with_weights_beside(copy, tmp_path / "copy") == copy


def test_a_refused_large_file_leaves_no_copy(tmp_path, monkeypatch):
    """Even while the exception lives. A quantized file can be opened once more, without the optimizer."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(mapped, "LARGEST_IN_MEMORY", 0)
    given = {"w": np.ones((32, 32), np.int8), "s": np.float32(0.5), "v": np.ones((32, 32), np.float32)}
    body = "d = DequantizeLinear(w, s) h = MatMul(x, d) y = MatMul(h, v) }"
    proto = model_from_text(f"g (float[N,32] x) => (float[N,32] y) {{ {body}", weights=given)
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    engine = LargeOnnxEngine(str(path)).as_written()
    assert isinstance(engine, LargeOnnxEngine) and engine.label == "onnxruntime, not optimized"
    np.testing.assert_array_equal(engine.run({"x": np.ones((1, 32), np.float32)})["y"], np.full((1, 32), 512, np.float32))
    del engine
    proto.graph.node[1].op_type = "NoSuchOperator"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(EngineError, match="NoSuchOperator"):
        try:
            LargeOnnxEngine(str(path))
        finally:
            assert os.listdir(tmp_path) == ["m.onnx"]


@pytest.fixture
def large_file(tmp_path, monkeypatch):
    """A file that counts as large, and the system's folder for temporary files."""
    monkeypatch.setattr(mapped, "LARGEST_IN_MEMORY", 0)
    (tmp_path / "system").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "system"))
    proto = model_from_text(
        "g (float[N,32] x) => (float[N,32] y) { y = MatMul(x, w) }", weights={"w": np.eye(32, dtype=np.float32)}
    )
    (tmp_path / "models").mkdir()
    path = tmp_path / "models" / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def folders_of(path):
    return {
        place: [each.name[:10] for each in (path.parents[1] / place).iterdir() if each.is_dir()] for place in ("models", "system")
    }


def test_the_copy_of_a_large_file_lies_beside_it(large_file, monkeypatch):
    """Temporary folders may be memory. One that cannot be written gives way to the system's."""
    x = {"x": np.ones((1, 32), np.float32)}
    engine = LargeOnnxEngine(str(large_file))
    assert folders_of(large_file) == {"models": [".penlight-"], "system": []}
    np.testing.assert_array_equal(engine.run(x)["y"], x["x"])
    del engine
    make = tempfile.mkdtemp

    def refuse(prefix, dir):
        if Path(dir) == large_file.parent:
            raise PermissionError(13, "Permission denied")
        return make(prefix=prefix, dir=dir)

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    engine = LargeOnnxEngine(str(large_file))
    assert folders_of(large_file) == {"models": [], "system": [".penlight-"]}
    np.testing.assert_array_equal(engine.run(x)["y"], x["x"])
    del engine
    assert folders_of(large_file) == {"models": [], "system": []}


def test_full_disks_are_explained(large_file, monkeypatch):
    def full(path, folder):
        (folder / "weights.data").write_bytes(b"some")
        raise SaveError("the disk is full")

    monkeypatch.setattr(engines, "copy_with_weights_beside", full)
    with pytest.raises(EngineError, match=r"a copy of .*models: the disk is full; .*system: the disk is full\); free some"):
        LargeOnnxEngine(str(large_file))
    assert folders_of(large_file) == {"models": [], "system": []}
    monkeypatch.setattr(engines, "copy_with_weights_beside", lambda path, folder: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        LargeOnnxEngine(str(large_file))
    assert folders_of(large_file) == {"models": [], "system": []}
