# SPDX-License-Identifier: Apache-2.0
"""The inference benchmark runs, compares the engines' results, and writes what it measured."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime")
SCRIPT = Path(__file__).with_name("inference.py")


def test_a_short_race_writes_its_results(tmp_path):
    output = tmp_path / "inference.json"
    arguments = ["--models", "mlp", "--threads", "1", "--engines", "penlight", "onnxruntime", "--rounds", "2", "--seconds", "0.01"]
    done = subprocess.run([sys.executable, SCRIPT, *arguments, "--output", output], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(output.read_text())
    (row,) = report["rows"]
    assert (row["model"], row["threads"], row["goal"]) == ("mlp", 1, 0.65)
    ours, peer = row["wall_ms"]["penlight"], row["wall_ms"]["onnxruntime"]
    assert ours > 0 and row["wall_ratio"] == pytest.approx(ours / peer, abs=0.05 + 0.05 * ours / peer)
    assert row["sum_of_magnitudes"]["penlight"] == pytest.approx(row["sum_of_magnitudes"]["onnxruntime"], rel=1e-4)
    assert report["peers"].keys() == {"onnxruntime"}
    assert {"date", "commit", "cpu", "versions", "load_average"} <= report.keys()
    assert "mlp" in done.stdout and "geometric mean" in done.stdout
