# SPDX-License-Identifier: Apache-2.0
"""Charts: valid SVG and PNG for any history, NaN and single points included."""

import io
import math
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from penlight_cli.chart import COLORS, Panel, Series, ticks, to_png, to_svg

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0, 10, [0, 2, 4, 6, 8, 10]), (-3, 7, [-2, 0, 2, 4, 6]), (2, 2, [2]), (0, math.nan, [0])],
)
def test_ticks_are_round_and_inside(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


HISTORIES = {
    "usual": [1.0, 0.5, 0.25],
    "single": [1.0],
    "flat": [0.5, 0.5],
    "empty": [],
    "nan": [1.0, math.nan, 0.5],
    "huge": [1e-30, 1e30],
}


@pytest.mark.parametrize("values", HISTORIES.values(), ids=HISTORIES)
def test_svg_is_well_formed_and_inside_its_box(values):
    panel = Panel("loss <&>", [Series("train", range(len(values)), values), Series("validation", range(len(values)), values)])
    root = ET.fromstring(to_svg([panel, panel], "a & b"))
    width, height = (float(v) for v in root.get("viewBox").split()[2:])
    for line in root.iter(f"{SVG}polyline"):
        points = [tuple(map(float, point.split(","))) for point in line.get("points").split()]
        assert all(0 <= x <= width and 0 <= y <= height for x, y in points)
    assert any(text.text == "loss <&>" for text in root.iter(f"{SVG}text"))


@pytest.mark.parametrize("values", HISTORIES.values(), ids=HISTORIES)
def test_png_decodes(values):
    image = Image.open(io.BytesIO(to_png([Panel("loss", [Series("train", range(len(values)), values)])])))
    image.load()
    assert image.size == (1280, 480)


def test_png_shows_each_line_in_its_colour():
    series = [Series("a", [0, 1, 2], [0, 1, 0]), Series("b", [0, 1, 2], [1, 0, 1])]
    pixels = np.asarray(Image.open(io.BytesIO(to_png([Panel("p", series)]))))
    for color in COLORS[:2]:
        wanted = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
        assert (pixels == wanted).all(-1).sum() > 500
