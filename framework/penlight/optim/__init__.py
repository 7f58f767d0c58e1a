# SPDX-License-Identifier: Apache-2.0
"""Optimizers, learning-rate schedules in `lr_scheduler`, and averages of weights in `swa_utils`."""

from penlight.optim import lr_scheduler as lr_scheduler
from penlight.optim import swa_utils as swa_utils
from penlight.optim.adamw import Adam as Adam
from penlight.optim.adamw import AdamW as AdamW
from penlight.optim.adaptive import Adadelta as Adadelta
from penlight.optim.adaptive import Adagrad as Adagrad
from penlight.optim.adaptive import Adamax as Adamax
from penlight.optim.adaptive import NAdam as NAdam
from penlight.optim.adaptive import RAdam as RAdam
from penlight.optim.adaptive import RMSprop as RMSprop
from penlight.optim.lbfgs import LBFGS as LBFGS
from penlight.optim.optimizer import Optimizer as Optimizer
from penlight.optim.sgd import SGD as SGD
from penlight.optim.special import ASGD as ASGD
from penlight.optim.special import Adafactor as Adafactor
from penlight.optim.special import Muon as Muon
from penlight.optim.special import Rprop as Rprop
