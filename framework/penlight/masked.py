# SPDX-License-Identifier: Apache-2.0
"""Reductions under a mask: `penlight.masked`, with PyTorch's names."""

from penlight.ops.masked_reduction import amax as amax
from penlight.ops.masked_reduction import amin as amin
from penlight.ops.masked_reduction import argmax as argmax
from penlight.ops.masked_reduction import argmin as argmin
from penlight.ops.masked_reduction import cumprod as cumprod
from penlight.ops.masked_reduction import cumsum as cumsum
from penlight.ops.masked_reduction import log_softmax as log_softmax
from penlight.ops.masked_reduction import logaddexp as logaddexp
from penlight.ops.masked_reduction import logsumexp as logsumexp
from penlight.ops.masked_reduction import mean as mean
from penlight.ops.masked_reduction import median as median
from penlight.ops.masked_reduction import norm as norm
from penlight.ops.masked_reduction import normalize as normalize
from penlight.ops.masked_reduction import prod as prod
from penlight.ops.masked_reduction import softmax as softmax
from penlight.ops.masked_reduction import softmin as softmin
from penlight.ops.masked_reduction import std as std
from penlight.ops.masked_reduction import sum as sum
from penlight.ops.masked_reduction import var as var
