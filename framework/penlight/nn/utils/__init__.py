# SPDX-License-Identifier: Apache-2.0
"""Gradient clipping, sequences of different lengths, parametrizations: under the names PyTorch gives their place."""

from penlight.nn.clip_grad import clip_grad_norm_ as clip_grad_norm_
from penlight.nn.clip_grad import clip_grad_value_ as clip_grad_value_
from penlight.nn.clip_grad import clip_grads_with_norm_ as clip_grads_with_norm_
from penlight.nn.clip_grad import get_total_norm as get_total_norm
from penlight.nn.utils import parametrizations as parametrizations
from penlight.nn.utils import parametrize as parametrize
from penlight.nn.utils import rnn as rnn
from penlight.nn.vector import fuse_conv_bn_eval as fuse_conv_bn_eval
from penlight.nn.vector import fuse_conv_bn_weights as fuse_conv_bn_weights
from penlight.nn.vector import fuse_linear_bn_eval as fuse_linear_bn_eval
from penlight.nn.vector import fuse_linear_bn_weights as fuse_linear_bn_weights
from penlight.nn.vector import parameters_to_vector as parameters_to_vector
from penlight.nn.vector import vector_to_parameters as vector_to_parameters
