# SPDX-License-Identifier: Apache-2.0
"""Several batches per step in several ranks: the same as one process, and exact after a stop in the middle of a step."""

import json
import os
from pathlib import Path

import numpy as np
from accumulate_case import make_trainer
from cli_runner import in_shell
from ranks import SCRIPTS, require_mpi

require_mpi()
SUPPORT = Path(__file__).parents[2] / "support"


def test_two_ranks_accumulate_as_one_process(tmp_path):
    path = os.pathsep.join(filter(None, [str(SUPPORT), os.environ.get("PYTHONPATH")]))
    outcome = in_shell("launch", "-n", 2, SCRIPTS / "accumulate.py", tmp_path, PYTHONPATH=path)
    assert outcome.code == 0, outcome.out + outcome.err
    found = [json.loads((tmp_path / f"weights{rank}.json").read_text()) for rank in range(2)]
    alone = make_trainer(None)
    alone.fit()
    assert found[0] == found[1]
    np.testing.assert_allclose(found[0], alone.model.weight.tolist(), rtol=1e-5, atol=1e-6)
