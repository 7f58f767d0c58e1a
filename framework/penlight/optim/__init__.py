# SPDX-License-Identifier: Apache-2.0
"""Optimizers, and learning-rate schedules in `lr_scheduler`."""

from penlight.optim import lr_scheduler as lr_scheduler
from penlight.optim.adamw import Adam as Adam
from penlight.optim.adamw import AdamW as AdamW
from penlight.optim.optimizer import Optimizer as Optimizer
from penlight.optim.sgd import SGD as SGD
