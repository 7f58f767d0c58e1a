# SPDX-License-Identifier: Apache-2.0
"""The output contract of every command: results on stdout, logs on stderr, one JSON object with `--json`, plain when piped."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

from penlight_cli.failure import Failure


@dataclass
class Settings:
    """What `main` found on the command line before any command was loaded."""

    json: bool = False
    quiet: bool = False
    debug: bool = False
    no_color: bool = False


@dataclass(frozen=True)
class Result:
    """What a command returns: the same facts as an object for machines and as text for people."""

    data: dict[str, Any] = field(default_factory=dict)
    text: str = ""


settings = Settings()


def is_terminal(stream: TextIO) -> bool:
    """True where bars and colours may go: a terminal, unless the environment or an option forbids it."""
    return stream.isatty() and not settings.no_color and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def log(message: str) -> None:
    """Prints one line about the work on stderr; `--quiet` drops it."""
    if not settings.quiet:
        print(message, file=sys.stderr, flush=True)


def print_result(verb: str, result: Result) -> None:
    """Prints the result on stdout, as text or as one JSON object."""
    if settings.json:
        _print_json({"schema": f"penlight.{verb}/1", "ok": True, **result.data})
    elif result.text:
        print(result.text, flush=True)


def print_failure(verb: str, failure: Failure) -> None:
    """Prints one line on stderr; with `--json` also the object on stdout, as after success."""
    if settings.json:
        error = {"code": failure.code, "exit_code": failure.exit_code, "message": failure.message}
        _print_json({"schema": f"penlight.{verb}/1", "ok": False, "error": error, **failure.data})
    elif failure.text:
        print(failure.text, flush=True)
    label = "\x1b[31merror\x1b[0m" if is_terminal(sys.stderr) else "error"
    print(f"{label} {failure.code}: {failure.message}", file=sys.stderr, flush=True)


def _print_json(value: dict[str, Any]) -> None:
    print(json.dumps(_plain(value), ensure_ascii=False, allow_nan=False), flush=True)


def _plain(value: Any) -> Any:
    """JSON has no NaN, infinity, tuples, paths or NumPy scalars."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]], indent: str = "  ") -> str:
    """Returns aligned columns: numbers to the right, text to the left; never cut to a width, so pipes get all of it."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(headers), *cells]) for i in range(len(headers))]
    right = [bool(cells) and all(_is_number(row[i]) for row in cells) for i in range(len(headers))]

    def line(row: Sequence[str]) -> str:
        parts = [cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(row, widths, right, strict=True)]
        return (indent + "  ".join(parts)).rstrip()

    return "\n".join([line(list(headers)), line(["-" * w for w in widths]), *map(line, cells)])


def _is_number(cell: str) -> bool:
    return cell in {"", "-"} or cell[:1].isdigit() or (cell[:1] in "+-." and cell[1:2].isdigit())


class Progress:
    """Progress of long work on stderr: a bar on a terminal, else one line per tenth."""

    def __init__(self, total: int, title: str) -> None:
        self.total, self.title = max(total, 1), title
        self._done, self._tenth = 0, -1  # the first call shows that it runs at all
        self._bar: Any = None

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Counts steps done; `note` holds live figures such as the loss."""
        self._done += steps
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._done, note=note)
            return
        tenth = 10 * self._done // self.total
        if tenth > self._tenth:
            self._tenth = tenth
            log(f"{self.title}: {100 * self._done // self.total:3d} %  {note}".rstrip())


@contextlib.contextmanager
def progress(total: int, title: str) -> Iterator[Progress]:
    """Shows progress while the block runs; nothing is shown with `--quiet`."""
    shown = Progress(total, title)
    if settings.quiet or not is_terminal(sys.stderr):
        yield shown
        return
    # Rich is loaded here, not above: it would double the time of `penlight --help`.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        bar.add_task(title, total=shown.total, completed=0, note="")
        shown._bar = bar
        yield shown


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns " (did you mean 'x'?)" for a near miss, else the empty text."""
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
