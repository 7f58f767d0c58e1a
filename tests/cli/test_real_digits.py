# SPDX-License-Identifier: Apache-2.0
"""The recipe for images on MNIST; skipped where it is not beside the checkout. A file of its own: another worker may take it."""

from pathlib import Path

import pytest
from cli_runner import in_shell

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"

pytestmark = pytest.mark.slow


@pytest.mark.skipif(not (DATA / "mnist10k").exists(), reason="needs idx files of MNIST")
def test_mnist_cnn_reads_98_percent_of_a_held_out_fifth(tmp_path):
    outcome = in_shell("train", "mnist-cnn", "--data", DATA / "mnist10k", "--out", tmp_path / "run", "--json", timeout=3600)
    assert outcome.code == 0, outcome.err
    assert outcome.json["history"][-1]["validation_accuracy"] >= 0.98 and outcome.json["report"]["ok"]
