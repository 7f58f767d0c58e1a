# SPDX-License-Identifier: Apache-2.0
"""Everything in this folder needs a CUDA device and is skipped without one.

`PENLIGHT_GPU_TESTS_ON=cpu` runs the same tests on the CPU instead: a check of the tests, where there is no GPU.
"""

import os
from pathlib import Path

import pytest

from penlight.backends import cuda

FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items):
    here = [item for item in items if FOLDER in item.path.parents]
    for item in here:
        item.add_marker(pytest.mark.gpu)
    if here and os.environ.get("PENLIGHT_GPU_TESTS_ON", "cuda") == "cuda" and not cuda.is_available():
        for item in here:
            item.add_marker(pytest.mark.skip(reason="no CUDA device, driver or CuPy"))


@pytest.fixture(scope="session")
def gpu():
    """The name of the device under test."""
    return os.environ.get("PENLIGHT_GPU_TESTS_ON", "cuda")
