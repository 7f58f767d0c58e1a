#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Everything that wants a GPU in one call: the tests of this folder, then times, written to one JSON file.

    python tests/gpu/run_all.py [--output FILE] [--on cuda|cpu] [--no-tests]

The file is $OUT/gpu.json where OUT is set, else tests/benchmarks/results/gpu.json. `--on cpu` is a dry run with tiny sizes.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
sys.path.insert(0, str(FOLDER))


def default_output() -> Path:
    """Where the result goes when nobody says."""
    folder = os.environ.get("OUT")
    return Path(folder) / "gpu.json" if folder else ROOT / "tests/benchmarks/results/gpu.json"


def run_tests(place: str) -> dict[str, Any]:
    """Counts of the tests in this folder and the names of those that failed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        environment = {**os.environ, "PENLIGHT_GPU_TESTS_ON": place, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(FOLDER), f"--junitxml={report}"]
        code = subprocess.run(command, cwd=ROOT, env=environment).returncode
        # The file is pytest's own, written a moment ago.
        suite = xml.etree.ElementTree.parse(report).getroot().find("testsuite") if report.exists() else None
        if suite is None:
            return {"exit_code": code}
        failed = [
            case.get("name")
            for case in suite.iter("testcase")
            if case.find("failure") is not None or case.find("error") is not None
        ]
        return {
            "exit_code": code,
            **{key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")},
            "failed": failed,
        }


def describe(place: str) -> dict[str, Any]:
    """Date, commit, GPU and versions."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    facts: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit or None,
        "python": sys.version.split()[0],
        "device": place,
    }
    if place == "cpu":
        return facts
    import cupy  # optional dependency

    properties = cupy.cuda.runtime.getDeviceProperties(0)
    facts["gpu"] = properties["name"].decode()
    facts["compute_capability"] = f"{properties['major']}.{properties['minor']}"
    facts["memory_bytes"] = properties["totalGlobalMem"]
    facts["driver"] = cupy.cuda.runtime.driverGetVersion()
    facts["cuda"] = cupy.cuda.runtime.runtimeGetVersion()
    facts["cupy"] = cupy.__version__
    return facts


def run_benchmarks(place: str) -> dict[str, Any]:
    """The rows of gpu_benchmarks.py, printed as they come."""
    import gpu_benchmarks  # imports penlight, and needs the device

    there = gpu_benchmarks.Place(place)
    results: dict[str, Any] = {"torch": there.torch.__version__ if there.torch is not None else None}
    for name, rows in (("kernels", gpu_benchmarks.kernels(there)), ("steps", gpu_benchmarks.steps(there))):
        results[name] = []
        for row in rows:
            print(json.dumps(row), flush=True)
            results[name].append(row)
    return results


def main() -> int:
    """The command line; 0 when every test passed and every time was taken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--output", type=Path, default=default_output())
    parser.add_argument("--on", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--no-tests", action="store_true")
    options = parser.parse_args()
    result = describe(options.on)
    if not options.no_tests:
        result["tests"] = run_tests(options.on)
    result.update(run_benchmarks(options.on))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {options.output}")
    return result.get("tests", {}).get("exit_code", 0)


if __name__ == "__main__":
    sys.exit(main())
