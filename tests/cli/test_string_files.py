# SPDX-License-Identifier: Apache-2.0
"""Models with strings on the command line: convert, inspect, run, verify, bench."""

import json

import numpy as np
import pytest
from cli_runner import in_process
from onnx_text import model_from_text


def succeeded(capsys, *arguments):
    outcome = in_process(capsys, *arguments)
    assert outcome.code == 0, outcome.err
    return outcome


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("strings")
    body = "y = StringConcat(x, bang)\n e = Equal(x, word)"
    weights = {"bang": np.array(["!"], object), "word": np.array(["été"], object)}
    proto = model_from_text(f"g (string[N] x) => (string[N] y, bool[N] e) {{ {body} }}", 20, weights)
    (folder / "model.onnx").write_bytes(proto.SerializeToString())
    np.save(folder / "x.npy", np.array(["a", "été"]))
    np.save(folder / "utf8.npy", np.char.encode(np.array(["a", "été"]), "utf-8"))
    return folder


def test_convert_inspect_and_verify(folder, capsys):
    pen = folder / "model.pen"
    succeeded(capsys, "convert", folder / "model.onnx", pen, "--max-string-bytes", "10")
    assert "string (at most 10 bytes) [N]" in succeeded(capsys, "inspect", pen).out
    facts = in_process(capsys, "inspect", pen, "--json").json
    assert [port["dtype"] for port in facts["outputs"]] == ["string (at most 11 bytes)", "bool"]
    assert [port["dtype"] for port in in_process(capsys, "inspect", folder / "model.onnx", "--json").json["inputs"]] == ["string"]
    succeeded(capsys, "verify", folder / "model.onnx", pen)


@pytest.mark.parametrize("model", ["model.onnx", "model.pen"])
@pytest.mark.parametrize("x", ["x.npy", "utf8.npy"])
def test_run(model, x, folder, capsys):
    succeeded(capsys, "convert", folder / "model.onnx", folder / "model.pen")
    answer = in_process(capsys, "run", folder / model, folder / x, "--json").json
    assert answer["outputs"]["y"] == {"dtype": "string", "shape": [2], "values": ["a!", "été!"]}
    assert "'été!'" in succeeded(capsys, "run", folder / model, folder / x).out
    for suffix in (".npz", ".json"):
        succeeded(capsys, "run", folder / model, folder / x, "-o", folder / f"y{suffix}")
    assert json.loads((folder / "y.json").read_text())["y"] == ["a!", "été!"]
    with np.load(folder / "y.npz") as archive:
        assert archive["y"].tolist() == ["a!", "été!"] and archive["e"].tolist() == [False, True]


def test_what_does_not_fit(folder, capsys):
    succeeded(capsys, "convert", folder / "model.onnx", folder / "short.pen", "--max-string-bytes", "2")
    in_process(capsys, "run", folder / "short.pen", folder / "x.npy").failed_cleanly(3, "at most 2", "max_string_bytes=5")
    np.save(folder / "numbers.npy", np.ones(2, np.float32))
    in_process(capsys, "run", folder / "short.pen", folder / "numbers.npy").failed_cleanly(3, "expected string[N]", "float32")
    np.save(folder / "latin.npy", np.array([b"\xe9"]))
    in_process(capsys, "run", folder / "short.pen", folder / "latin.npy").failed_cleanly(3, "UTF-8")
