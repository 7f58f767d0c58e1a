# SPDX-License-Identifier: Apache-2.0
"""The report of a comparison as a file: JSON, or one self-contained page with the graph and the tensors that differ."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from penlight_export.compare import VerifyReport
from penlight_export.errors import OptionError
from penlight_export.inspection import graph_facts
from penlight_export.page.document import plain, write_page
from penlight_export.structure import Structure, read_structure

SCHEMA = "penlight.verify-report/1"


def report_file(report: VerifyReport, models: Sequence[str | os.PathLike[str]], path: str | os.PathLike[str]) -> bytes:
    """The content of a report file, by its suffix .html or .json.

    Args:
        report: from `verify`, `convert` or `export`, also from the error of one that failed.
        models: what was compared, the reference first; the graph is that of the last one that is a model file, or of
            a failed export the one that the report holds.
        path: where it will be written.

    Raises:
        OptionError: another suffix.
    """
    names = [Path(model).name for model in models]
    if check_report_suffix(path) == ".json":
        return json.dumps(plain({"schema": SCHEMA, "models": names, **report.to_json()}), indent=1, allow_nan=False).encode()
    data = {"models": names, "report": report.to_json(), "plots": report.plots, **_graph(report, models)}
    return write_page(f"{' and '.join(names)} - Penlight", "verify", data)


def check_report_suffix(path: str | os.PathLike[str]) -> str:
    """The suffix of a report file.

    Raises:
        OptionError: it is neither .html nor .json.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in (".html", ".json"):
        raise OptionError(f"report {os.fspath(path)}: expected a name that ends in .html or .json")
    return suffix


def _graph(report: VerifyReport, models: Sequence[str | os.PathLike[str]]) -> dict[str, Any]:
    """The graph in which the value that differs can be pointed at."""
    files = [model for model in models if Path(model).suffix.lower() in (".onnx", ".pen") and Path(model).is_file()]
    if not files and report.structure is None:
        return {"graph": None, "marked": None}
    structures = [report.structure] if report.structure else [read_structure(file) for file in reversed(files)]
    value = None if report.divergence is None else report.divergence.value
    found = next(((s, place) for s in structures if (place := _producer(s, value)) is not None), (structures[0], None))
    return {"graph": graph_facts(found[0]), "marked": found[1]}


def _producer(structure: Structure, value: str | None) -> int | None:
    names = {structure.values[k].name: number for number, node in enumerate(structure.nodes) for k in node.outputs if k >= 0}
    return None if value is None else names.get(value)
