# SPDX-License-Identifier: Apache-2.0
"""report.html: one self-contained page without scripts, readable on light and on dark."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

STYLE = """
:root { color-scheme: light dark; --line: #80808040; --soft: #808080; --good: #16a34a; --bad: #dc2626; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.5rem; } p.lead, figcaption, td.soft, th { color: var(--soft); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; } .prose th:last-child, .prose td:last-child { text-align: left; }
table.confusion td { min-width: 1.6rem; text-align: center; padding: .3rem; }
svg { max-width: 100%; height: auto; } .digits { display: flex; flex-wrap: wrap; gap: 1rem; padding: 0; }
figure { margin: 0; } figure img { image-rendering: pixelated; border: 1px solid var(--line); display: block; }
.ok { color: var(--good); } .failed { color: var(--bad); }
"""


@dataclass(frozen=True)
class Picture:
    """One image (H, W) in 0..1 with what it is and what it was taken for."""

    image: np.ndarray
    label: int
    predicted: int
    probability: float


@dataclass(frozen=True)
class Report:
    """Everything the page shows."""

    title: str
    lead: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    checks: Sequence[tuple[bool, str]]
    curve_svg: str
    confusion: np.ndarray  # (classes, classes) counts; rows are the true classes
    pictures: Sequence[Picture]
    stages: Sequence[tuple[str, float, str]]  # name, seconds, what came out


def to_html(report: Report) -> str:
    """The whole page."""
    checks = "".join(
        f'<li class="{"ok" if ok else "failed"}">{"&#10003;" if ok else "&#10007;"} {escape(text)}</li>'
        for ok, text in report.checks
    )
    stages = [(name, f"{seconds:.1f} s", result) for name, seconds, result in report.stages]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(report.title)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{escape(report.title)}</h1>
<p class="lead">{escape(report.lead)}</p>
<ul class="checks">{checks}</ul>
<h2>Three engines, the same pictures</h2>
{html_table(report.headers, report.rows)}
<h2>Training</h2>
{report.curve_svg}
<h2>Confusion matrix</h2>
<p class="lead">Rows are the true digits, columns what the edge runtime read.</p>
{confusion_table(report.confusion)}
<h2>Misread or least certain</h2>
<div class="digits">
{"".join(figure(picture) for picture in report.pictures)}
</div>
<h2>What was done</h2>
{html_table(["Stage", "Time", "Result"], stages)}
</body>
</html>
"""


def html_table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table that scrolls by itself on a narrow screen."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in headers)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    kind = "" if all(str(row[-1])[:1].isdigit() for row in rows) else ' class="prose"'
    return f'<div class="scroll"><table{kind}>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'


def confusion_table(counts: np.ndarray) -> str:
    """Counts with a shade: green on the diagonal, red beside it; a zero stays empty."""
    classes = range(len(counts))
    head = "<th></th>" + "".join(f'<th scope="col">{c}</th>' for c in classes)
    cells = ["".join(_cell(counts, row, column) for column in classes) for row in classes]
    body = "\n".join(f'<tr><th scope="row">{row}</th>{line}</tr>' for row, line in zip(classes, cells, strict=True))
    return f'<div class="scroll"><table class="confusion">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'


def _cell(counts: np.ndarray, row: int, column: int) -> str:
    count = int(counts[row, column])
    if not count:
        return "<td></td>"
    share = count / max(int(counts[row].sum()), 1)
    color = "22, 163, 74" if row == column else "220, 38, 38"
    return f'<td style="background: rgba({color}, {0.15 + 0.5 * share:.2f})">{count}</td>'


def figure(picture: Picture) -> str:
    """A picture with its caption, as a PNG inside the page."""
    right = picture.label == picture.predicted
    verdict = f"a {picture.label}, read right" if right else f"a {picture.label}, read as {picture.predicted}"
    caption = f"{verdict} ({picture.probability:.0%} sure)"
    size = 'width="96" height="96"'
    return (
        f'<figure><img {size} alt="{escape(caption)}" src="data:image/png;base64,{png_base64(picture.image)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>\n"
    )


def png_base64(image: np.ndarray, scale: int = 12) -> str:
    """A grey image (H, W) in 0..1, each pixel `scale` wide, as the text of a PNG."""
    from PIL import Image

    pixels = np.kron(np.clip(image * 255, 0, 255).astype(np.uint8), np.ones((scale, scale), np.uint8))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
