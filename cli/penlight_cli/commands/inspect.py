# SPDX-License-Identifier: Apache-2.0
"""`penlight inspect`: what is in a model file."""

from pathlib import Path
from typing import Annotated, Any

import typer

from penlight_cli.files import existing_file
from penlight_cli.output import Result


def inspect(
    model: Annotated[Path, typer.Argument(help="A .onnx or .pen file.")],
    tree: Annotated[bool, typer.Option("--tree/--no-tree", help="List the layers.")] = True,
) -> Result:
    """The file is read and checked, but not run: a .pen file is verified as it is before every run.

    Example: penlight inspect run/model.pen
    """
    existing_file(model, "model")
    import penlight_export

    summary = penlight_export.summarize(model)
    data = summary.to_json()
    return Result({"path": str(model), **data}, _text(model, data, summary.tree if tree else []))


def _text(model: Path, data: dict[str, Any], tree: Any) -> str:
    return f"{model}\n{data}\n{tree}"
