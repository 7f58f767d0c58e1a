# SPDX-License-Identifier: Apache-2.0
"""What several tests of compiled kernels share."""

import pytest


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    """The number of threads of the compiled kernels."""
    native = pytest.importorskip("penlight._native")
    before = native.num_threads()
    native.set_num_threads(request.param)
    yield request.param
    native.set_num_threads(before)
