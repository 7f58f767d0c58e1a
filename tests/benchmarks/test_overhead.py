# SPDX-License-Identifier: Apache-2.0
"""The measurement of calls runs and reports; its figures are for the committed results, not for a loaded test machine."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
SCRIPT = Path(__file__).with_name("overhead.py")


def test_a_short_run_writes_every_figure(tmp_path):
    output = tmp_path / "overhead.json"
    arguments = ["--operators", "add", "linear", "--rounds", "1", "--calls", "32", "--imports", "1", "--output", output]
    done = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(output.read_text())
    assert list(report["operators"]) == ["add", "linear"]
    for by in report["operators"].values():
        assert all(by[framework][kind] > 0 for framework in ("penlight", "torch") for kind in ("no_grad", "forward", "backward"))
    assert set(report["imports"]) == {"penlight", "torch", "numpy"}
    assert all(row["seconds"] > 0 and row["mib"] > 1 for row in report["imports"].values())
    assert {"date", "commit", "cpu", "versions"} <= set(report["machine"])
    assert all(line in done.stdout for line in report["slower_than_torch"] + report["goals_missed"])
