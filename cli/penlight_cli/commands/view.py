# SPDX-License-Identifier: Apache-2.0
"""`penlight view`: a model in Netron."""

import importlib.util
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from penlight_cli.errors import MissingDependency, UsageProblem
from penlight_cli.files import existing_file, named, written, written_line
from penlight_cli.output import Result, log


def view(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A .onnx or .pen file.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Only write MODEL.netron, for a Netron elsewhere.")] = None,
) -> Result:
    """Opens the graph in the browser with Netron, which is not part of Penlight; Ctrl-C ends it. A page of our own, with costs
    and the memory plan, is written by 'penlight inspect MODEL --html OUT.html'.

    Example: penlight view run/model.pen

    Example: penlight view run/model.pen -o model.netron
    """
    existing_file(model, "model")
    if output is not None and output.suffix != ".netron":
        raise UsageProblem(f"output {output}: expected a name that ends in .netron")
    if output is None and importlib.util.find_spec("netron") is None:
        raise MissingDependency(
            f"Netron is not installed: run pip install netron, or write a file for another: penlight view {model} -o OUT.netron"
        )
    from penlight.serialize import atomic_write
    from penlight_export.netron import netron_json

    with named(model):
        content = netron_json(model)
    if output is not None:
        atomic_write(output, content)
        entry = written(output)
        return Result({"model": str(model), "written": entry}, written_line(entry))
    with tempfile.TemporaryDirectory() as folder:
        return _show(atomic_write(Path(folder) / f"{model.name}.netron", content), model)


def _show(path: Path, model: Path) -> Result:
    import netron  # optional: only this verb needs it

    host, port = netron.start(str(path))
    log(f"{model} at http://{host}:{port}; Ctrl-C ends it")
    netron.wait()
    return Result({"model": str(model), "address": f"http://{host}:{port}"})
