# SPDX-License-Identifier: Apache-2.0
"""Small models, as examples and for the recipes."""

from penlight.models.cnn import DigitsCNN as DigitsCNN
from penlight.models.cnn import MnistCNN as MnistCNN
from penlight.models.gpt import CharGPT as CharGPT
from penlight.models.mlp import MLP as MLP
