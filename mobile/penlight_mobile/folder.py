# SPDX-License-Identifier: Apache-2.0
"""The output folder: only ours is overwritten, each file at once or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penlight.errors import SaveError
from penlight.serialize import atomic_write
from penlight_mobile.errors import ForeignFolderError

MANIFEST = "penlight-package.json"


def write(folder: Path, target: str, files: Mapping[str, bytes]) -> None:
    """Writes the files and a manifest, and removes what an earlier package had and this one has not.

    Raises:
        ForeignFolderError: the folder is not empty and has no manifest of ours, or is no folder.
        SaveError: the disk is full or the folder cannot be written.
    """
    old = _previous(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SaveError(f"package: cannot make the folder {folder}: {error.strerror}") from error
    # Files first listed, then written: a package that was cut short is still recognised as ours.
    atomic_write(folder / MANIFEST, _manifest(target, sorted({*old, *files})))
    for name, data in files.items():
        atomic_write(folder / name, data)
    for name in old - files.keys():
        (folder / name).unlink(missing_ok=True)
    atomic_write(folder / MANIFEST, _manifest(target, sorted(files)))


def _manifest(target: str, names: list[str]) -> bytes:
    return (json.dumps({"written_by": "penlight package", "target": target, "files": names}, indent=2) + "\n").encode()


def _previous(folder: Path) -> set[str]:
    """The names that an earlier package wrote into the folder."""
    if not folder.exists():
        return set()
    if not folder.is_dir():
        raise ForeignFolderError(f"package: {folder} is a file; give a folder")
    if not (folder / MANIFEST).exists():
        if any(folder.iterdir()):
            raise ForeignFolderError(
                f"package: {folder} is not empty and was not written by penlight package; give an empty or a new folder"
            )
        return set()
    return {name for name in _listed(folder / MANIFEST) if name == Path(name).name and name != MANIFEST}


def _listed(path: Path) -> list[str]:
    try:
        manifest: Any = json.loads(path.read_text(encoding="utf-8"))
        return [name for name in manifest["files"] if isinstance(name, str)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ForeignFolderError(f"package: {path} is no manifest of penlight package; give an empty or a new folder") from error
