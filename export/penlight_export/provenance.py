# SPDX-License-Identifier: Apache-2.0
"""Where a model came from: entries for its metadata, without clocks or paths, so that the same model gives the same bytes."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
from pathlib import Path


@functools.lru_cache(maxsize=1)
def producer() -> dict[str, str]:
    """Name and version of what writes the file."""
    try:
        version = importlib.metadata.version("penlight")
    except importlib.metadata.PackageNotFoundError:  # a source tree without installation
        version = "0+source"
    return {"producer": f"penlight {version}"}


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
