# SPDX-License-Identifier: Apache-2.0
"""`penlight convert`: an .onnx file from any exporter becomes a .pen file."""

from pathlib import Path
from typing import Annotated

import typer

from penlight_cli.errors import UsageProblem
from penlight_cli.files import existing_file, written, written_line
from penlight_cli.output import Result


def convert(
    source: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="The ONNX file.")],
    target: Annotated[
        Path | None, typer.Argument(metavar="[MODEL.pen]", help="Where to write; beside the source by default.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The same as the second argument.")] = None,
    verify: Annotated[bool, typer.Option("--verify/--no-verify", help="Run both files and compare the numbers first.")] = True,
) -> Result:
    """The numbers of both files are compared before anything is written. Operators that the edge runtime lacks are listed
    all at once.

    Example: penlight convert model.onnx model.pen
    """
    existing_file(source, "model")
    pen = output or target or source.with_suffix(".pen")
    if pen.suffix != ".pen":
        raise UsageProblem(f"output {pen}: expected a name that ends in .pen")
    import penlight_export

    result = penlight_export.convert(source, pen, verify=verify)
    entry = written(pen)
    report = result.report.to_json() if result.report else None
    text = result.report.to_text() + "\n" if result.report else ""
    return Result(
        {"source": str(source), "written": entry, "report": report}, text + written_line(entry, f"penlight inspect {pen}")
    )
