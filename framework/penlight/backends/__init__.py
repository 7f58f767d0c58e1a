# SPDX-License-Identifier: Apache-2.0
"""Backends: where arrays live and which kernels run on them."""

from penlight.backends.backend import Backend as Backend
from penlight.backends.backend import backend_of as backend_of
from penlight.backends.backend import get_backend as get_backend
from penlight.backends.cuda.precision import convolution as cudnn  # noqa: F401  under PyTorch's name
