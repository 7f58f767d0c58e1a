# SPDX-License-Identifier: Apache-2.0
"""PyTorch's name for what stands beside the layers: `penlight.utils.checkpoint`, `penlight.utils.dlpack`."""

from penlight.utils import checkpoint as checkpoint
from penlight.utils import dlpack as dlpack
