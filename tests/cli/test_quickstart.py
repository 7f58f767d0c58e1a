# SPDX-License-Identifier: Apache-2.0
"""`penlight quickstart`: its promises, and the page it writes."""

import base64
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from penlight_cli.quickstart.comparison import Row, checks, confusion_matrix, hardest
from penlight_cli.quickstart.report import Picture, Report, to_html

VOID = {"meta", "img", "br", "circle", "polyline"}


class Page(HTMLParser):
    """Collects tags and pictures, and asserts that tags close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.tags, self.pictures, self.addresses, self.text = [], [], [], [], ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        found = dict(attrs)
        if tag == "img":
            assert found["alt"]
            self.pictures.append(base64.b64decode(found["src"].removeprefix("data:image/png;base64,"), validate=True))
        self.addresses += [value for name, value in attrs if name in {"href", "src"} and not value.startswith("data:")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_it_keeps_its_promises(quickstarted):
    said = quickstarted[1].json
    assert said["schema"] == "penlight.quickstart/1" and said["ok"]
    assert [row["engine"] for row in said["engines"]] == ["eager", "onnxruntime", "edge"]
    for row in said["engines"]:
        assert row["accuracy"] >= 0.98 and row["agreement"] == 1.0 and row["max_abs"] <= 1e-4 and row["p50_us"] > 0
    assert all(row["file_bytes"] > 10_000 for row in said["engines"][1:])
    assert said["engines"][2]["arena_bytes"] > 1000
    assert said["server"]["ok"] and said["package"]["ok"] and all(check["ok"] for check in said["checks"])
    assert said["package"]["built"] == bool(shutil.which("cc") or shutil.which("gcc") or shutil.which("clang"))


def test_it_writes_the_files(quickstarted):
    folder, outcome = quickstarted
    for name in (
        "model.onnx",
        "model.pen",
        "report.html",
        "curve.svg",
        "curve.png",
        "history.jsonl",
        "c/penlight.cpp",
        "c/penlight.h",
    ):
        assert (folder / name).stat().st_size > 0
    for stage in ("train", "export", "run", "package", "serve"):
        assert re.search(rf"^{stage}: .* s\)$", outcome.err, re.M), stage


def test_the_page_is_whole_and_alone(quickstarted):
    text = (quickstarted[0] / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert text.startswith("<!DOCTYPE html>") and "script" not in page.tags and not page.addresses
    assert page.tags.count("svg") == 1 and page.tags.count("table") == 3
    assert len(page.pictures) == 8
    for picture in page.pictures:
        image = Image.open(io.BytesIO(picture))
        image.load()
        assert image.size == (96, 96) and np.ptp(np.asarray(image)) > 100
    for words in ("eager", "onnxruntime", "edge", "Confusion matrix", "p50", "built with", "answered over HTTP"):
        assert words in page.text
    assert "color-scheme: light dark" in text


def chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(chromium() is None, reason="needs Chromium")
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_shows_its_pictures_in_chromium(quickstarted, tmp_path, dark):
    shot = tmp_path / "page.png"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1000,2400"]
    flags += ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if dark else []
    page = (quickstarted[0] / "report.html").as_uri()
    subprocess.run([chromium(), *flags, f"--screenshot={shot}", page], check=True, capture_output=True, timeout=600)
    pixels = np.asarray(Image.open(shot).convert("RGB")).astype(int)
    background = pixels[5, 5]
    assert (background < 60).all() if dark else (background > 240).all()
    for color in ((0x25, 0x63, 0xEB), (0xEA, 0x58, 0x0C)):  # the two curves
        assert (np.abs(pixels - color).sum(-1) < 12).sum() > 200
    greens = pixels[..., 1] - pixels[..., 0]
    assert (greens > 40).sum() > 2000  # the diagonal of the confusion matrix
    grey_or_black = (pixels.max(-1) < 25) if not dark else (pixels.min(-1) > 230)
    assert grey_or_black.sum() > 2000  # the digits


# The parts


def row(**changes):
    usual = {
        "engine": "edge",
        "accuracy": 0.99,
        "agreement": 1.0,
        "max_abs": 1e-6,
        "file_bytes": 1,
        "arena_bytes": 1,
        "p50_us": 5.0,
    }
    return Row(**{**usual, **changes})


BROKEN = ({"accuracy": 0.9799}, {"agreement": 0.9975}, {"max_abs": 1.1e-4}, {"accuracy": float("nan")}, {"max_abs": float("nan")})


@pytest.mark.parametrize("changes", BROKEN, ids=str)
def test_a_broken_promise_is_seen(changes):
    assert all(ok for ok, _ in checks([row()], {}))
    assert not all(ok for ok, _ in checks([row(), row(**changes)], {})), changes
    assert not all(ok for ok, _ in checks([row(**changes), row()], {})), changes


def test_a_failed_stage_is_seen():
    assert not all(ok for ok, _ in checks([row()], {"C program": {"ok": False, "text": "self-test failed"}}))


def test_confusion_matrix_counts():
    counts = confusion_matrix(np.array([0, 1, 1, 9]), np.array([0, 1, 2, 9]))
    assert counts.sum() == 4 and counts[1, 2] == 1 and np.trace(counts) == 3


def test_hardest_are_the_misread_first_then_the_least_certain():
    logits = np.array([[9.0, 0], [5, 0], [0.1, 0], [0, 3]])
    labels = np.array([0, 1, 0, 1])
    pictures = hardest(np.zeros((4, 1, 8, 8)), labels, logits, 3)
    assert [(p.label, p.predicted) for p in pictures] == [(1, 0), (0, 0), (1, 1)]


def test_texts_are_escaped():
    picture = Picture(np.zeros((8, 8)), 1, 2, 0.5)
    report = Report(
        "<b>&", "<i>", ["<th>"], [["<td>"]], [(False, "<li>")], "<svg></svg>", np.eye(2), [picture], [("<s>", 1.0, "&")]
    )
    page = Page(to_html(report))
    assert "<b>&" in page.text and not {"b", "i", "s"} & set(page.tags)
