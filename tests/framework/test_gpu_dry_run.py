# SPDX-License-Identifier: Apache-2.0
"""The GPU tests and benchmarks themselves, run on the CPU: what needs a GPU later must not fail there for a typing error."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "gpu/run_all.py"


@pytest.mark.slow
def test_run_all_on_the_cpu(tmp_path):
    command = [sys.executable, str(SCRIPT), "--on", "cpu"]
    done = subprocess.run(
        command, env={**os.environ, "OUT": str(tmp_path), "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "gpu.json").read_text())
    assert result["tests"]["tests"] > 1000 and result["tests"]["failed"] == []
    assert {row["model"] for row in result["steps"]} == {"perceptron", "normalised", "convolutional"}
    assert all(row["seconds"] > 0 and row["reference_seconds"] > 0 for row in result["kernels"])
    assert {row["model"] for row in result["models"]} == {"mlp", "lstm", "resnet20", "gpt2", "resnet50"}
    assert all(row["seconds"] > 0 for row in result["models"])
    assert "sanitizer" not in result


def test_unknown_parts_are_refused():
    done = subprocess.run([sys.executable, str(SCRIPT), "--parts", "tests,nothing"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "unknown part nothing; there are tests, sanitizer, kernels" in done.stderr
