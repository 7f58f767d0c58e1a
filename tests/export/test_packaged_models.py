# SPDX-License-Identifier: Apache-2.0
"""The whole models that the onnx package ships: `simple` ones with data, and the `light` ones of its model zoo."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_text import run_onnx

import penlight_runtime
from penlight_export.edge.foreign import foreign_program
from penlight_export.onnx.importer import load_onnx

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
SIMPLE = sorted(path.parent.name for path in (DATA / "simple").glob("*/model.onnx"))
LIGHT = sorted(path.stem for path in (DATA / "light").glob("*.onnx"))


def program_of(path):
    return foreign_program(load_onnx(path), str(path)).program()


def tensors(folder, kind):
    paths = sorted(folder.glob(f"{kind}_*.pb"), key=lambda path: int(path.stem.split("_")[1]))
    return [onnx.numpy_helper.to_array(onnx.load_tensor(path)) for path in paths]


@pytest.mark.parametrize("name", SIMPLE)
def test_simple(name):
    path = DATA / "simple" / name / "model.onnx"
    session = program_of(path).session()
    folders = sorted(path.parent.glob("test_data_set_*"))
    assert folders
    for folder in folders:
        found = session.run(tensors(folder, "input")).values()
        for array, expected in zip(found, tensors(folder, "output"), strict=True):
            assert array.shape == expected.shape
            if expected.dtype.kind == "O":
                assert array.tolist() == np.char.decode(expected.astype(bytes)).tolist()
            else:
                np.testing.assert_allclose(array, expected, rtol=1e-5, atol=1e-6)


def test_all_are_there():
    assert len(SIMPLE) == 23
    assert len(LIGHT) == 9


def check_light(name):
    path = DATA / "light" / f"{name}.onnx"
    program = program_of(path)
    (port,) = program.inputs()
    x = np.random.default_rng(0).standard_normal(port.shape).astype(np.float32)
    expected = run_onnx(onnx.load(path), {port.name: x})
    for name, array in program.session().run([x]).items():
        assert array.shape == expected[name].shape
        np.testing.assert_allclose(array, expected[name], rtol=1e-3, atol=1e-3 * np.abs(expected[name]).max())


@pytest.mark.parametrize("name", ["light_shufflenet", "light_squeezenet"])
def test_light(name):
    check_light(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in LIGHT if name not in ("light_shufflenet", "light_squeezenet")])
def test_large_light(name):
    check_light(name)


def test_weights_that_are_inputs_as_well(tmp_path):
    """Files before IR version 4: the weights are constants, whether something reads them or not."""
    proto = onnx.load(DATA / "light" / "light_squeezenet.onnx")
    assert proto.ir_version < 4 and len(proto.graph.input) > 1
    unread = onnx.numpy_helper.from_array(np.ones((1, 1), np.float32), "unread")
    proto.graph.initializer.append(unread)
    proto.graph.input.append(onnx.helper.make_tensor_value_info("unread", onnx.TensorProto.FLOAT, [1, 1]))
    path = tmp_path / "model.onnx"
    onnx.save(proto, path)
    assert len(penlight_runtime.Program(b"".join(foreign_program(load_onnx(path), "x").pieces())).inputs()) == 1
