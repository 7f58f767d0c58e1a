# SPDX-License-Identifier: Apache-2.0
"""What every test shares: one thread per numeric library, and random numbers that do not depend on the tests before it."""

import os
import random
import sys

import pytest

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before NumPy is imported


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Seeds what a test or its fixtures draw without a seed of their own; which files share a process is up to chance."""
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "penlight" in sys.modules:
        sys.modules["penlight"].manual_seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].default_generator.manual_seed(0)  # torch.manual_seed reads the source of every caller
