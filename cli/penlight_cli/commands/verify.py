# SPDX-License-Identifier: Apache-2.0
"""`penlight verify`: the same inputs through two models, and where their numbers part."""

from pathlib import Path
from typing import Annotated, Any

import typer

from penlight_cli.errors import CheckFailed, UsageProblem
from penlight_cli.files import existing_file, written_line
from penlight_cli.modules import is_module, open_module
from penlight_cli.output import Result
from penlight_cli.reports import write_report


def verify(
    first: Annotated[str, typer.Argument(help="The reference: a .onnx or .pen file, a training run, or FILE.py:CLASS.")],
    second: Annotated[str, typer.Argument(help="What is compared with it.")],
    data: Annotated[Path | None, typer.Option(help=".npy, .npz, a picture or a folder of them; seeded random by default.")] = None,
    engines: Annotated[
        str | None, typer.Option(metavar="A,B", help="onnxruntime (.onnx by default), edge (.pen by default), reference or eager.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="The .safetensors file of FILE.py:CLASS.")] = None,
    tolerance: Annotated[float, typer.Option(min=0, help="On differences relative to max(1, the largest output).")] = 1e-4,
    report: Annotated[
        Path | None, typer.Option(metavar="OUT.html|OUT.json", help="Write the report, also on a difference.")
    ] = None,
) -> Result:
    """Exits with 1 when the outputs differ by more than the tolerance, and names the first layer that differs. A training run is
    compared on its held-out data.

    Example: penlight verify model.onnx model.pen --data inputs.npz --report report.html

    Example: penlight verify run/ run/model.pen

    Example: penlight verify model.onnx model.onnx --engines reference,edge
    """
    for text in (first, second):
        if not is_module(text):
            existing_file(Path(text), "model")
    # What declares inputs: a file, or else the folder of a run.
    declaring = sorted((Path(text) for text in (first, second) if ".py:" not in text), key=Path.is_dir)
    if not declaring:
        raise UsageProblem("verify: expected at least one model file or training run, came two classes; export one of them first")
    chosen = [name.strip() or None for name in (engines or ",").split(",")]
    if len(chosen) != 2:
        raise UsageProblem(f"--engines {engines}: expected two names, such as onnxruntime,edge")
    import penlight_export
    from penlight_export.report_page import check_report_suffix

    if report is not None:
        check_report_suffix(report)
    a, b = (open_module(text, weights) if is_module(text) else Path(text) for text in (first, second))
    samples = _read(data, declaring[0]) if data else _held_out([text for text in (first, second) if Path(text).is_dir()])
    found = penlight_export.verify(a, b, data=samples, engines=chosen, tolerance=tolerance)
    facts: dict[str, Any] = {"first": first, "second": second, "report": found.to_json()}
    text = found.to_text()
    if report is not None:
        facts["written"] = write_report(report, found, [first, second])
        text += "\n" + written_line(facts["written"])
    if not found.ok:
        raise CheckFailed(f"{first} and {second} differ by more than the tolerance", facts, text)
    return Result(facts, text)


def _read(data: Path, model: Path) -> list[Any]:
    """A sample per file."""
    from penlight_cli.arrays import PICTURES, Reading, read_inputs
    from penlight_cli.engines import open_model
    from penlight_export.verify import Sample

    files = [data]
    if data.is_dir():
        files = sorted(path for path in data.iterdir() if path.suffix.lower() in {".npy", ".npz", *PICTURES})
        if not files:
            raise UsageProblem(f"--data {data}: expected .npy, .npz or picture files in the folder, found none")
    declared = open_model(model).inputs
    return [Sample(path.name, read_inputs([str(path)], declared, Reading())) for path in files]


def _held_out(runs: list[str]) -> list[Any] | None:
    """Some of a training run's validation data."""
    if not runs:
        return None
    from penlight_cli.runs import load_run
    from penlight_cli.training import held_out
    from penlight_export.verify import Sample

    arrays = held_out(load_run(Path(runs[0])))
    return [Sample("held-out data", arrays)] if arrays else None
