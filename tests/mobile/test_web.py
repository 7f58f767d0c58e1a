# SPDX-License-Identifier: Apache-2.0
"""The target "web": WebAssembly that answers as Python in Node, and a page that does in a browser."""

import json
import math
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from chromium import Chromium, find_chromium

import penlight as pl
import penlight_mobile
from penlight import nn
from penlight.data import load_digits
from penlight_cli.commands import package as package_command
from penlight_export import export
from penlight_mobile import c_target, errors, sources, toolchain, web_target
from penlight_runtime import Program
from penlight_runtime.dtypes import numpy_dtype

NODE_SCRIPT = Path(__file__).parents[1] / "support/web_package.mjs"
SCRIPT = (Path(web_target.__file__).parent / "templates/web/penlight.js").read_text(encoding="utf-8")
HEADER = (sources.runtime_folder() / "include/penlight.h").read_text(encoding="ascii")


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A model that knows 8 x 8 digits, trained for a few seconds."""
    pl.manual_seed(1)
    data = load_digits()
    model = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(192, 10))
    optimizer = pl.optim.AdamW(model.parameters(), lr=1e-2)
    images, labels = pl.tensor(data.train_images), pl.tensor(data.train_labels)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    path = tmp_path_factory.mktemp("digits") / "digits <b>&.pen"  # a name that a page must escape
    export(model.eval(), (images[:2],), dynamic={"x": {0: "batch"}}, names=["x"]).save(path)
    return path


@pytest.fixture(scope="module")
def site(digits, tmp_path_factory):
    """Its package, compiled once; the compiler's first run builds the C library of WebAssembly."""
    pytest.importorskip("ziglang", reason="needs Zig")
    return penlight_mobile.package(digits, target="web", output=tmp_path_factory.mktemp("site") / "out").path


def test_script_knows_the_dtypes_of_the_header():
    of_header = {int(number): name.lower() for name, number in re.findall(r"PENLIGHT_((?:[FIU]|BF)\d+|BOOL) = (\d+)", HEADER)}
    of_script = {int(number): name for number, name in re.findall(r'^  (\d+): \["(\w+)", \w+\],$', SCRIPT, re.MULTILINE)}
    short = {"float": "f", "bfloat": "bf", "int": "i", "uint": "u", "bool": "bool"}
    assert {number: re.sub("[a-z]+", lambda kind: short[kind[0]], name) for number, name in of_script.items()} == of_header
    assert all(numpy_dtype(number).name == name for number, name in of_script.items())


def test_every_function_that_the_script_calls_is_exported():
    declared = c_target.functions(HEADER)
    assert len(declared) == HEADER.count("PENLIGHT_API ") - HEADER.count("define PENLIGHT_API ")
    called = set(re.findall(r"\bpenlight_\w+\b", SCRIPT)) - {"penlight_tensor", "penlight_error"}
    assert called <= {*declared, "penlight_program_", "penlight_program_golden_"}  # the last two are completed by input or output


def test_help_names_every_target():
    joined = re.sub(r'"\s+"', "", Path(package_command.__file__).read_text(encoding="utf-8"))
    words = re.search(r'What to package for: ([\w, -]+)\."', joined)
    assert words and tuple(words[1].split(", ")) == penlight_mobile.targets()


def test_without_a_compiler_nothing_is_written(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(errors.MissingCompilerError, match=r"pip install 'penlight\[cross\]'"):
        penlight_mobile.package(digits, target="web", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_the_compiler_says_is_told(digits, tmp_path, monkeypatch):
    script = "import sys; print('error: no such header', file=sys.stderr); sys.exit(3)"
    monkeypatch.setattr(toolchain, "zig", lambda: [sys.executable, "-c", script])
    with pytest.raises(errors.CompilerFailedError, match="wasm32-wasi with exit code 3: error: no such header"):
        penlight_mobile.package(digits, target="web", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
def test_answers_in_node_as_in_python(site, digits):
    done = subprocess.run(["node", NODE_SCRIPT, site, "5"], capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stderr) == (0, "")
    said, program = json.loads(done.stdout), Program.open(digits)
    sample = program.golden()[0]
    assert said["methods"] == list(program.methods) and said["metadata"] == program.metadata
    assert said["inputs"] == [{"name": "x", "dtype": "float32", "shape": ["batch", 1, 8, 8]}]
    assert said["outputs"] == [{"name": "output", "dtype": "float32", "shape": ["batch", 10]}]
    expected = program.session().run(sample.inputs)["output"]
    tolerance = {"rtol": 1e-5, "atol": 1e-5}
    for name in ("ran", "expected", "again"):
        assert said[name]["output"]["shape"] == list(expected.shape)
        np.testing.assert_allclose(np.reshape(said[name]["output"]["data"], expected.shape), expected, **tolerance)
    np.testing.assert_allclose(said["ofNumbers"]["output"]["data"], expected[0], **tolerance)
    np.testing.assert_allclose(np.reshape(said["many"]["output"]["data"], (5, 10)), np.repeat(expected[:1], 5, 0), **tolerance)
    assert said["macs"] > 0 and said["arenaBytes"] > 0
    told = {name: (r["kind"], r["status"] or "", r["message"]) for name, r in said["refusals"].items()}
    for name, (kind, status, words) in {
        "damaged": ("PenlightError", "PENLIGHT_INVALID_FILE", ""),
        "empty": ("PenlightError", "PENLIGHT_INVALID_FILE", ""),
        "missing": ("TypeError", "", "input x is missing"),
        "unknown": ("TypeError", "", "no input other; expected x"),
        "type": ("TypeError", "", "input x: expected Float32Array (float32), came Int8Array"),
        "shape": ("RangeError", "", "shape [1,2,3] does not hold 64 elements"),
        "length": ("RangeError", "", "does not hold 65 elements; expected [batch,1,8,8]"),
        "rank": ("PenlightError", "PENLIGHT_SHAPE_MISMATCH", "x"),
        "budget": ("PenlightError", "PENLIGHT_BUDGET_EXCEEDED", ""),
        "method": ("RangeError", "", 'no method "decode"; expected one of forward'),
    }.items():
        assert told[name][:2] == (kind, status) and words in told[name][2], (name, told[name])


@pytest.mark.slow
@pytest.mark.skipif(find_chromium() is None, reason="needs Chromium")
def test_the_page_reads_a_drawn_digit(site, tmp_path):
    with Chromium(tmp_path / "profile") as browser:
        browser.open(site / "index.html")
        wait_for(browser, "document.getElementById('verdict').className !== ''")
        assert browser.evaluate("document.getElementById('verdict').className") == "ok"
        assert browser.evaluate("document.querySelector('h1').textContent") == "digits <b>&"
        draw(browser, [(0.5 + 0.2 * math.cos(a / 10), 0.5 + 0.3 * math.sin(a / 10)) for a in range(65)])
        assert browser.evaluate("document.getElementById('guess').textContent") == "0"
        assert re.fullmatch(r"[\d.]+ (µs|ms) for one answer", browser.evaluate("document.getElementById('time').textContent"))
        assert browser.evaluate("document.querySelectorAll('#bars [role=row]').length") == 10
        browser.evaluate("document.getElementById('clear').click()")
        assert browser.evaluate("document.getElementById('guess').textContent") == "?"
        assert browser.complaints == []
        assert browser.requests == [(site / "index.html").as_uri()]  # nothing else is fetched


def wait_for(browser, condition):
    end = time.monotonic() + 300
    while not browser.evaluate(condition):
        assert time.monotonic() < end, browser.evaluate("document.body.innerText")
        time.sleep(0.05)


def draw(browser, points):
    """One stroke through points given as fractions of the pad."""
    rectangle = "(r => [r.left, r.top, r.width, r.height])(document.getElementById('pad').getBoundingClientRect())"
    left, top, width, height = browser.evaluate(rectangle)
    places = [(left + x * width, top + y * height) for x, y in points]
    browser.mouse("mousePressed", *places[0], button="left", clickCount=1)
    for place in places[1:]:
        browser.mouse("mouseMoved", *place, button="left", buttons=1)
    browser.mouse("mouseReleased", *places[-1], button="left", clickCount=1)
    browser.settle()
