# SPDX-License-Identifier: Apache-2.0
"""The choice of passes on the command line, and what a terminal sees of long work."""

import contextlib

import pytest
from cli_runner import in_process
from onnx import TensorProto, helper, save


@pytest.fixture
def source(tmp_path):
    """y = relu(2 * x)."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ("batch", 4)) for name in "xy")
    nodes = [helper.make_node("Mul", ["x", "scale"], ["m"]), helper.make_node("Relu", ["m"], ["y"])]
    constant = helper.make_tensor("scale", TensorProto.FLOAT, [], [2.0])
    graph = helper.make_graph(nodes, "test", [x], [y], [constant])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_convert_with_chosen_passes(capsys, source, tmp_path):
    assert in_process(capsys, "convert", source, tmp_path / "a.pen", "--no-opt", "--json").code == 0
    assert in_process(capsys, "convert", source, tmp_path / "b.pen", "--passes", "no-attention,no-recognise").code == 0
    in_process(capsys, "convert", source, "--passes", "magic").failed_cleanly(2, "there is none of this name")
    in_process(capsys, "convert", source, "--passes", "none", "--no-opt").failed_cleanly(2, "expected one of them")
    in_process(capsys, "convert").failed_cleanly(2, "expected the file to convert")


@pytest.mark.parametrize("verb", ["convert", "export"])
def test_passes_are_listed(capsys, verb):
    listed = in_process(capsys, verb, "--passes", "list", "--json").json["passes"]
    assert {"dead-code", "attention", "merge-products"} <= {entry["name"] for entry in listed}
    assert next(entry for entry in listed if entry["name"] == "linear-fusion")["formats"] == ".pen"


def test_a_terminal_sees_the_stages(monkeypatch):
    from penlight_cli import exporting
    from penlight_export.stages import stage

    seen = []

    class Bar:
        def advance(self, steps, note):
            seen.append((steps, note))

    @contextlib.contextmanager
    def shown(total, title):
        seen.append((total, title))
        yield Bar()

    monkeypatch.setattr(exporting.settings, "json", False)
    monkeypatch.setattr(exporting, "is_terminal", lambda stream: True)
    monkeypatch.setattr(exporting, "progress", shown)
    with exporting.stage_bar("export"):
        stage("trace")
        stage("optimize")
    stage("write")
    assert seen == [(4, "export"), (0, "trace"), (1, "optimize")]


def test_a_log_gets_lines_of_long_work(monkeypatch, capsys):
    from penlight_cli import exporting
    from penlight_export.stages import stage

    clock = iter([10.0, 10.1, 13.0, 75.0])
    monkeypatch.setattr(exporting.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(exporting.settings, "json", False)
    monkeypatch.setattr(exporting, "is_terminal", lambda stream: False)
    with exporting.stage_bar("export"):
        for name in ("trace", "optimize", "write"):
            stage(name)
    assert capsys.readouterr().err == "export: optimize (after 3 s)\nexport: write (after 65 s)\n"


def test_json_is_silent_about_stages(monkeypatch, capsys):
    from penlight_cli import exporting
    from penlight_export.stages import stage

    monkeypatch.setattr(exporting, "_LONG_SECONDS", 0)
    monkeypatch.setattr(exporting.settings, "json", True)
    for terminal in (True, False):
        monkeypatch.setattr(exporting, "is_terminal", lambda stream, terminal=terminal: terminal)
        with exporting.stage_bar("export"):
            stage("trace")
    assert capsys.readouterr() == ("", "")
