# SPDX-License-Identifier: Apache-2.0
"""`penlight verify`: the same inputs through two models, and where their numbers part."""

from pathlib import Path
from typing import Annotated

import typer

from penlight_cli.errors import CheckFailed
from penlight_cli.files import existing_file
from penlight_cli.output import Result


def verify(
    first: Annotated[Path, typer.Argument(help="A .onnx or .pen file.")],
    second: Annotated[Path, typer.Argument(help="Another .onnx or .pen file.")],
    data: Annotated[Path | None, typer.Option(help=".npy or .npz inputs; by default seeded random numbers.")] = None,
) -> Result:
    """Exits with 1 when the outputs differ by more than the tolerance, and names the first layer that differs.

    Example: penlight verify model.onnx model.pen --data inputs.npz
    """
    for path in (first, second):
        existing_file(path, "model")
    import penlight_export

    report = penlight_export.verify(first, second, data=_inputs(first, data))
    facts = {"first": str(first), "second": str(second), "report": report.to_json()}
    if not report.ok:
        raise CheckFailed(f"{first} and {second} differ by more than the tolerance", facts, report.to_text())
    return Result(facts, report.to_text())


def _inputs(model: Path, data: Path | None):
    if data is None:
        return None
    from penlight_cli.arrays import Reading, read_inputs
    from penlight_cli.engines import open_model

    return read_inputs([str(data)], open_model(model).inputs, Reading())
