# SPDX-License-Identifier: Apache-2.0
"""The cross compiler: Zig's clang, which pip installs and which brings the C and C++ libraries of its targets along."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from penlight_mobile.errors import CompilerFailedError, MissingCompilerError

# The first run for a target builds its C library, on a slow machine for minutes.
_TIMEOUT_SECONDS = 900


def zig() -> list[str]:
    """The command that starts Zig: of the package ziglang, else of the PATH.

    Raises:
        MissingCompilerError: there is neither.
    """
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang"]
    path = shutil.which("zig")
    if path is None:
        raise MissingCompilerError("package: this target is compiled by Zig, which is not installed; pip install 'penlight[cross]'")
    return [path]


def compile_cxx(folder: Path, target: str, arguments: Sequence[str]) -> None:
    """Runs `zig c++ -target TARGET ARGUMENTS` in the folder.

    Raises:
        MissingCompilerError: Zig is not installed.
        CompilerFailedError: it failed or hung; the message holds the first lines that it printed.
    """
    command = [*zig(), "c++", "-target", target, *arguments]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise CompilerFailedError(f"package: Zig did not end within {_TIMEOUT_SECONDS} s for {target}") from error
    if done.returncode != 0:
        said = "; ".join(done.stderr.strip().splitlines()[:3])
        raise CompilerFailedError(f"package: Zig failed for {target} with exit code {done.returncode}: {said}")
