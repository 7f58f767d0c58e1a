# SPDX-License-Identifier: Apache-2.0
"""Line charts of a training history, as SVG text and as PNG; both are drawn from one list of shapes.

matplotlib is deliberately absent: two small axes need no 10 MB of wheels.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 640, 240  # of one panel
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 32, 40
COLORS = ("#2563eb", "#ea580c", "#16a34a", "#9333ea")
GREY = "#808080"  # readable on white and on black


@dataclass(frozen=True)
class Series:
    """A named line; the points need not be equally spaced."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    title: str
    series: Sequence[Series]
    x_title: str = "epoch"


@dataclass(frozen=True)
class Line:
    points: Sequence[tuple[float, float]]
    color: str
    width: float


@dataclass(frozen=True)
class Text:
    x: float
    y: float  # the middle of the letters
    text: str
    anchor: str = "start"
    color: str = GREY


Shape = Line | Text


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) that lie within a range."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return [low]
    step = 10 ** math.floor(math.log10(span / count))
    step = next(step * factor for factor in (1, 2, 5, 10) if span / (step * factor) <= count)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def shapes(panel: Panel, offset: float = 0.0) -> list[Shape]:
    """The lines and texts of one panel; `offset` moves it down."""
    finite = [(x, y) for s in panel.series for x, y in zip(s.x, s.y, strict=True) if math.isfinite(y)] or [(0.0, 0.0)]
    x_low, x_high = min(x for x, _ in finite), max(x for x, _ in finite)
    y_low, y_high = min(y for _, y in finite), max(y for _, y in finite)
    margin = 0.05 * (y_high - y_low) or 0.5
    y_low, y_high = y_low - margin, y_high + margin

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / ((x_high - x_low) or 1.0)
        up = (y - y_low) / (y_high - y_low)
        return LEFT + across * (WIDTH - LEFT - RIGHT), offset + HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    drawn: list[Shape] = [Text(LEFT, offset + TOP / 2, panel.title)]
    for value in ticks(y_low, y_high):
        height = place(x_low, value)[1]
        drawn += [Line([(LEFT, height), (WIDTH - RIGHT, height)], GREY + "40", 1), Text(LEFT - 6, height, f"{value:g}", "end")]
    for value in ticks(x_low, x_high, 10):
        drawn.append(Text(place(value, y_low)[0], offset + HEIGHT - BOTTOM + 12, f"{value:g}", "middle"))
    drawn.append(Text((LEFT + WIDTH - RIGHT) / 2, offset + HEIGHT - 10, panel.x_title, "middle"))
    for i, series in enumerate(panel.series):
        color = COLORS[i % len(COLORS)]
        points = [place(x, y) for x, y in zip(series.x, series.y, strict=True) if math.isfinite(y)]
        drawn += [
            Line(points, color, 2),
            Text(WIDTH - RIGHT - 130 * (len(panel.series) - 1 - i), offset + TOP / 2, series.name, "end", color),
        ]
    return drawn


def all_shapes(panels: Sequence[Panel]) -> list[Shape]:
    """Panels one below the other."""
    return [shape for i, panel in enumerate(panels) for shape in shapes(panel, i * HEIGHT)]


def to_svg(panels: Sequence[Panel], title: str) -> str:
    """A self-contained SVG with a transparent background; its greys read on light and on dark pages."""
    size = f'viewBox="0 0 {WIDTH} {HEIGHT * len(panels)}" width="{WIDTH}" height="{HEIGHT * len(panels)}"'
    body = "\n".join(_svg_shape(shape) for shape in all_shapes(panels))
    style = 'font-family="system-ui, sans-serif" font-size="12"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" {style}>\n<title>{escape(title)}</title>\n{body}\n</svg>\n'


def _svg_shape(shape: Shape) -> str:
    if isinstance(shape, Text):
        place = f'x="{shape.x:.1f}" y="{shape.y:.1f}" text-anchor="{shape.anchor}" dominant-baseline="middle"'
        return f'<text {place} fill="{shape.color}">{escape(shape.text)}</text>'
    if len(shape.points) == 1:
        x, y = shape.points[0]
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{shape.color}"/>'
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape.points)
    return f'<polyline points="{points}" fill="none" stroke="{shape.color}" stroke-width="{shape.width:g}"/>'


def to_png(panels: Sequence[Panel], scale: int = 2) -> bytes:
    """The same chart as the bytes of a PNG on white, at twice the size for sharp letters."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (WIDTH * scale, HEIGHT * scale * len(panels)), "white")
    draw = ImageDraw.Draw(image, "RGBA")
    font: Any = ImageFont.load_default(size=12 * scale)
    for shape in all_shapes(panels):
        if isinstance(shape, Text):
            anchor = {"start": "lm", "middle": "mm", "end": "rm"}[shape.anchor]
            draw.text((shape.x * scale, shape.y * scale), shape.text, shape.color, font, anchor)
        elif len(shape.points) == 1:
            draw.circle((shape.points[0][0] * scale, shape.points[0][1] * scale), 3 * scale, shape.color)
        else:
            draw.line([(x * scale, y * scale) for x, y in shape.points], shape.color, round(shape.width * scale), "curve")
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
