# SPDX-License-Identifier: Apache-2.0
"""`penlight inspect`: what is in a model file."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from penlight_cli.errors import UsageProblem
from penlight_cli.files import existing_file, named, written, written_line
from penlight_cli.output import Result


def inspect(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A .onnx or .pen file.")],
    tree: Annotated[bool, typer.Option("--tree/--no-tree", help="List the layers.")] = True,
    method: Annotated[str | None, typer.Option(help="Which method of a .pen file with several; the first by default.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with the graph, the memory plan and the weights instead.")] = None,
    measure: Annotated[bool, typer.Option("--measure", help="Time every node for the page.")] = False,
    profile: Annotated[Path | None, typer.Option(help="Times for the page, from 'penlight bench --profile'.")] = None,
) -> Result:
    """The file is checked as before every run: a damaged one is refused. Sizes that vary are shown by name; MACs and arena hold
    for the sizes that the file was exported with. The page is one file, opens in any browser and needs no network.

    Example: penlight inspect run/model.pen

    Example: penlight inspect run/model.pen --html model.html --measure
    """
    existing_file(model, "model")
    if html is None and (measure or profile):
        raise UsageProblem("--measure and --profile are for the page: add --html OUT.html")
    if html is not None:
        return _write_page(model, html, measure, profile, method)
    import penlight_export

    with named(model):
        summary = penlight_export.summarize(model, method)
    shown = summary if tree else replace(summary, tree=[])
    return Result(shown.to_json(), shown.to_text())


def _write_page(model: Path, html: Path, measure: bool, profile: Path | None, method: str | None) -> Result:
    if html.suffix.lower() not in {".html", ".htm"}:
        raise UsageProblem(f"--html {html}: expected a name that ends in .html")
    from penlight.serialize import atomic_write
    from penlight_export.inspection import inspect_page
    from penlight_export.profiling import read_profile

    with named(model):
        times = None if profile is None else read_profile(existing_file(profile, "profile"))
        atomic_write(html, inspect_page(model, profile=times, measure=measure, method=method))
    entry = written(html)
    return Result({"model": str(model), "written": entry}, written_line(entry))
