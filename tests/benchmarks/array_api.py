# SPDX-License-Identifier: Apache-2.0
"""Runs the public suite data-apis/array-api-tests on penlight.array_api and records the result.

git clone https://github.com/data-apis/array-api-tests && cd array-api-tests && git submodule update --init
pip install hypothesis ndindex pytest pytest-json-report
python tests/benchmarks/array_api.py PATH/TO/array-api-tests [--max-examples 100]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import record

RESULT = record.RESULTS / "array_api.json"
VERSION = "2024.12"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", type=Path)
    parser.add_argument("--max-examples", type=int, default=100)
    parser.add_argument("--module", default="penlight.array_api")
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    report = run(options)
    print(json.dumps(report, indent=1))
    record.save(options.output, report)
    return 0


def run(options: argparse.Namespace) -> dict:
    """Runs the suite once and returns what the result file holds."""
    settings = {"ARRAY_API_TESTS_MODULE": options.module, "ARRAY_API_TESTS_VERSION": VERSION, "OPENBLAS_NUM_THREADS": "1"}
    arguments = ["array_api_tests/", "--max-examples", str(options.max_examples), "--disable-deadline", "-q", "-p", "no:warnings"]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", *arguments, f"--junitxml={report}"]
        start = time.monotonic()
        subprocess.run(command, cwd=options.suite, env={**os.environ, **settings}, check=False)
        seconds = round(time.monotonic() - start)
        cases = list(ET.parse(report).getroot().iter("testcase"))
    return {
        "suite": "data-apis/array-api-tests",
        "suite_commit": record.commit_of(options.suite),
        "specification_commit": record.commit_of(options.suite / "array-api"),
        "command": " ".join([*(f"{k}={v}" for k, v in settings.items()), "pytest", *arguments]),
        "standard": VERSION,
        **record.machine("numpy", "hypothesis", "pytest", "ndindex"),
        "seconds": seconds,
        **outcome(cases),
    }


def outcome(cases: list) -> dict:
    """Counts, failures with their first line, and reasons of the skipped."""
    failed = {name(c): first_line(c.find("failure")) for c in cases if c.find("failure") is not None}
    failed |= {name(c): first_line(c.find("error")) for c in cases if c.find("error") is not None}
    skipped = {name(c): first_line(c.find("skipped")) for c in cases if c.find("skipped") is not None}
    return {
        "collected": len(cases),
        "passed": len(cases) - len(failed) - len(skipped),
        "failed": len(failed),
        "skipped": len(skipped),
        "failures": failed,
        "skips": skipped,
        "skip_reasons": dict(Counter(skipped.values())),
    }


def name(case: ET.Element) -> str:
    return f"{case.get('classname', '').removeprefix('array_api_tests.')}::{case.get('name')}"


def first_line(element: ET.Element) -> str:
    return (element.get("message") or "").splitlines()[0][:200]


if __name__ == "__main__":
    sys.exit(main())
