# SPDX-License-Identifier: Apache-2.0
"""A multi-layer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from penlight.nn.activation import ReLU
from penlight.nn.container import Sequential
from penlight.nn.linear import Linear
from penlight.nn.module import Module
from penlight.tensor import Tensor


class MLP(Module):
    """Linear layers with ReLU between them: MLP([64, 128, 10]) maps (..., 64) to (..., 10)."""

    def __init__(self, sizes: Sequence[int]):
        self.layers = Sequential()
        for inputs, outputs in pairwise(sizes):
            if len(self.layers):
                self.layers.append(ReLU())
            self.layers.append(Linear(inputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)
