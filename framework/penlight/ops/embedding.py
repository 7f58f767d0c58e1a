# SPDX-License-Identifier: Apache-2.0
"""Rows of a table by index."""

from __future__ import annotations

import numpy as np

from penlight.backends.backend import backend_of, visiting
from penlight.errors import DTypeError, ShapeError
from penlight.ops.arithmetic import where
from penlight.ops.dispatch import apply
from penlight.ops.gather import TakeAdd
from penlight.ops.operator import Operator, Spec
from penlight.ops.registry import register
from penlight.ops.samples import index, of, sample
from penlight.tape import mode
from penlight.tensor import Tensor, from_array


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


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Returns the rows of `weight` at `input`.

    Args:
        input: (...), integer.
        weight: (V, D).
        padding_idx: a row that gets no gradient; negative ones count from the end.
        max_norm: the rows at `input` whose norm is larger are first scaled down to it, in place.
        norm_type: the p of that norm.
        scale_grad_by_freq: divides the gradient of a row by how often it stands in `input`.
        sparse: accepted; gradients are dense.

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
    if max_norm is not None:
        with visiting(input._data, weight._data):
            renormalise(input, weight, float(max_norm), float(norm_type))
    result = apply(Embedding(padding_idx), weight, input)
    if scale_grad_by_freq and result.requires_grad:
        with visiting(input._data) as xp:
            counts = xp.bincount(input._data.reshape(-1), minlength=weight.shape[0])[input._data]
            frequency = from_array(counts[..., None].astype(weight._data.dtype))
        result.register_hook(lambda grad: grad / frequency)
    return result


def renormalise(input: Tensor, weight: Tensor, max_norm: float, norm_type: float) -> None:
    """Scales the rows of `weight` that `input` names down to a norm of `max_norm`, in place and off the tape."""
    if mode.tracer is not None:
        mode.tracer.refuse_write(weight, "embedding with max_norm changes its weight; export without max_norm")
    xp, data = backend_of(weight._data).xp, weight._data
    rows = xp.unique(input._data)
    if not rows.size or rows[0] < 0 or rows[-1] >= data.shape[0]:
        return  # the look-up says what is wrong
    norms = xp.linalg.norm(data[rows].astype(xp.promote_types(data.dtype, xp.float32)), norm_type, axis=1)
    large = norms > max_norm
    rows, norms = rows[large], norms[large]
    data[rows] = (data[rows] * (max_norm / (norms + 1e-7))[:, None]).astype(data.dtype)
    weight.bump_version()
