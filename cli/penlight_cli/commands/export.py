# SPDX-License-Identifier: Apache-2.0
"""`penlight export`: the model of a training run as a file for other engines."""

from pathlib import Path
from typing import Annotated

import typer

from penlight_cli.errors import UsageProblem
from penlight_cli.exporting import LIST, chosen_passes, listed_passes, stage_bar
from penlight_cli.files import written, written_line
from penlight_cli.output import Result
from penlight_cli.reports import report_of_failure, write_report


def export(
    folder: Annotated[Path | None, typer.Argument(metavar="RUN", help="The folder of a training run.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="MODEL.onnx or MODEL.pen; RUN/model.pen by default.")
    ] = None,
    opset: Annotated[int, typer.Option(help="ONNX operator set, 17 to 24.")] = 21,
    precision: Annotated[
        str, typer.Option(help="float16 or bfloat16 halve the weights; inputs and outputs stay float32.")
    ] = "float32",
    verify: Annotated[bool, typer.Option("--verify/--no-verify", help="Compare the engines' numbers first.")] = True,
    passes: Annotated[
        str | None,
        typer.Option(help="Only these optimizer passes, or all but some: no-attention,no-dead-code. list: names them."),
    ] = None,
    optimize: Annotated[bool, typer.Option("--opt/--no-opt", help="Optimize the graph, or write what was traced.")] = True,
    functions: Annotated[bool, typer.Option("--functions", help="In .onnx, write each module as a function.")] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="OUT.html|OUT.json", help="Write the comparison, also a failed one.")
    ] = None,
) -> Result:
    """The same inputs go through eager mode, onnxruntime and the edge runtime at two sizes per dynamic dimension; when a
    number differs by more than the tolerance, nothing is written and the exit code is 1.

    Example: penlight export run/ -o digits.onnx
    """
    if passes == LIST:
        return listed_passes()
    if folder is None:
        raise UsageProblem("RUN: expected the folder of a training run, came nothing")
    path = output or folder / "model.pen"
    if path.suffix not in {".onnx", ".pen"}:
        raise UsageProblem(f"output {path}: expected a name that ends in .onnx or .pen")
    from penlight_cli.runs import load_run
    from penlight_cli.training import export_model, trained_model

    run = load_run(folder)
    with report_of_failure(report, [folder, path]), stage_bar("export"):
        chosen = chosen_passes(passes, optimize)
        exported = export_model(
            run, trained_model(run), opset=opset, verify=verify, passes=chosen, precision=precision, functions=functions
        )
    exported.save(path)
    entry, text = written(path), exported.report.to_text() + "\n"
    data = {"source": str(folder), "written": entry, "report": exported.report.to_json()}
    if report is not None:
        text += written_line(write_report(report, exported.report, [folder, path])) + "\n"
    return Result(data, text + written_line(entry, f"penlight inspect {path}"))
