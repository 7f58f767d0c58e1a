# SPDX-License-Identifier: Apache-2.0
"""`penlight quickstart`: train, export, verify, run on three engines, package, serve, report."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from penlight_cli.errors import CheckFailed
from penlight_cli.output import Result, table
from penlight_cli.threads import set_threads


def quickstart(
    out: Annotated[Path, typer.Option("--output", "--out", "-o", help="The folder to write.")] = Path("penlight-quickstart"),
    seed: Annotated[int, typer.Option(help="Seed of weights and order.")] = 0,
) -> Result:
    """Trains a small network on 1,397 handwritten digits that come with the package, and takes it the whole way: ONNX file,
    edge file, C program, HTTP server. Needs no network. Exits with 1 if an accuracy or a difference misses its promise.

    Example: penlight quickstart --out quickstart/
    """
    start = time.perf_counter()
    set_threads()
    from penlight_cli.files import new_folder
    from penlight_cli.quickstart.comparison import HEADERS, checks
    from penlight_cli.quickstart.stages import go_through

    done = go_through(new_folder(out), seed)
    verdicts = checks(done.rows, {"C program": done.packaged, "server": done.served})
    seconds = time.perf_counter() - start
    page = _write_report(out, done, verdicts, seconds)
    facts: dict[str, Any] = {
        "path": str(out), "seed": seed, "seconds": seconds, "report": str(page), "engines": [asdict(row) for row in done.rows],
        "package": done.packaged, "server": done.served, "checks": [{"ok": ok, "text": text} for ok, text in verdicts],
    }  # fmt: skip
    text = table(HEADERS, [row.cells() for row in done.rows], "")
    text += f"\n\nAll of it in {seconds:.1f} s. Wrote {page}\nNext: open {page}; penlight inspect {out / 'model.pen'}"
    failed = [text for ok, text in verdicts if not ok]
    if failed:
        raise CheckFailed("; ".join(failed), facts, text)
    return Result(facts, text)


def _write_report(out: Path, done: Any, verdicts: list[tuple[bool, str]], seconds: float) -> Path:
    from penlight.data import load_digits
    from penlight.serialize import atomic_write
    from penlight_cli.chart import to_svg
    from penlight_cli.quickstart.comparison import HEADERS, confusion_matrix, hardest
    from penlight_cli.quickstart.report import Report, to_html
    from penlight_cli.runs import history_panels

    digits, logits = load_digits(), done.logits["edge"]
    report = Report(
        "Penlight quickstart",
        f"A convolutional network, trained on {len(digits.train_images):,} handwritten digits and tested on "
        f"{len(digits.test_images)} others: from the first step to an HTTP answer in {seconds:.0f} s.",
        HEADERS,
        [row.cells() for row in done.rows],
        verdicts,
        to_svg(history_panels(done.history), "Training curves"),
        confusion_matrix(digits.test_labels, logits.argmax(1)),
        hardest(digits.test_images, digits.test_labels, logits),
        done.stages,
    )
    return atomic_write(out / "report.html", to_html(report).encode())
