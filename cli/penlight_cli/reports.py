# SPDX-License-Identifier: Apache-2.0
"""Reports of comparisons as files, for the commands that compare: written also when the comparison fails."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from penlight_cli.files import written
from penlight_cli.output import log


def write_report(path: Path, report: Any, models: Sequence[str | Path]) -> dict[str, Any]:
    """Writes .html or .json; what `files.written` says of it."""
    from penlight.serialize import atomic_write
    from penlight_export.report_page import report_file

    return written(atomic_write(path, report_file(report, models, path)))


@contextlib.contextmanager
def report_of_failure(path: Path | None, models: Sequence[str | Path]) -> Iterator[None]:
    """Checks the report's name at once, and writes the report if the engines disagree in the block."""
    from penlight_export.errors import VerifyError
    from penlight_export.report_page import check_report_suffix

    if path is not None:
        check_report_suffix(path)
    try:
        yield
    except VerifyError as error:
        found = getattr(error, "report", None)
        if path is not None and found is not None:
            log(f"the report is in {write_report(path, found, models)['path']}")
        raise
