# SPDX-License-Identifier: Apache-2.0
"""Rows of a table by index."""

from __future__ import annotations


import numpy as np

from penlight.errors import DTypeError, ShapeError
from penlight.ops.arithmetic import where
from penlight.ops.dispatch import apply
from penlight.ops.gather import TakeAdd
from penlight.ops.operator import Operator, Spec
from penlight.ops.registry import register
from penlight.ops.samples import index, of, sample
from penlight.tensor import Tensor


@register
class Embedding(Operator):
    """weight (V, D) at index (...): (..., D); the row `padding_idx` gets no gradient"""

    name = "embedding"
    onnx = "Gather"
    saves_inputs = (False, True)
    samples = (
        sample(of(5, 3), index(4, high=5)),
        sample(of(5, 3), index(2, 3, high=5), padding_idx=1),
        sample(of(5, 3), index(0, high=5)),
    )

    padding_idx: int | None = None

    def infer(self, weight: Spec, index: Spec) -> Spec:
        if len(weight.shape) != 2:
            raise ShapeError(f"embedding: weight must be (V, D), came {tuple(map(int, weight.shape))}")
        if index.dtype.kind != 1:
            raise DTypeError(f"embedding: expected integer indices, came {index.dtype}; convert with .to(penlight.int64)")
        return Spec((*index.shape, weight.shape[1]), weight.dtype)

    def forward(self, xp, weight, index):
        if index.dtype.kind not in "iu":
            raise TypeError("integer indices expected")
        if xp is np and index.size and not (index.min() >= 0 and index.max() < weight.shape[0]):
            raise IndexError(f"indices {index.min()}..{index.max()} are out of range for {weight.shape[0]} rows")
        return weight.take(index, axis=0)

    def vjp(self, grad, output, weight, index):
        if self.padding_idx is not None:
            grad = where((index == self.padding_idx).unsqueeze(-1), 0.0, grad)
        return apply(TakeAdd(0, weight.shape[0]), grad, index), None


def embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """Returns the rows of `weight` at `input`.

    Args:
        input: (...), integer.
        weight: (V, D).
        padding_idx: a row that gets no gradient; negative ones count from the end.

    Returns:
        (..., D), dtype of `weight`.

    Raises:
        IndexError: an index is out of range.
        ShapeError: the weight is no matrix.
    """
    if weight.ndim != 2:
        raise ShapeError(f"embedding: expected weight (V, D), came {tuple(weight.shape)}")
    if padding_idx is not None and padding_idx < 0:
        padding_idx += weight.shape[0]
    return apply(Embedding(padding_idx), weight, input)
