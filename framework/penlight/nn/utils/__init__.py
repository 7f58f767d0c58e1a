# SPDX-License-Identifier: Apache-2.0
"""Gradient clipping, sequences of different lengths, parametrizations: under the names PyTorch gives their place."""

from penlight.nn.clip_grad import clip_grad_norm_ as clip_grad_norm_
from penlight.nn.clip_grad import clip_grad_value_ as clip_grad_value_
from penlight.nn.clip_grad import get_total_norm as get_total_norm
from penlight.nn.utils import parametrizations as parametrizations
from penlight.nn.utils import parametrize as parametrize
from penlight.nn.utils import rnn as rnn
