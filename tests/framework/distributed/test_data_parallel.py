# SPDX-License-Identifier: Apache-2.0
"""Two ranks train as one process does: the same bits in a fixed order of additions, else to rounding."""

import os
from pathlib import Path

import numpy as np
import pytest
from cli_runner import in_shell
from data_parallel_case import STEPS, Net, new_net, train_alone
from ranks import SCRIPTS, require_mpi

from penlight.train import load_checkpoint

require_mpi()
SUPPORT = Path(__file__).parents[2] / "support"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two_ranks")
    path = os.pathsep.join(filter(None, [str(SUPPORT), os.environ.get("PYTHONPATH")]))
    outcome = in_shell("launch", "-n", 2, SCRIPTS / "data_parallel.py", folder, PYTHONPATH=path)
    assert outcome.code == 0 and outcome.out.count("ok") == 2, outcome.out + outcome.err
    return folder


def weights(folder):
    model = Net()
    assert load_checkpoint(folder, model).step == STEPS  # of a group, read by one process
    return {name: value.numpy(force=True) for name, value in model.state_dict().items()}


def test_deterministic_ranks_equal_one_process_bit_for_bit(folder):
    ours, alone = weights(folder / "ordered"), train_alone()
    assert ours.keys() == alone.keys()
    for name, expected in alone.items():
        assert ours[name].tobytes() == expected.tobytes(), name


def test_free_order_equals_one_process_to_rounding(folder):
    ours, alone = weights(folder / "free"), train_alone()
    for name, expected in alone.items():
        np.testing.assert_allclose(ours[name], expected, rtol=0, atol=1e-6, err_msg=name)


def test_training_moved_every_weight_that_has_a_gradient():
    before, after = new_net().state_dict(), train_alone()
    unchanged = {name for name, value in before.items() if np.array_equal(value.numpy(force=True), after[name])}
    assert unchanged == {"never.weight", "never.bias", "scale"}
