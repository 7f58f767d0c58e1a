# SPDX-License-Identifier: Apache-2.0
"""Softmax over many classes, with rare ones in clusters of smaller projections (Grave et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

import penlight.nn.functional as F
from penlight.nn.container import ModuleList, Sequential
from penlight.nn.linear import Linear
from penlight.nn.module import Module
from penlight.ops.arithmetic import where
from penlight.ops.shape import cat
from penlight.tensor import Tensor, from_numpy


class ASMoutput(NamedTuple):
    """Log-probabilities of the targets (N,), and their negative mean."""

    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """Log-softmax and its loss, for classes sorted from frequent to rare.

    Args:
        in_features: F of the input.
        n_classes: C.
        cutoffs: ascending class numbers at which the clusters begin.
        div_value: each cluster's projection is smaller by this factor.
        head_bias: whether the head has a bias.
    """

    def __init__(self, in_features: int, n_classes: int, cutoffs: Sequence[int], div_value: float = 4.0, head_bias: bool = False):
        borders = list(cutoffs)
        if not borders or borders != sorted(set(borders)) or borders[0] < 1 or borders[-1] > n_classes - 1:
            raise ValueError(f"AdaptiveLogSoftmaxWithLoss: cutoffs must ascend within 1..{n_classes - 1}, got {borders}")
        self.in_features, self.n_classes, self.cutoffs = in_features, n_classes, [*borders, n_classes]
        self.div_value, self.head_bias = div_value, head_bias
        self.shortlist_size, self.n_clusters = borders[0], len(borders)
        self.head = Linear(in_features, self.shortlist_size + self.n_clusters, bias=head_bias)
        self.tail = ModuleList()
        for number, (low, high) in enumerate(zip(self.cutoffs, self.cutoffs[1:], strict=False), 1):
            size = int(in_features // div_value**number)
            self.tail.append(Sequential(Linear(in_features, size, bias=False), Linear(size, high - low, bias=False)))

    def forward(self, input: Tensor, target: Tensor) -> ASMoutput:
        """Returns log-probabilities (N,) and loss () of input (N, F) and classes (N,); or (F,) and ()."""
        if input.ndim == 1:
            output, loss = self.forward(input.unsqueeze(0), target.reshape(-1))
            return ASMoutput(output.squeeze(0), loss)
        classes = target.numpy()
        if classes.size and not (classes.min() >= 0 and classes.max() < self.n_classes):
            raise IndexError(f"AdaptiveLogSoftmaxWithLoss: classes must lie in 0..{self.n_classes - 1}")
        head = F.log_softmax(self.head(input), 1)
        cluster = np.searchsorted(self.cutoffs, classes, side="right")  # 0 is the shortlist
        column = np.where(cluster == 0, classes, self.shortlist_size + cluster - 1)
        output = head.gather(1, from_numpy(column[:, None])).squeeze(1)
        for number, tail in enumerate(self.tail, 1):
            inside = cluster == number
            if inside.any():
                own = np.where(inside, classes - self.cutoffs[number - 1], 0)
                logp = F.log_softmax(tail(input), 1).gather(1, from_numpy(own[:, None])).squeeze(1)
                output = output + where(from_numpy(inside), logp, 0.0)
        return ASMoutput(output, -output.mean())

    def log_prob(self, input: Tensor) -> Tensor:
        """Returns the log-probabilities (N, C) of input (N, F)."""
        head = F.log_softmax(self.head(input), 1)
        parts = [head[:, : self.shortlist_size]]
        for number, tail in enumerate(self.tail):
            place = self.shortlist_size + number
            parts.append(F.log_softmax(tail(input), 1) + head[:, place : place + 1])
        return cat(parts, 1)

    def predict(self, input: Tensor) -> Tensor:
        """Returns the most likely classes (N,)."""
        return self.log_prob(input).argmax(1)
