# SPDX-License-Identifier: Apache-2.0
"""The training benchmark runs, compares the losses, and writes what it measured."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
SCRIPT = Path(__file__).with_name("train.py")


def test_a_short_race_writes_its_results(tmp_path):
    output = tmp_path / "train.json"
    arguments = ["--models", "tiny_mlp", "--threads", "1", "--engines", "penlight", "torch", "--rounds", "2", "--seconds", "0.01"]
    done = subprocess.run([sys.executable, SCRIPT, *arguments, "--output", output], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(output.read_text())
    (row,) = report["rows"]
    assert row["model"] == "tiny_mlp" and row["threads"] == 1 and row["goal"] == 0.6
    assert row["steps"]["penlight"] >= 6 and row["wall_ms"]["torch"] > 0
    assert row["wall_ratio"] == pytest.approx(row["wall_ms"]["penlight"] / row["wall_ms"]["torch"], rel=1e-3)
    assert row["first_losses"]["penlight"] == pytest.approx(row["first_losses"]["torch"], rel=1e-4)
    assert report["geometric_mean"] == {"1": row["wall_ratio"]}
    assert {"date", "commit", "cpu", "versions", "load_average"} <= report.keys()
    assert "tiny_mlp" in done.stdout and "geometric mean" in done.stdout
