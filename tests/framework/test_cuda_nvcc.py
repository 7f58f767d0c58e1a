# SPDX-License-Identifier: Apache-2.0
"""nvcc, which compiles ahead of time, takes every CUDA kernel as NVRTC does; apart, so that another worker runs it."""

import shutil

import cuda_compilers
import pytest

from penlight.backends.cuda import source

NVCC = shutil.which("nvcc")


@pytest.mark.slow
@pytest.mark.skipif(NVCC is None, reason="nvcc is not on PATH")
@pytest.mark.parametrize("family", source.families())
def test_nvcc_agrees(family, tmp_path):
    chosen = cuda_compilers.some_of(family)
    cuda_compilers.check(family, cuda_compilers.compile_with_nvcc(NVCC, family, "sm_90", tmp_path, chosen), chosen)
