# SPDX-License-Identifier: Apache-2.0
"""`penlight convert`: an .onnx file from any exporter becomes a .pen file."""

from pathlib import Path
from typing import Annotated

import typer

from penlight_cli.errors import UsageProblem
from penlight_cli.exporting import LIST, chosen_passes, listed_passes, stage_bar
from penlight_cli.files import existing_file, written, written_line
from penlight_cli.output import Result
from penlight_cli.reports import report_of_failure, write_report


def convert(
    source: Annotated[Path | None, typer.Argument(metavar="MODEL.onnx", help="The ONNX file.")] = None,
    target: Annotated[
        Path | None, typer.Argument(metavar="[MODEL.pen]", help="Where to write; beside the source by default.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The same as the second argument.")] = None,
    verify: Annotated[bool, typer.Option("--verify/--no-verify", help="Run both files and compare the numbers first.")] = True,
    passes: Annotated[
        str | None,
        typer.Option(help="Only these optimizer passes, or all but some: no-attention,no-dead-code. list: names them."),
    ] = None,
    optimize: Annotated[bool, typer.Option("--opt/--no-opt", help="Optimize the graph, or convert it as it is.")] = True,
    max_string_bytes: Annotated[int, typer.Option(min=1, help="UTF-8 bytes of the longest string that an input takes.")] = 64,
    report: Annotated[
        Path | None, typer.Option(metavar="OUT.html|OUT.json", help="Write the comparison, also a failed one.")
    ] = None,
) -> Result:
    """The numbers of both files are compared before anything is written. Operators that the edge runtime lacks are listed
    all at once.

    Example: penlight convert model.onnx model.pen
    """
    if passes == LIST:
        return listed_passes()
    if source is None:
        raise UsageProblem("MODEL.onnx: expected the file to convert, came nothing")
    existing_file(source, "model")
    pen = output or target or source.with_suffix(".pen")
    if pen.suffix != ".pen":
        raise UsageProblem(f"output {pen}: expected a name that ends in .pen")
    import penlight_export

    with report_of_failure(report, [source, pen]), stage_bar("convert"):
        result = penlight_export.convert(
            source, pen, verify=verify, passes=chosen_passes(passes, optimize), max_string_bytes=max_string_bytes
        )
    entry = written(pen)
    text = result.report.to_text() + "\n"
    data = {"source": str(source), "written": entry, "report": result.report.to_json()}
    if report is not None:
        text += written_line(write_report(report, result.report, [source, pen])) + "\n"
    return Result(data, text + written_line(entry, f"penlight inspect {pen}"))
