# SPDX-License-Identifier: Apache-2.0
"""The peak benchmark runs and writes what it measured."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("peak.py")


@pytest.mark.skipif(shutil.which("cc") is None, reason="the peak is measured by a few lines of C")
def test_a_short_run_writes_its_results(tmp_path):
    output = tmp_path / "peak.json"
    arguments = ["--kernels", "depthwise5_14", "conv1x1_7", "--seconds", "0.01", "--output", output]
    done = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(output.read_text())
    assert [row["kernel"] for row in report["rows"]] == ["depthwise5_14", "conv1x1_7"]
    assert all(0 < row["fraction"] == pytest.approx(row["gflops"] / row["peak_gflops"], abs=0.01) for row in report["rows"])
    assert "of the peak" in done.stdout
