# SPDX-License-Identifier: Apache-2.0
"""The export benchmark runs at a small size and writes what it measured."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("export.py")


def test_small_chains_write_their_results(tmp_path):
    output = tmp_path / "export.json"
    arguments = [
        "--nodes",
        "40",
        "80",
        "--rounds",
        "1",
        "--no-peers",
        "--megabytes",
        "0",
        "--models",
        "bert-written-out-17",
        "--output",
        output,
    ]
    done = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(output.read_text())
    assert [row["nodes"] for row in report["rows"]] == [40, 80]
    assert all(row["total"] > 0 and row["convert"] > 0 for row in report["rows"])
    assert "growth 40 to 80" in done.stdout
    (model,) = report["models"]
    assert model["after"]["pen_nodes"] < model["after"]["onnx_nodes"] < model["before"]["onnx_nodes"]
    assert set(report["peers"]) == {"onnxscript", "onnxslim"}
