# SPDX-License-Identifier: Apache-2.0
"""One short training run and one quickstart, shared by the tests of the command line."""

import pytest
from cli_runner import in_shell


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The folder of a finished run of digits-cnn, two epochs, and what the command said."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    outcome = in_shell("train", "digits-cnn", "--out", folder, "--epochs", 2, "--batch-size", 64, "--json")
    assert outcome.code == 0, outcome.err
    return folder, outcome


@pytest.fixture(scope="session")
def quickstarted(tmp_path_factory):
    """The folder of a whole quickstart, and what the command said."""
    folder = tmp_path_factory.mktemp("cli") / "quickstart"
    outcome = in_shell("quickstart", "--out", folder, "--json")
    assert outcome.code == 0, outcome.err
    return folder, outcome
