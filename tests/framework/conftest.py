# SPDX-License-Identifier: Apache-2.0
"""What several tests of compiled kernels share."""

import shutil

import cuda_host
import pytest


@pytest.fixture(scope="session")
def cuda_library(tmp_path_factory):
    """The CUDA kernels compiled for the CPU, each family when it is first used."""
    if (compiler := shutil.which("g++")) is None:
        pytest.skip("no g++ to compile the kernels for the CPU")
    return cuda_host.Library(tmp_path_factory.mktemp("cuda"), compiler)


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    """The number of threads of the compiled kernels."""
    native = pytest.importorskip("penlight._native")
    before = native.num_threads()
    native.set_num_threads(request.param)
    yield request.param
    native.set_num_threads(before)
