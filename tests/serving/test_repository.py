# SPDX-License-Identifier: Apache-2.0
"""Which model files a path stands for, and which paths are refused."""

from pathlib import Path

import onnx
import pytest
import serving_models
from onnx import TensorProto, helper

import penlight_serving
from penlight_serving.repository import find_models


def _touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def _found(*paths: Path) -> list[tuple[str, str]]:
    return [(model.name, model.version) for model in find_models(paths)]


def test_a_file_a_folder_of_files_and_a_folder_of_versions(tmp_path: Path) -> None:
    _touch(tmp_path / "a.onnx", tmp_path / "b.pen", tmp_path / "notes.txt", tmp_path / ".hidden.onnx", tmp_path / "empty" / "x")
    _touch(*[tmp_path / "c" / version / "model.pen" for version in ("2", "10", "011", "v3")])
    _touch(tmp_path / "c" / "30" / "other.pen")
    assert _found(tmp_path / "a.onnx") == [("a", "1")]
    assert _found(tmp_path) == [("a", "1"), ("b", "1"), ("c", "10")]
    assert _found(tmp_path / "c") == [("c", "10")]
    assert _found(tmp_path / "c", tmp_path / "b.pen") == [("b", "1"), ("c", "10")]


@pytest.mark.parametrize(
    ("files", "asked", "code", "words"),
    [
        ([], ["absent.onnx"], "PL-E4603", "no such file or folder"),
        (["a.pt"], ["a.pt"], "PL-E4603", "expected a .onnx or .pen file"),
        (["a.txt"], ["."], "PL-E4604", "holds no model"),
        ([], [], "PL-E4604", "no model to serve"),
        (["a.onnx", "sub/a.onnx"], ["a.onnx", "sub/a.onnx"], "PL-E4604", "two models are called 'a'"),
        (["a.onnx", "a.pen"], ["."], "PL-E4604", "two models are called 'a'"),
        (["m/1/model.onnx", "m/1/model.pen"], ["."], "PL-E4604", "holds both"),
        (["a b.onnx"], ["."], "PL-E4604", "no model name"),
        (["\u00fc.onnx"], ["."], "PL-E4604", "no model name"),
        (["a" * 129 + ".onnx"], ["."], "PL-E4604", "no model name"),
    ],
)
def test_paths_that_are_refused(tmp_path: Path, files: list[str], asked: list[str], code: str, words: str) -> None:
    _touch(*[tmp_path / name for name in files])
    with pytest.raises(penlight_serving.ServingError, match=words) as caught:
        find_models([tmp_path / name for name in asked])
    assert (caught.value.code, caught.value.exit_code) == (code, 3)


def test_files_that_are_no_models_keep_the_server_from_starting(tmp_path: Path) -> None:
    good = serving_models.mixer(tmp_path / "good.onnx").read_bytes()
    contents = {
        "empty.onnx": b"",
        "text.onnx": b"hello",
        "cut.onnx": good[: len(good) // 2],
        "empty.pen": b"",
        "text.pen": b"hello",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(penlight_serving.ServingError, match=name) as caught, penlight_serving.running_server(tmp_path / name):
            pass
        assert (caught.value.code, caught.value.exit_code) == ("PL-E4603", 3)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_an_input_that_is_no_tensor_is_refused(tmp_path: Path) -> None:
    sequence = helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, None)
    node = helper.make_node("SequenceLength", ["x"], ["n"])
    graph = helper.make_graph([node], "g", [sequence], [helper.make_tensor_value_info("n", TensorProto.INT64, [])])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), tmp_path / "g.onnx")
    with pytest.raises(penlight_serving.ServingError, match="expected a tensor") as caught:
        penlight_serving.load_models(tmp_path / "g.onnx")
    assert caught.value.code == "PL-E4603"


def test_every_error_has_a_code_of_its_own_and_an_explanation() -> None:
    classes = list(penlight_serving.error_classes())
    codes = [found.code for found in classes]
    assert len(set(codes)) == len(codes) > 15
    for found in classes:
        assert found.__doc__ and found.code.startswith("PL-E4") and found.exit_code in range(1, 6)
        assert found.status in (400, 404, 405, 408, 413, 415, 431, 500, 503)
