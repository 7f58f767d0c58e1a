# SPDX-License-Identifier: Apache-2.0
"""inspect, run, export, convert, verify, bench, package and serve, on a trained model and on foreign files."""

import importlib.util
import json
import re
import signal
import socket
import subprocess
import sys
import types
import urllib.request
from pathlib import Path

import numpy as np
import onnx
import pytest
from cli_runner import command_line, in_process
from onnx import TensorProto, helper
from PIL import Image

import penlight_export
from penlight.data import load_digits


def write_onnx(path, nodes, shape=("batch", 4), initializers=(), domain=""):
    """A model with the input x and the output y, both float32."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "test", [x], [y], initializers)
    imports = [helper.make_opsetid("", 21), *([helper.make_opsetid(domain, 1)] if domain else [])]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=10), path)
    return path


def scaled_relu(path, scale=2.0):
    """y = relu(scale * x)."""
    constant = helper.make_tensor("scale", TensorProto.FLOAT, [], [scale])
    nodes = [helper.make_node("Mul", ["x", "scale"], ["m"], name="scaling"), helper.make_node("Relu", ["m"], ["y"], name="relu")]
    return write_onnx(path, nodes, initializers=[constant])


# inspect


@pytest.mark.parametrize("name", ["model.onnx", "model.pen"])
def test_inspect_shows_what_is_inside(trained, capsys, name):
    facts = in_process(capsys, "inspect", trained[0] / name, "--json").json
    assert facts["schema"] == "penlight.inspect/1" and facts["format"] == name.split(".")[1]
    assert facts["inputs"] == [{"name": "x", "dtype": "float32", "shape": ["batch", 1, 8, 8]}]
    assert facts["outputs"][0]["name"] == "logits" and facts["parameters"] > 10_000
    assert sum(facts["operators"].values()) > 3 and facts["tree"]
    text = in_process(capsys, "inspect", trained[0] / name).out
    assert "parameters" in text and "features" in text
    assert len(in_process(capsys, "inspect", trained[0] / name, "--no-tree").out) < len(text)


def test_inspect_states_the_cost_of_an_edge_program(trained, capsys):
    facts = in_process(capsys, "inspect", trained[0] / "model.pen", "--json").json
    assert facts["macs"] > 10_000 and facts["arena_bytes"] > 1000


def test_inspect_writes_a_page(trained, capsys, tmp_path):
    for name, extra in (("model.onnx", []), ("model.pen", ["--measure"])):
        page = tmp_path / f"{name}.html"
        outcome = in_process(capsys, "inspect", trained[0] / name, "--html", page, *extra, "--json")
        assert outcome.code == 0, outcome.err
        assert outcome.json["written"]["size_bytes"] == page.stat().st_size
        text = page.read_text(encoding="utf-8")
        assert text.startswith("<!DOCTYPE html>") and f"<title>{name} - Penlight</title>" in text
        assert ('"ns":null' in text) == (not extra)


def test_inspect_shows_the_times_of_bench(trained, capsys, tmp_path):
    model, times = trained[0] / "model.pen", tmp_path / "times.json"
    said = in_process(capsys, "bench", model, "--rounds", 2, "--calls", 2, "--profile", times, "--json")
    assert said.code == 0 and said.json["written"]["path"] == str(times), said.err
    assert json.loads(times.read_text())["engine"] == "edge"
    assert in_process(capsys, "inspect", model, "--html", tmp_path / "m.html", "--profile", times).code == 0
    assert '"ns":null' not in (tmp_path / "m.html").read_text(encoding="utf-8")
    in_process(capsys, "inspect", model, "--html", tmp_path / "m.html", "--profile", model).failed_cleanly(2, "bench --profile")
    in_process(capsys, "inspect", model, "--measure").failed_cleanly(2, "--html")
    in_process(capsys, "inspect", model, "--html", tmp_path / "m.pdf").failed_cleanly(2, ".html")
    in_process(capsys, "bench", trained[0], "--profile", times).failed_cleanly(2, "--profile")


# view


def test_view_writes_what_netron_reads(trained, capsys, tmp_path):
    for suffix in ("onnx", "pen"):
        path = tmp_path / f"{suffix}.netron"
        assert in_process(capsys, "view", trained[0] / f"model.{suffix}", "-o", path).code == 0
        text = path.read_text(encoding="ascii")
        assert text.startswith('{"signature":"netron:penlight",')
        facts = json.loads(text)
        # Netron 9.3 refuses other names of formats.
        assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9-.]*( [a-zA-Z][a-zA-Z0-9-.]*)*", facts["format"])
        (module,) = facts["modules"]
        named = in_process(capsys, "inspect", trained[0] / f"model.{suffix}", "--json").json["operators"]
        assert len(module["nodes"]) == sum(named.values())
        used = {index for node in module["nodes"] for side in ("inputs", "outputs") for a in node[side] for index in a["value"]}
        assert max(used) < len(module["values"]) and any("initializer" in value for value in module["values"])
        assert module["inputs"][0]["name"] == "x" and module["outputs"][0]["name"] == "logits"


def test_view_starts_netron_or_says_how_to_install_it(trained, capsys, tmp_path, monkeypatch):
    model = trained[0] / "model.pen"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    in_process(capsys, "view", model).failed_cleanly(4, "pip install netron")
    in_process(capsys, "view", model, "-o", tmp_path / "m.json").failed_cleanly(2, ".netron")
    monkeypatch.undo()
    started = []
    fake = types.ModuleType("netron")
    fake.start = lambda path: (started.append(json.loads(Path(path).read_bytes())), ("localhost", 8080))[1]
    fake.wait = lambda: None
    fake.__spec__ = importlib.util.spec_from_loader("netron", None)
    monkeypatch.setitem(sys.modules, "netron", fake)
    outcome = in_process(capsys, "view", model, "--json")
    assert outcome.code == 0 and outcome.json["address"] == "http://localhost:8080", outcome.err
    assert started[0]["signature"] == "netron:penlight"


# run


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Five test images as a .npy file."""
    path = tmp_path_factory.mktemp("digits") / "five.npy"
    np.save(path, load_digits().test_images[:5])
    return path


def test_run_gives_the_same_on_every_engine(trained, digits, capsys, tmp_path):
    folder = trained[0]
    found = {}
    for model in (folder, folder / "model.onnx", folder / "model.pen"):
        outcome = in_process(capsys, "run", model, digits, "-o", tmp_path / "out.npz", "--json")
        assert outcome.code == 0, outcome.err
        said = outcome.json
        with np.load(tmp_path / "out.npz") as archive:
            found[said["engine"]] = archive["logits"]
        assert said["outputs"]["logits"]["shape"] == [5, 10]
        np.testing.assert_allclose(said["outputs"]["logits"]["values"], found[said["engine"]], rtol=1e-6)
        assert said["outputs"]["logits"]["argmax"] == found[said["engine"]].argmax(1).tolist()
        assert said["written"]["size_bytes"] == (tmp_path / "out.npz").stat().st_size
    assert sorted(found) == ["eager", "edge", "onnxruntime"]
    for values in found.values():
        np.testing.assert_allclose(values, found["eager"], atol=1e-4)


def test_run_reads_a_picture(trained, capsys, tmp_path):
    image = load_digits().test_images[3, 0]
    Image.fromarray(np.round(image * 255).astype(np.uint8)).save(tmp_path / "digit.png")
    said = in_process(capsys, "run", trained[0] / "model.pen", tmp_path / "digit.png", "--json").json
    assert said["outputs"]["logits"]["argmax"] == [int(load_digits().test_labels[3])]
    text = in_process(capsys, "run", trained[0] / "model.pen", tmp_path / "digit.png")
    assert text.code == 0 and "logits" in text.out and "Top classes" in text.out


def test_run_refuses_wrong_inputs_and_writes_nothing(trained, capsys, tmp_path):
    model = trained[0] / "model.pen"
    cases = {
        "double.npy": np.zeros((1, 1, 8, 8)),
        "shape.npy": np.zeros((1, 1, 9, 8), np.float32),
        "nan.npy": np.full((1, 1, 8, 8), np.nan, np.float32),
    }
    for name, array in cases.items():
        np.save(tmp_path / name, array)
        in_process(capsys, "run", model, tmp_path / name, "-o", tmp_path / "out.npz").failed_cleanly(3, "input 'x'")
    assert not (tmp_path / "out.npz").exists()
    in_process(capsys, "run", model, tmp_path / "double.npy", "-o", tmp_path / "out.xyz").failed_cleanly(2, ".npz")
    assert in_process(capsys, "run", model, tmp_path / "double.npy", "--cast").code == 0


def test_run_reports_an_answer_that_is_not_finite(capsys, tmp_path):
    model = write_onnx(tmp_path / "log.onnx", [helper.make_node("Log", ["x"], ["y"])])
    np.save(tmp_path / "x.npy", np.array([[1.0, 0, -1, 2]], np.float32))
    in_process(capsys, "run", model, tmp_path / "x.npy").failed_cleanly(5, "output 'y'")
    assert in_process(capsys, "run", model, tmp_path / "x.npy", "--allow-nan", "--json").json["ok"]


# files that are no models


@pytest.mark.parametrize("suffix", ["onnx", "pen"])
@pytest.mark.parametrize("content", ["empty", "truncated", "foreign", "flipped"])
@pytest.mark.parametrize("verb", ["inspect", "run", "bench", "verify"])
def test_damaged_models_are_refused(trained, digits, capsys, tmp_path, verb, content, suffix):
    data = (trained[0] / f"model.{suffix}").read_bytes()
    path = tmp_path / f"bad.{suffix}"
    contents = {
        "empty": b"",
        "truncated": data[: len(data) // 2],
        "foreign": b"hello " * 99,
        "flipped": bytes(~b & 255 for b in data),
    }
    path.write_bytes(contents[content])
    arguments = {"run": [digits], "verify": [trained[0] / f"model.{suffix}"]}.get(verb, [])
    # `verify` reads both files in penlight_export, which need not know a .pen file's name.
    in_process(capsys, verb, path, *arguments).failed_cleanly(3, *([f"bad.{suffix}"] if verb != "verify" else []))


def test_foreign_suffixes_are_refused(trained, digits, capsys, tmp_path):
    (tmp_path / "model.pt").write_bytes(b"PK\x03\x04")
    for verb, arguments in {"inspect": [], "run": [digits], "bench": []}.items():
        in_process(capsys, verb, tmp_path / "model.pt", *arguments).failed_cleanly(2, ".onnx")


# export


def test_export_of_a_run_repeats_what_training_wrote(trained, capsys, tmp_path):
    for name in ("model.onnx", "model.pen"):
        outcome = in_process(capsys, "export", trained[0], "-o", tmp_path / name, "--json")
        assert outcome.code == 0 and outcome.json["report"]["ok"], outcome.err
        assert (tmp_path / name).read_bytes() == (trained[0] / name).read_bytes()
    text = in_process(capsys, "export", trained[0], "-o", tmp_path / "model.pen").out
    assert "Wrote" in text and "Next: penlight inspect" in text
    assert in_process(capsys, "export", trained[0], "-o", tmp_path / "f.onnx", "--functions", "--no-verify").code == 0
    assert b"penlight.modules" in (tmp_path / "f.onnx").read_bytes()


def test_export_refuses(trained, capsys, tmp_path):
    assert in_process(capsys, "export", trained[0], "-o", tmp_path / "half.pen", "--precision", "float16").code == 0
    assert (tmp_path / "half.pen").stat().st_size < 0.75 * (trained[0] / "model.pen").stat().st_size
    in_process(capsys, "export", trained[0], "--precision", "int3").failed_cleanly(2, "float16")
    in_process(capsys, "export", trained[0], "-o", tmp_path / "model.pt").failed_cleanly(2, ".onnx")
    in_process(capsys, "export", trained[0], "-o", tmp_path / "m.onnx", "--opset", 9).failed_cleanly(2, "17")
    in_process(capsys, "export", trained[0], "-o", tmp_path / "none" / "m.onnx").failed_cleanly(3, "none")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    in_process(capsys, "export", tmp_path / "run").failed_cleanly(3, "run.json")


# convert


def test_convert_writes_a_verified_program(capsys, tmp_path):
    source = scaled_relu(tmp_path / "m.onnx")
    outcome = in_process(capsys, "convert", source, tmp_path / "m.pen", "--json")
    assert outcome.code == 0 and outcome.json["report"]["ok"], outcome.err
    np.save(tmp_path / "x.npy", np.array([[1, -2, 3, -4]], np.float32))
    said = in_process(capsys, "run", tmp_path / "m.pen", tmp_path / "x.npy", "--json").json
    assert said["outputs"]["y"]["values"] == [[2, 0, 6, 0]]


def test_convert_without_verification_writes_a_program(capsys, tmp_path):
    outcome = in_process(capsys, "convert", scaled_relu(tmp_path / "m.onnx"), "-o", tmp_path / "b.pen", "--no-verify", "--json")
    assert outcome.code == 0 and (tmp_path / "b.pen").exists(), outcome.err


def test_convert_lists_every_missing_operator(capsys, tmp_path):
    nodes = [
        helper.make_node("FrobnicateA", ["x"], ["a"], domain="example.com", name="first"),
        helper.make_node("FrobnicateB", ["a"], ["b"], domain="example.com", name="second"),
        helper.make_node("Relu", ["b"], ["y"]),
    ]
    source = write_onnx(tmp_path / "m.onnx", nodes, domain="example.com")
    in_process(capsys, "convert", source).failed_cleanly(3)
    outcome = in_process(capsys, "convert", source, "--no-verify")
    outcome.failed_cleanly(3)
    assert not (tmp_path / "m.pen").exists()


def test_convert_to_another_suffix_is_a_usage_error(capsys, tmp_path):
    in_process(capsys, "convert", scaled_relu(tmp_path / "m.onnx"), tmp_path / "m.tflite").failed_cleanly(2, ".pen")


# verify


def test_verify_accepts_equal_models(trained, digits, capsys):
    for extra in ([], ["--data", digits]):
        outcome = in_process(capsys, "verify", trained[0] / "model.onnx", trained[0] / "model.pen", *extra, "--json")
        assert outcome.code == 0 and outcome.json["report"]["ok"], outcome.err


def test_verify_finds_a_difference(capsys, tmp_path):
    first, second = scaled_relu(tmp_path / "a.onnx"), scaled_relu(tmp_path / "b.onnx", 2.5)
    outcome = in_process(capsys, "verify", first, second, "--json")
    outcome.failed_cleanly(1, "differ")
    assert outcome.json["report"]["ok"] is False
    text = in_process(capsys, "verify", first, second)
    text.failed_cleanly(1)
    assert "scaling" in text.out or "m" in text.out


def test_verify_writes_reports(capsys, tmp_path):
    first, second = scaled_relu(tmp_path / "a.onnx"), scaled_relu(tmp_path / "b.onnx", 2.5)
    outcome = in_process(capsys, "verify", first, second, "--report", tmp_path / "r.html", "--json")
    outcome.failed_cleanly(1, "differ")
    assert outcome.json["written"]["size_bytes"] == (tmp_path / "r.html").stat().st_size
    assert b"Content-Security-Policy" in (tmp_path / "r.html").read_bytes()
    assert in_process(capsys, "verify", first, first, "--report", tmp_path / "r.json", "--engines", "reference,edge").code == 0
    facts = json.loads((tmp_path / "r.json").read_bytes())
    assert facts["ok"] and [facts["rows"][0][key] for key in ("reference", "engine")] == ["onnx reference", "edge"]
    in_process(capsys, "verify", first, second, "--report", tmp_path / "r.pdf").failed_cleanly(2, ".html or .json")
    in_process(capsys, "verify", first, second, "--engines", "edge").failed_cleanly(2, "--engines")
    in_process(capsys, "verify", first, second, "--engines", "edge,eager").failed_cleanly(1, "differ")
    in_process(capsys, "verify", first, second, "--engines", "edge,torch").failed_cleanly(2, "torch")
    in_process(capsys, "verify", first, tmp_path / "none.onnx").failed_cleanly(3, "none.onnx")


def test_export_and_convert_write_their_report(trained, capsys, tmp_path, monkeypatch):
    report = tmp_path / "r.html"
    assert in_process(capsys, "export", trained[0], "-o", tmp_path / "m.onnx", "--report", report).code == 0
    assert b"held-out" not in report.read_bytes() and b'"sample":"data"' in report.read_bytes()
    assert in_process(capsys, "convert", tmp_path / "m.onnx", "--report", tmp_path / "r.json").code == 0
    assert json.loads((tmp_path / "r.json").read_bytes())["models"] == ["m.onnx", "m.pen"]
    in_process(capsys, "convert", tmp_path / "m.onnx", "--report", tmp_path / "r.txt").failed_cleanly(2, ".html or .json")
    right = penlight_export.engines.EdgeEngine.run
    wrong = lambda engine, inputs: {name: array + 1 for name, array in right(engine, inputs).items()}  # noqa: E731  # short
    monkeypatch.setattr("penlight_export.engines.EdgeEngine.run", wrong)
    for verb, source in (("export", trained[0]), ("convert", tmp_path / "m.onnx")):
        report.unlink(missing_ok=True)
        outcome = in_process(capsys, verb, source, "-o", tmp_path / "new.pen", "--report", report)
        outcome.failed_cleanly(1, "differs")
        assert not (tmp_path / "new.pen").exists() and b'"graph":{"nodes"' in report.read_bytes()


def test_verify_of_a_run_takes_its_held_out_data(trained, capsys, tmp_path):
    folder = trained[0]
    for name in ("model.onnx", "model.pen"):
        said = in_process(capsys, "verify", folder, folder / name, "--json")
        assert said.code == 0, said.err
        assert [(row["reference"], row["sample"]) for row in said.json["report"]["rows"]] == [("eager", "held-out data")]
    said = in_process(capsys, "verify", folder, folder, "--json")
    assert said.code == 0 and said.json["report"]["rows"][0]["snr_db"] == "inf", said.err
    in_process(capsys, "verify", "a.py:Net", "b.py:Net").failed_cleanly(2, "two classes")


def test_verify_reads_a_folder_of_samples(trained, capsys, tmp_path):
    for number, images in enumerate(np.split(load_digits().test_images[:6], 3)):
        np.save(tmp_path / f"{number}.npy", images)
    model = trained[0] / "model.onnx"
    said = in_process(capsys, "verify", model, trained[0] / "model.pen", "--data", tmp_path, "--json").json
    assert [row["sample"] for row in said["report"]["rows"]] == ["0.npy", "1.npy", "2.npy"]
    (tmp_path / "empty").mkdir()
    in_process(capsys, "verify", model, model, "--data", tmp_path / "empty").failed_cleanly(2, "found none")


NET = """
import penlight.nn as nn

class Net(nn.Module):
    def __init__(self):
        self.scale = nn.Linear(4, 4)
    def forward(self, x):
        return self.scale(x).relu()

def wide(size):
    return nn.Linear(size, size)
"""


def test_verify_of_a_class_in_a_file(capsys, tmp_path):
    import penlight as pl
    from penlight_export import export

    (tmp_path / "net.py").write_text(NET)
    module = {}
    exec(NET, module)
    net = module["Net"]()
    pl.save_safetensors(tmp_path / "net.safetensors", net.state_dict())
    export(net, pl.randn(2, 4), names=["x"], dynamic={"x": {0: "batch"}}).save(tmp_path / "net.onnx")
    given = ["verify", f"{tmp_path / 'net.py'}:Net", tmp_path / "net.onnx"]
    assert in_process(capsys, *given, "--weights", tmp_path / "net.safetensors").code == 0
    in_process(capsys, *given).failed_cleanly(1, "differ")  # fresh weights
    in_process(capsys, "verify", f"{tmp_path / 'net.py'}:Nett", given[2]).failed_cleanly(2, "its classes are Net")
    in_process(capsys, "verify", f"{tmp_path / 'net.py'}:wide", given[2]).failed_cleanly(2, "without arguments")
    in_process(capsys, "verify", f"{tmp_path / 'none.py'}:Net", given[2]).failed_cleanly(3, "none.py")


# bench


def test_bench_times_three_engines_of_a_run(trained, capsys):
    outcome = in_process(capsys, "bench", trained[0], "--rounds", 2, "--calls", 3, "--threads", "1,2", "--json")
    assert outcome.code == 0, outcome.err
    rows = outcome.json["rows"]
    assert [(row["engine"], row["threads"]) for row in rows] == [(e, t) for t in (1, 2) for e in ("eager", "onnxruntime", "edge")]
    assert all(0 < row["p50_us"] <= row["p90_us"] <= row["p99_us"] for row in rows)
    assert outcome.json["inputs"] == {"x": [1, 1, 8, 8]} and outcome.json["calls"] == 6


def test_bench_of_an_onnx_file_converts_for_the_edge_runtime(capsys, tmp_path):
    said = in_process(capsys, "bench", scaled_relu(tmp_path / "m.onnx"), "--batch", 7, "--rounds", 1, "--json").json
    assert [row["engine"] for row in said["rows"]] == ["onnxruntime", "edge"] and said["inputs"] == {"x": [7, 4]}


def test_bench_options(trained, capsys, tmp_path):
    model = trained[0] / "model.pen"
    in_process(capsys, "bench", model, "--threads", "many").failed_cleanly(2, "--threads")
    in_process(capsys, "bench", model, "--shape", "x=1").failed_cleanly(2, "--shape")
    said = in_process(capsys, "bench", model, "--shape", "x:3x1x8x8", "--rounds", 1, "--json").json
    assert said["inputs"] == {"x": [3, 1, 8, 8]}
    open_sizes = write_onnx(tmp_path / "m.onnx", [helper.make_node("Relu", ["x"], ["y"])], shape=("batch", "time"))
    in_process(capsys, "bench", open_sizes).failed_cleanly(2, "--shape x:1x1")


# package


def test_package_writes_the_folder(trained, capsys, tmp_path):
    outcome = in_process(capsys, "package", trained[0] / "model.pen", "-o", tmp_path / "c", "--json")
    assert outcome.code == 0, outcome.err
    assert {"main.c", "penlight.h", "penlight.cpp", "CMakeLists.txt"} <= {path.name for path in (tmp_path / "c").iterdir()}
    assert outcome.json["size_bytes"] > 10_000 and any("main.c" in name for name in outcome.json["files"])


def test_package_refuses(trained, capsys, tmp_path):
    model = trained[0] / "model.pen"
    in_process(capsys, "package", model, "--target", "toaster", "-o", tmp_path / "c").failed_cleanly(2, "toaster")
    in_process(capsys, "package", model).failed_cleanly(2, "--output")
    (tmp_path / "file").write_text("x")
    outcome = in_process(capsys, "package", model, "-o", tmp_path / "file")
    outcome.failed_cleanly(outcome.code)
    assert outcome.code in {2, 3}


# serve


def start_server(*arguments):
    """Starts a server and returns its process and what it said when it was ready."""
    command = command_line("serve", *arguments, "--json", "--drain-seconds", 0)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    return process, json.loads(line)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_serve_answers_and_drains(trained, number, code):
    process, ready = start_server(trained[0] / "model.pen", "--port", 0)
    assert ready["schema"] == "penlight.serve/1" and ready["models"] == ["model"]
    image = load_digits().test_images[:1]
    body = {"inputs": [{"name": "x", "shape": [1, 1, 8, 8], "datatype": "FP32", "data": image.ravel().tolist()}]}
    request = urllib.request.Request(ready["url"] + "/v2/models/model/infer", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=600) as response:
        answer = json.loads(response.read())
    assert np.argmax(answer["outputs"][0]["data"]) == load_digits().test_labels[0]
    process.send_signal(number)
    out, err = process.communicate(timeout=600)
    assert process.returncode == code, err
    assert out == "" and "Traceback" not in err


def test_a_port_in_use_is_said_at_once(trained, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        outcome = in_process(capsys, "serve", trained[0] / "model.pen", "--port", taken.getsockname()[1])
    outcome.failed_cleanly(4, "port")
