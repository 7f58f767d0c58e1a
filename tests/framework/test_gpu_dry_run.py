# SPDX-License-Identifier: Apache-2.0
"""The GPU tests and benchmarks themselves, run on the CPU: what needs a GPU later must not fail there for a typing error."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from penlight.backends import cuda

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
    assert result["errors"] == {} and result["tests"]["is_whole"] and result["compile"]["modules"] > 100
    assert result["kernels"][0]["kernel"] == "copy" and all(row["seconds"] > 0 for row in result["kernels"])
    assert all(row["reference_seconds"] > 0 for row in result["kernels"][1:])
    assert {row["model"] for row in result["models"]} == {"mlp", "lstm", "resnet20", "gpt2", "resnet50"}
    assert all(row["seconds"] > 0 for row in result["models"])
    assert "sanitizer" not in result


def run(*arguments, **environment):
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=600)


def test_unknown_parts_are_refused():
    done = run("--parts", "tests,nothing")
    assert done.returncode == 2 and "unknown part nothing; there are compile, tests, kernels" in done.stderr


def test_without_a_gpu_it_says_so():
    if cuda.is_available():
        pytest.skip("there is a GPU")
    done = run()
    assert done.returncode == 4 and "Traceback" not in done.stderr
    assert done.stderr.startswith("run_all: no GPU can be used here, so nothing was run.\ncuda: ")


def test_one_failure_costs_no_other_part(tmp_path):
    """A broken part, one without time, and an older file with parts that do not run again."""
    (tmp_path / "gpu.json").write_text('{"models": [{"model": "old"}]}')
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").write_text("raise OSError('torn')")
    done = run("--on", "cpu", "--parts", "products", OUT=str(tmp_path), PYTHONPATH=str(tmp_path))
    result = json.loads((tmp_path / "gpu.json").read_text())
    assert done.returncode == 1 and result["models"] == [{"model": "old"}] and result["products"] == []
    assert result["errors"] == {"products": "RuntimeError: exit code 1; its last words are in the log"} and "torn" in done.stderr
    done = run("--on", "cpu", "--parts", "tests,steps", "--seconds", "0", OUT=str(tmp_path))
    assert json.loads((tmp_path / "gpu.json").read_text())["errors"] == dict.fromkeys(("tests", "steps"), "no time was left")


def test_a_row_that_fails_holds_its_error(monkeypatch, capsys):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    import gpu_benchmarks  # lies beside the script

    row = gpu_benchmarks.measured({"kernel": "gelu"}, lambda row: 1 / 0)
    assert row == {"kernel": "gelu", "error": "ZeroDivisionError: division by zero"} and "1 / 0" in capsys.readouterr().err
