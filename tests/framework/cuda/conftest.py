# SPDX-License-Identifier: Apache-2.0
"""A device that is none: CuPy's stand-in on NumPy, for everything in this folder that asks for it."""

import sys

import fake_cuda as stand_in
import pytest

from penlight.backends import cuda
from penlight.random import default_generator


@pytest.fixture
def fake_cuda(monkeypatch):
    """The stand-in as two CUDA devices; kernels of our own stay out, so that the reference runs."""
    cupy = stand_in.cupy(devices=2)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    cuda.backend.cache_clear()
    cuda.backend().kernels.clear()
    yield cupy
    cuda.backend.cache_clear()
    default_generator._devices.clear()  # its states lie on the stand-in
