# SPDX-License-Identifier: Apache-2.0
"""Small models, as examples and for the recipes."""

from penlight.models.bert import BertModel as BertModel
from penlight.models.cnn import DigitsCNN as DigitsCNN
from penlight.models.cnn import MnistCNN as MnistCNN
from penlight.models.gpt import CharGPT as CharGPT
from penlight.models.mlp import MLP as MLP
from penlight.models.resnet import ResNet as ResNet
from penlight.models.resnet import resnet18 as resnet18
from penlight.models.resnet import resnet34 as resnet34
