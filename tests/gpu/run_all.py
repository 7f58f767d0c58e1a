#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Everything that wants a GPU in one call: the tests of this folder, then times, written to one JSON file.

    python tests/gpu/run_all.py [--output FILE] [--on cuda|cpu] [--parts tests,sanitizer,models,...] [--no-compile]

The file is $OUT/gpu.json where OUT is set, else tests/benchmarks/results/gpu.json. `--on cpu` is a dry run with tiny sizes.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
sys.path.insert(0, str(FOLDER))
PARTS = ("tests", "sanitizer", "kernels", "products", "steps", "models")


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


def run_sanitizer() -> dict[str, Any]:
    """What compute-sanitizer says of the block kernels' tests; None as exit code where it is not installed."""
    program = shutil.which("compute-sanitizer")
    if program is None:
        return {"exit_code": None}
    tests = "softmax or layer_norm or cross_entropy or attention or conv2d or batch_norm or embedding"
    command = [program, "--error-exitcode", "3", sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", tests]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [*command, str(FOLDER / "test_gpu_operators.py")], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    return {"exit_code": done.returncode, "summary": [line for line in done.stdout.splitlines() if "ERROR SUMMARY" in line]}


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


def run_benchmarks(place: str, parts: tuple[str, ...], compiles: bool) -> dict[str, Any]:
    """The rows of gpu_benchmarks.py and step_benchmarks.py, printed as they come."""
    import gpu_benchmarks  # imports penlight, and needs the device
    import step_benchmarks

    there = gpu_benchmarks.Place(place)
    results: dict[str, Any] = {"torch": there.torch.__version__ if there.torch is not None else None}
    makers = {name: getattr(gpu_benchmarks, name) for name in ("kernels", "products", "steps")}
    makers["models"] = lambda there: step_benchmarks.steps(there, compiles)
    for name, make in makers.items():
        if name not in parts:
            continue
        results[name] = []
        for row in make(there):
            print(json.dumps(row), flush=True)
            results[name].append(row)
    return results


def _parts(text: str) -> tuple[str, ...]:
    chosen = tuple(text.split(","))
    if unknown := set(chosen) - set(PARTS):
        raise argparse.ArgumentTypeError(f"unknown part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return chosen


def main() -> int:
    """The command line; 0 when every test passed and every time was taken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--output", type=Path, default=default_output())
    parser.add_argument("--on", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--parts", type=_parts, default=PARTS, help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile, which takes minutes")
    options = parser.parse_args()
    result = describe(options.on)
    if "tests" in options.parts:
        result["tests"] = run_tests(options.on)
    if "sanitizer" in options.parts and options.on != "cpu":
        result["sanitizer"] = run_sanitizer()
    result.update(run_benchmarks(options.on, options.parts, not options.no_compile))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {options.output}")
    return result.get("tests", {}).get("exit_code", 0)


if __name__ == "__main__":
    sys.exit(main())
