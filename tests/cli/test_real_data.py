# SPDX-License-Identifier: Apache-2.0
"""The recipe for text on a text that people know; skipped where it is not beside the checkout."""

from pathlib import Path

import pytest
from cli_runner import in_shell

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"

pytestmark = pytest.mark.slow


@pytest.mark.skipif(not (DATA / "tinyshakespeare").exists(), reason="needs a text")
def test_char_gpt_learns_shakespeare_and_writes_the_same_on_the_edge(tmp_path):
    text = DATA / "tinyshakespeare" / "input.txt"
    outcome = in_shell("train", "char-gpt", "--data", text, "--out", tmp_path / "run", "--json", timeout=3600)
    assert outcome.code == 0, outcome.err  # a text that differs between eager mode and the edge runtime is an error
    last = outcome.json["history"][-1]
    assert last["validation_loss"] <= 2.0
    assert len(outcome.json["sample"]) > 200
