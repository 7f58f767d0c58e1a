# SPDX-License-Identifier: Apache-2.0
"""Runs scripts in two ranks on this machine, through `penlight launch`."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest
from cli_runner import Outcome, in_shell

SCRIPTS = Path(__file__).parents[1] / "framework/distributed/scripts"


def require_mpi() -> None:
    """Skips a module where two ranks cannot run."""
    pytest.importorskip("mpi4py", reason="needs the extra mpi: mpi4py is not installed")
    if importlib.util.find_spec("mpi4py") and not (Path(sys.executable).with_name("mpiexec").exists() or shutil.which("mpiexec")):
        pytest.skip("needs an mpiexec, such as that of the mpich wheel", allow_module_level=True)


def two_ranks(script: str, *arguments: object) -> Outcome:
    """Runs a script of tests/framework/distributed/scripts in two ranks."""
    return in_shell("launch", "-n", 2, SCRIPTS / script, *arguments)
