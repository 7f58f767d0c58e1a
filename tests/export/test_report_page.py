# SPDX-License-Identifier: Apache-2.0
"""The report of a comparison as JSON and as a page."""

import json

import numpy as np
import pytest
from chromium import Chromium, find_chromium
from onnx_text import model_from_text

from penlight_export import convert, verify
from penlight_export.compare import Divergence, VerifyReport, difference
from penlight_export.errors import OptionError
from penlight_export.report_page import report_file

EVIL = "</script><script>window.broken=1</script>"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    body = "g (float[N,4] x) => (float[N,4] y) { a = MatMul(x, u) c = Tanh(a) d = Neg(c) y = Add(d, b) }"
    weights = {"u": np.eye(4, dtype=np.float32), "b": np.arange(4, dtype=np.float32)}
    for name, extra in (("good", 0), ("bad", 1)):
        proto = model_from_text(body, weights={**weights, "u": weights["u"] + np.float32(extra)})
        (folder / f"{name}.onnx").write_bytes(proto.SerializeToString())
    convert(folder / "good.onnx", folder / "good.pen")
    return folder


def test_json(files):
    models = [files / "good.onnx", files / "bad.onnx"]
    facts = json.loads(report_file(verify(*models), models, "report.json"))
    assert facts["schema"] == "penlight.verify-report/1" and facts["models"] == ["good.onnx", "bad.onnx"]
    assert facts["ok"] is False and facts["divergence"]["value"] == "a" and facts["worst_inputs"]
    assert {"max_abs", "max_rel", "max_ulp", "snr_db", "agreement", "worst", "sample"} <= set(facts["rows"][0])
    equal = [files / "good.onnx", files / "good.onnx"]
    assert json.loads(report_file(verify(*equal), equal, "r.json"))["rows"][0]["snr_db"] == "inf"


def test_other_suffixes(files):
    with pytest.raises(OptionError, match=r"ends in \.html or \.json"):
        report_file(VerifyReport(), [], "report.pdf")


needs_chromium = pytest.mark.skipif(find_chromium() is None, reason="needs Chromium")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@needs_chromium
@pytest.mark.parametrize(("pair", "value"), [(("good.onnx", "bad.onnx"), "a"), (("bad.onnx", "good.pen"), "c")])
def test_page_of_a_difference(files, browser, tmp_path, pair, value):
    """In the .pen file the product and its activation are one node, which keeps the last name."""
    models = [files / name for name in pair]
    report = verify(*models)
    (tmp_path / "report.html").write_bytes(report_file(report, models, "report.html"))
    browser.open(tmp_path / "report.html")
    assert "differ by more than the tolerance" in browser.evaluate("document.querySelector('[role=status]').textContent")
    assert browser.evaluate("penlight.graph.scene.selected.node.outputs.map(v => penlight.graph.model.values[v].name)") == [value]
    assert browser.evaluate("penlight.graph.scene.boxes.filter(box => box.differs).length") == 1
    assert "first of" in browser.evaluate("document.querySelector('.details').textContent")
    plots = browser.evaluate("[...document.querySelectorAll('.pair')].map(pair => pair.querySelectorAll('svg').length)")
    assert plots == [4] * len(report.plots) and len(plots) >= 2
    assert browser.evaluate("document.querySelectorAll('.pair circle').length") > 4
    rows = browser.evaluate("[...document.querySelectorAll('section table')[0].tBodies[0].rows].map(row => row.textContent)")
    assert len(rows) == len(report.rows) and all("differs" in row for row in rows)
    assert not browser.complaints and len(browser.requests) == 1


@needs_chromium
def test_page_of_models_that_agree(files, browser, tmp_path):
    models = [files / "good.onnx", files / "good.pen"]
    (tmp_path / "report.html").write_bytes(report_file(verify(*models), models, "report.html"))
    browser.open(tmp_path / "report.html", "dark")
    assert "The numbers agree" in browser.evaluate("document.querySelector('[role=status]').textContent")
    assert browser.evaluate("penlight.graph.scene.boxes.length") > 2
    assert not browser.complaints


@needs_chromium
def test_page_without_a_graph_and_with_hostile_names(browser, tmp_path):
    report = VerifyReport(notes=[EVIL])
    a, b = np.array([[1, np.nan, np.inf, 2]], np.float32), np.array([[1, 1, np.inf, 3]], np.float32)
    report.add_pair(report.add(EVIL, EVIL, EVIL, {EVIL: 1}, difference(a, b), EVIL), a, b)
    report.divergence = Divergence(EVIL, EVIL, EVIL, EVIL, float("inf"), 3)
    page = report_file(report, [tmp_path / EVIL.replace("/", ""), "module.py:Net"], "report.html")
    assert page.count(b"<script") == 2
    (tmp_path / "report.html").write_bytes(page)
    browser.open(tmp_path / "report.html")
    assert browser.evaluate("window.broken") is None and EVIL in browser.evaluate("document.body.textContent")
    assert browser.evaluate("document.querySelectorAll('.pair svg').length") == 4
    assert not browser.complaints
