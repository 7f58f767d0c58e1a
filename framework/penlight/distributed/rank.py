# SPDX-License-Identifier: Apache-2.0
"""What `penlight launch` starts in each rank: `python -m penlight.distributed.rank (-m MODULE | SCRIPT) ARGUMENTS...`.

It runs the script as `__main__`. When the script raises or exits with another code than 0, all ranks end, and the launcher
hears over a Unix socket which rank was first and why; a socket that closes without a word means that the process died.
"""

from __future__ import annotations

import contextlib
import io
import os
import runpy
import socket
import sys
import traceback
from collections.abc import Callable, Sequence

from penlight.distributed import group

SOCKET_VARIABLE = "PENLIGHT_LAUNCH_SOCKET"
DONE = "done"


def main(arguments: Sequence[str]) -> int:
    """Runs the script or module of this rank; returns its exit code where this process is alone."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # all ranks write to one pipe: whole lines, or their parts mix
        sys.stdout.reconfigure(line_buffering=True, write_through=False)
    rank = group.launched_rank()
    report = _reporter(os.environ.get(SOCKET_VARIABLE))
    report(f"{rank} {os.getpid()}")
    code, reason = _run(arguments)
    if code:
        report(f"{code} {reason}")
        group.abort(code)
    else:
        report(DONE)
    return code


def _reporter(path: str | None) -> Callable[[str], None]:
    """Returns a function that sends a line to the launcher; a rank on another machine has none and says nothing."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path or "")
    except OSError:
        connection.close()
        return lambda line: None

    def send(line: str) -> None:
        with contextlib.suppress(OSError):  # the launcher is gone; the work matters more
            connection.sendall(line.replace("\n", " ").encode() + b"\n")

    return send


def _run(arguments: Sequence[str]) -> tuple[int, str]:
    """The exit code, and for one that is not 0 the reason in a line."""
    is_module = arguments[0] == "-m"
    target, rest = (arguments[1], arguments[2:]) if is_module else (arguments[0], arguments[1:])
    sys.argv = [target, *rest]
    try:
        if is_module:
            runpy.run_module(target, run_name="__main__", alter_sys=True)
        else:
            sys.path.insert(0, os.path.dirname(os.path.abspath(target)))
            runpy.run_path(target, run_name="__main__")
    except SystemExit as stop:
        return _exit_code(stop.code)
    except KeyboardInterrupt:
        return 130, "KeyboardInterrupt"
    except BaseException as error:
        traceback.print_exc()
        return int(getattr(error, "exit_code", 1)) or 1, f"{type(error).__name__}: {error}"
    return 0, ""


def _exit_code(code: object) -> tuple[int, str]:
    """As Python does: None is 0, a text is printed and counts as 1."""
    if code is None or isinstance(code, int):
        return int(code or 0), f"exit code {code}"
    print(code, file=sys.stderr)
    return 1, str(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
