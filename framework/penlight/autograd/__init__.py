# SPDX-License-Identifier: Apache-2.0
"""Automatic differentiation: the pass over the tape and the modes it runs in."""

from penlight.autograd import functional as functional
from penlight.autograd import graph as graph
from penlight.autograd.anomaly import detect_anomaly as detect_anomaly
from penlight.autograd.anomaly import set_detect_anomaly as set_detect_anomaly
from penlight.autograd.engine import backward as backward
from penlight.autograd.engine import grad as grad
from penlight.autograd.engine import keep_gradient as keep_gradient
from penlight.autograd.engine import queue_callback as queue_callback
from penlight.autograd.engine import seed_for as seed_for
from penlight.autograd.function import Function as Function
from penlight.autograd.gradcheck import gradcheck as gradcheck
from penlight.autograd.gradcheck import gradgradcheck as gradgradcheck
from penlight.autograd.mode import enable_grad as enable_grad
from penlight.autograd.mode import inference_mode as inference_mode
from penlight.autograd.mode import is_grad_enabled as is_grad_enabled
from penlight.autograd.mode import is_inference_mode_enabled as is_inference_mode_enabled
from penlight.autograd.mode import no_grad as no_grad
from penlight.autograd.mode import set_grad_enabled as set_grad_enabled
