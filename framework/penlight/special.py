# SPDX-License-Identifier: Apache-2.0
"""Special functions: `penlight.special`, with PyTorch's names."""

from penlight.ops.special import entr as entr
from penlight.ops.special import erfc as erfc
from penlight.ops.special import erfinv as erfinv
from penlight.ops.special import exp2 as exp2
from penlight.ops.special import ndtr as ndtr
from penlight.ops.special import ndtri as ndtri
from penlight.ops.special import sinc as sinc
from penlight.ops.special import xlog1py as xlog1py
from penlight.ops.special import xlogy as xlogy
