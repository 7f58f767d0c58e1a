# SPDX-License-Identifier: Apache-2.0
"""Backends: where arrays live and which kernels run on them."""

from types import SimpleNamespace

from penlight.backends.backend import Backend as Backend
from penlight.backends.backend import backend_of as backend_of
from penlight.backends.backend import get_backend as get_backend

# PyTorch scripts set these in one breath with the seed; results here do not depend on them.
cudnn = SimpleNamespace(enabled=False, deterministic=True, benchmark=False)
