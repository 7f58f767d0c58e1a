# SPDX-License-Identifier: Apache-2.0
"""ResNet-18 and ResNet-34 (He et al. 2015) with torchvision's key names, so that its published weights load."""

from __future__ import annotations

import penlight.nn.functional as F
from penlight.nn.container import Sequential
from penlight.nn.conv import Conv2d
from penlight.nn.linear import Linear
from penlight.nn.module import Module
from penlight.nn.norm import BatchNorm2d
from penlight.nn.pooling import MaxPool2d
from penlight.tensor import Tensor


class BasicBlock(Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        self.conv1 = Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = BatchNorm2d(outputs)
        self.conv2 = Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = BatchNorm2d(outputs)
        changes = stride != 1 or inputs != outputs
        self.downsample = (
            Sequential(Conv2d(inputs, outputs, 1, stride=stride, bias=False), BatchNorm2d(outputs)) if changes else None
        )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + shortcut)


class ResNet(Module):
    """(N, 3, H, W) images to (N, classes) logits.

    Args:
        blocks: how many blocks each of the four stages has; (2, 2, 2, 2) is ResNet-18.
        classes: how many logits.
        width: channels of the first stage; each further stage has twice as many.
    """

    def __init__(self, blocks: tuple[int, int, int, int], classes: int = 1000, width: int = 64):
        self.conv1 = Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = BatchNorm2d(width)
        self.maxpool = MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(width, width, blocks[0], 1)
        self.layer2 = _stage(width, 2 * width, blocks[1], 2)
        self.layer3 = _stage(2 * width, 4 * width, blocks[2], 2)
        self.layer4 = _stage(4 * width, 8 * width, blocks[3], 2)
        self.fc = Linear(8 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


def _stage(inputs: int, outputs: int, count: int, stride: int) -> Sequential:
    return Sequential(BasicBlock(inputs, outputs, stride), *[BasicBlock(outputs, outputs) for _ in range(count - 1)])


def resnet18(classes: int = 1000) -> ResNet:
    """Returns ResNet-18, 11.7 million parameters with 1000 classes."""
    return ResNet((2, 2, 2, 2), classes)


def resnet34(classes: int = 1000) -> ResNet:
    """Returns ResNet-34, 21.8 million parameters with 1000 classes."""
    return ResNet((3, 4, 6, 3), classes)
