# SPDX-License-Identifier: Apache-2.0
"""What `penlight export` and `penlight convert` share: the choice of passes, and a bar for long work."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from penlight_cli.errors import UsageProblem
from penlight_cli.output import Result, is_terminal, log, progress, settings, table

if TYPE_CHECKING:
    from penlight_export.passes import Pass

LIST = "list"
_LONG_SECONDS = 2  # of work that gets lines in a log


def chosen_passes(names: str | None, optimize: bool) -> tuple[Pass, ...]:
    """The passes of `--passes NAME,NAME` and `--no-opt`; all of them where nothing is said."""
    from penlight_export.passes import DEFAULT, select_passes  # here: a command's help needs no ONNX packages

    if not optimize and names is not None:
        raise UsageProblem("--no-opt and --passes: expected one of them")
    if not optimize:
        return ()
    return DEFAULT if names is None else select_passes([name.strip() for name in names.split(",") if name.strip()])


def listed_passes() -> Result:
    """What `--passes list` prints."""
    from penlight_export.passes import ALL, DEFAULT  # as above
    from penlight_export.passes.selection import slug

    rows: dict[str, tuple[str, str, str, str]] = {}  # a pass with more to do for .pen files is there twice
    for each in ALL:
        where = ".pen" if each.edge_only else ".onnx" if each.onnx_only else ".onnx, .pen"
        what = (sys.modules[type(each).__module__].__doc__ or "").strip().split("\n")[0]
        rows.setdefault(slug(each), (slug(each), where, "yes" if each in DEFAULT else "no", what))
    data = [dict(zip(("name", "formats", "default", "what"), row, strict=True)) for row in rows.values()]
    return Result({"passes": data}, table(["pass", "for", "default", "what it does"], rows.values()))


@contextlib.contextmanager
def stage_bar(title: str) -> Iterator[None]:
    """The stages of a model on stderr: a bar on a terminal, else a line per stage of work that is long; nothing with --json."""
    from penlight_export.stages import STAGES, listening  # as above

    if settings.json:
        yield
        return
    if not is_terminal(sys.stderr):
        with listening(_slow_stages(title)):
            yield
        return
    with (
        progress(len(STAGES), title) as bar,
        listening(lambda name: bar.advance(0, name) if name == STAGES[0] else bar.advance(1, name)),
    ):
        yield


def _slow_stages(title: str) -> Callable[[str], None]:
    """Says which stage begins, once the work has taken a while."""
    started = time.monotonic()

    def say(name: str) -> None:
        seconds = time.monotonic() - started
        if seconds >= _LONG_SECONDS:
            log(f"{title}: {name} (after {seconds:.0f} s)")

    return say
