# SPDX-License-Identifier: Apache-2.0
"""`penlight operators`: the support table of all operators."""

from typing import Annotated

import typer

from penlight_cli.errors import UsageProblem
from penlight_cli.output import Result, did_you_mean, table


def operators(
    name: Annotated[str | None, typer.Argument(help="One operator; without it, all of them.")] = None,
) -> Result:
    """For each operator its form in ONNX ("composite": written by other operators), the first operator set that has it,
    whether the edge runtime runs it, the dtypes it takes, and the reason where something is missing.

    Example: penlight operators gelu
    """
    from penlight_export.support import support_table  # here: the table imports the framework

    rows = {row.operator: row for row in support_table()}
    if name is not None and name not in rows:
        raise UsageProblem(f"no operator is called {name!r}{did_you_mean(name, rows)}; 'penlight operators' lists them all")
    chosen = list(rows.values()) if name is None else [rows[name]]
    cells = [
        (r.operator, r.onnx, str(r.opset or "-"), "yes" if r.edge else "-", " ".join(r.dtypes) or "-", r.reason) for r in chosen
    ]
    text = table(["Operator", "ONNX", "Opset", "Edge", "Dtypes", "Why not"], cells)
    return Result({"operators": [row.to_json() for row in chosen]}, text)
