# SPDX-License-Identifier: Apache-2.0
"""Paths given on the command line: what must be there, and what was written. Light: needs no NumPy."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from penlight_cli.errors import InputFormat, InputMissing, OutputFailed


def existing_file(path: Path, what: str) -> Path:
    """Returns the path of a file that is there and not empty."""
    if not path.exists():
        raise InputMissing(f"{what} {path}: there is no such file; check the path")
    if path.is_dir():
        raise InputMissing(f"{what} {path}: this is a folder; expected a file")
    if path.stat().st_size == 0:
        raise InputFormat(f"{what} {path}: the file is empty; it was probably cut off while being written or copied")
    return path


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Puts the path in front of an error's message that lacks it: the edge runtime knows bytes, not files."""
    try:
        yield
    except Exception as error:
        if str(path) not in str(error) and len(error.args) == 1 and isinstance(error.args[0], str):
            error.args = (f"model {path}: {error.args[0]}",)
        raise


def new_folder(path: Path) -> Path:
    """Makes a folder for results, with its parents."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputFailed(f"folder {path}: {error.strerror}; choose another place") from error
    return path


def written(path: Path) -> dict[str, Any]:
    """Path, size and SHA-256 of a file just written; every command that writes says so."""
    data = path.read_bytes()
    return {"path": str(path), "size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def written_line(entry: Mapping[str, Any], following: str = "") -> str:
    """The last lines of a command that writes: what, how large, its checksum, and what to do next."""
    line = f"Wrote {entry['path']} ({entry['size_bytes']:,} bytes, sha256 {entry['sha256'][:16]})"
    return f"{line}\nNext: {following}" if following else line
