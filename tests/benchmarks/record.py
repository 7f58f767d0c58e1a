# SPDX-License-Identifier: Apache-2.0
"""What every benchmark's figures depend on, and the file they go to."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def commit_of(folder: Path) -> str:
    """The commit that a checkout stands at; empty outside of one."""
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def machine(*packages: str) -> dict[str, Any]:
    """Date, commit, processor, load, and versions of Python and of `packages`."""
    from penlight import _native

    cpu = next((line.split(": ")[1] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "?")
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": commit_of(Path(__file__).parent),
        "cpu": cpu,
        "cpus": len(os.sched_getaffinity(0)),
        "instruction_set": _native.instruction_set(),
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {package: importlib.metadata.version(package) for package in packages},
    }


def save(path: Path, report: dict[str, Any]) -> None:
    """Writes a report where the next release's figures are compared with it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")
