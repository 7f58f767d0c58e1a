# SPDX-License-Identifier: Apache-2.0
"""PyTorch's place of `penlight.data`: the same module under a second name."""

import sys

from penlight import data

sys.modules[__name__] = data
