# SPDX-License-Identifier: Apache-2.0
"""Two small convolutional networks for images of digits."""

from __future__ import annotations

from penlight.nn.activation import Dropout, ReLU
from penlight.nn.container import Sequential
from penlight.nn.conv import Conv2d
from penlight.nn.linear import Flatten, Linear
from penlight.nn.module import Module
from penlight.nn.norm import BatchNorm2d
from penlight.nn.pooling import MaxPool2d
from penlight.tensor import Tensor


def block(inputs: int, outputs: int) -> list[Module]:
    """Returns a 3x3 convolution with batch norm and ReLU; the norm's bias makes the convolution's superfluous."""
    return [Conv2d(inputs, outputs, 3, padding=1, bias=False), BatchNorm2d(outputs), ReLU()]


class DigitsCNN(Module):
    """(N, 1, 8, 8) images to (N, 10) logits; 30 thousand parameters."""

    def __init__(self, width: int = 16, classes: int = 10):
        self.features = Sequential(*block(1, width), *block(width, 2 * width), MaxPool2d(2), *block(2 * width, 2 * width))
        self.classifier = Sequential(Flatten(), Dropout(0.2), Linear(2 * width * 4 * 4, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))


class MnistCNN(Module):
    """(N, 1, 28, 28) images to (N, 10) logits."""

    def __init__(self, width: int = 16, classes: int = 10):
        self.features = Sequential(*block(1, width), MaxPool2d(2), *block(width, 2 * width), MaxPool2d(2))
        self.classifier = Sequential(Flatten(), Dropout(0.2), Linear(2 * width * 7 * 7, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))
