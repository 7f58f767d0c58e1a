# SPDX-License-Identifier: Apache-2.0
"""`penlight explain`: what an error code means and what to do."""

import importlib
import inspect
from typing import Annotated, Any

import typer

from penlight_cli.errors import UsageProblem
from penlight_cli.output import Result, did_you_mean, table

# Each package declares its errors in one module; the packages below the command line cannot import each other.
PACKAGES = ("penlight", "penlight_export", "penlight_runtime", "penlight_serving", "penlight_cli", "penlight_mobile")


def explain(
    code: Annotated[str | None, typer.Argument(help="A code such as PL-E1001; without one, all are listed.")] = None,
) -> Result:
    """The code stands in front of every error message, on the command line, in Python (`error.code`) and over HTTP.

    Example: penlight explain PL-E1001
    """
    classes = error_classes()
    if code is None:
        rows = [(name, kind.exit_code, first_line(kind)) for name, kind in classes.items()]
        entries = [{"code": name, "exit_code": exit_code, "summary": line} for name, exit_code, line in rows]
        return Result({"codes": entries}, table(["Code", "Exit", "Meaning"], rows))
    kind = classes.get(code.upper())
    if kind is None:
        raise UsageProblem(
            f"no error has the code {code!r}{did_you_mean(code.upper(), classes)}; 'penlight explain' lists them all"
        )
    text = inspect.getdoc(kind) or ""
    data = {"code": kind.code, "name": kind.__name__, "exit_code": kind.exit_code, "explanation": text}
    return Result(data, f"{kind.code} {kind.__name__} (exit code {kind.exit_code})\n\n{text}")


def error_classes() -> dict[str, Any]:
    """Every error class by its code, in the order of the codes; a subclass without its own code shares its parent's."""
    found: dict[str, Any] = {}
    for package in PACKAGES:
        module = importlib.import_module(f"{package}.errors")
        for kind in list(vars(module).values()):
            if inspect.isclass(kind) and str(vars(kind).get("code", "")).startswith("PL-E"):
                found.setdefault(vars(kind)["code"], kind)
    return dict(sorted(found.items()))


def first_line(kind: Any) -> str:
    """The first sentence of the explanation."""
    words = " ".join((inspect.getdoc(kind) or "").split())
    return words.split(". ")[0].rstrip(".") + "."
