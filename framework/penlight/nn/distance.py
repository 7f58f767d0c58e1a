# SPDX-License-Identifier: Apache-2.0
"""Layers of two inputs, bags of embeddings, and the loss that has a linear layer of its own."""

from __future__ import annotations

import math
from typing import Any

import penlight.nn.functional as F
import penlight.nn.init as init
from penlight.backends.backend import visiting
from penlight.nn.linear import Linear
from penlight.nn.loss import _Loss
from penlight.nn.module import Module
from penlight.nn.parameter import Parameter
from penlight.tensor import Tensor


class CosineSimilarity(Module):
    """x1 . x2 / (|x1| * |x2|) along `dim`, with norms of at least eps."""

    def __init__(self, dim: int = 1, eps: float = 1e-8):
        self.dim, self.eps = dim, eps

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return F.cosine_similarity(x1, x2, self.dim, self.eps)


class PairwiseDistance(Module):
    """|x1 - x2 + eps|_p along the last dimension."""

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False):
        self.norm, self.eps, self.keepdim = p, eps, keepdim

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return F.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)


class Bilinear(Module):
    """x1 W_k x2 + b_k for every k.

    Args:
        in1_features, in2_features: sizes of the last dimensions of the inputs.
        out_features: size of the last dimension of the output.
        bias: whether to add a bias.

    Attributes:
        weight: (out_features, in1_features, in2_features), uniform in +-1/sqrt(in1_features) at first.
        bias: (out_features,) or None.
    """

    def __init__(self, in1_features: int, in2_features: int, out_features: int, bias: bool = True):
        if in1_features <= 0:
            raise ValueError(f"Bilinear: in1_features must be positive, got {in1_features}")
        self.in1_features, self.in2_features, self.out_features = in1_features, in2_features, out_features
        self.weight = Parameter(init.empty(out_features, in1_features, in2_features))
        self.register_parameter("bias", Parameter(init.empty(out_features)) if bias else None)
        self.bias: Parameter | None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the parameters anew."""
        init.uniform_fan_(self.weight, self.in1_features)
        if self.bias is not None:
            init.uniform_fan_(self.bias, self.in1_features)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in1_features={self.in1_features}, in2_features={self.in2_features}, out_features={self.out_features}"


class EmbeddingBag(Module):
    """Sums, means or maxima over bags of rows of a table; see `functional.embedding_bag`.

    Args:
        num_embeddings: number of rows. embedding_dim: size of a row.
        max_norm, norm_type: rows that are looked up are first scaled down, in place, to this norm of order `norm_type`.
        scale_grad_by_freq: not supported. sparse: accepted; gradients are dense.
        mode: "sum", "mean" or "max".
        include_last_offset: whether offsets end with the end.
        padding_idx: a row that does not count.

    Attributes:
        weight: (num_embeddings, embedding_dim), standard normal at first.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: Tensor | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ):
        if scale_grad_by_freq:
            raise ValueError("EmbeddingBag: scale_grad_by_freq is not supported; leave it out")
        self.max_norm, self.norm_type = max_norm, norm_type
        self.num_embeddings, self.embedding_dim, self.mode = num_embeddings, embedding_dim, mode
        self.include_last_offset = include_last_offset
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.weight = Parameter(init.empty(num_embeddings, embedding_dim))
        init.normal_(self.weight)
        if _weight is not None:
            self.weight = Parameter(_weight)
        elif self.padding_idx is not None:
            with visiting(self.weight._data):
                self.weight.detach()._data[self.padding_idx] = 0

    def forward(self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None) -> Tensor:
        """Maps (B, L), or (N,) and offsets (B,), to (B, embedding_dim)."""
        return F.embedding_bag(
            input,
            self.weight,
            offsets,
            self.max_norm,
            self.norm_type,
            mode=self.mode,
            per_sample_weights=per_sample_weights,
            include_last_offset=self.include_last_offset,
            padding_idx=self.padding_idx,
        )

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}, mode={self.mode!r}"


class LinearCrossEntropyLoss(_Loss):
    """The cross-entropy of `linear(input)`, with the weight in the loss.

    Args:
        in_features: size of the last dimension of the input. num_classes: C.
        out_features: sizes (d1, ...) if there is a loss at each of several places.
        bias: whether the linear layer has a bias.
        weight, reduction, ignore_index, label_smoothing: as in `CrossEntropyLoss`; None is its default.
        options: taken for PyTorch's sake, where it sets how the logits are cut into pieces.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        weight: Tensor | None = None,
        reduction: str = "mean",
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        options: Any = None,
    ):
        super().__init__(reduction)
        self.in_features, self.num_classes, self.out_features = in_features, num_classes, tuple(out_features)
        self.ignore_index, self.label_smoothing, self.options = ignore_index, label_smoothing, options
        self.register_buffer("weight", weight)
        self.weight: Tensor | None
        self.linear = Linear(in_features, num_classes * math.prod(self.out_features), bias)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Returns the loss of input (N, in_features) or (in_features,)."""
        shape = (self.num_classes, *self.out_features)
        bias = None if self.linear.bias is None else self.linear.bias.reshape(shape)
        return F.linear_cross_entropy(
            input,
            self.linear.weight.reshape((*shape, self.in_features)),
            target,
            linear_bias=bias,
            weight=self.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
        )
