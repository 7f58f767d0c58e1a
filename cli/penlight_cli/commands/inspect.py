# SPDX-License-Identifier: Apache-2.0
"""`penlight inspect`: what is in a model file."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from penlight_cli.files import existing_file, named
from penlight_cli.output import Result


def inspect(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A .onnx or .pen file.")],
    tree: Annotated[bool, typer.Option("--tree/--no-tree", help="List the layers.")] = True,
) -> Result:
    """The file is checked as before every run: a damaged one is refused. Sizes that vary are shown by name; MACs and arena hold
    for the sizes that the file was exported with.

    Example: penlight inspect run/model.pen
    """
    existing_file(model, "model")
    import penlight_export

    with named(model):
        summary = penlight_export.summarize(model)
    shown = summary if tree else replace(summary, tree=[])
    return Result(shown.to_json(), shown.to_text())
