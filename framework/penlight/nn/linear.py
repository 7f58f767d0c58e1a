# SPDX-License-Identifier: Apache-2.0
"""Linear, Embedding, Identity and Flatten."""

from __future__ import annotations

import math
from typing import Any

import penlight.nn.functional as F
import penlight.nn.init as init
from penlight.backends.backend import visiting
from penlight.errors import ShapeError
from penlight.nn.module import Module
from penlight.nn.parameter import Parameter
from penlight.tensor import Tensor


class Linear(Module):
    """x @ weight.T + bias.

    Args:
        in_features: size of the last dimension of the input.
        out_features: size of the last dimension of the output.
        bias: whether to add a bias.

    Attributes:
        weight: (out_features, in_features), uniform in +-1/sqrt(in_features) at first, as in PyTorch.
        bias: (out_features,) or None, from the same range.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True):
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(init.empty(out_features, in_features))
        self.register_parameter("bias", Parameter(init.empty(out_features)) if bias else None)
        self.bias: Parameter | None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the parameters anew."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            init.uniform_fan_(self.bias, self.in_features)

    def forward(self, input: Tensor) -> Tensor:
        """Maps (..., in_features) to (..., out_features)."""
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Embedding(Module):
    """Rows of a table by index.

    Args:
        num_embeddings: number of rows.
        embedding_dim: size of a row.
        padding_idx: a row that starts as zeros and gets no gradient.
        max_norm, norm_type: rows that are looked up are first scaled down, in place, to this norm of order `norm_type`.
        scale_grad_by_freq: divides the gradient of a row by how often it was looked up.
        sparse: accepted; gradients are dense.

    Attributes:
        weight: (num_embeddings, embedding_dim), standard normal at first.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ):
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.max_norm, self.norm_type = max_norm, norm_type
        self.scale_grad_by_freq, self.sparse = scale_grad_by_freq, sparse
        self.weight = Parameter(init.empty(num_embeddings, embedding_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the table anew."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with visiting(self.weight._data):
                self.weight.detach()._data[self.padding_idx] = 0

    def forward(self, indices: Tensor) -> Tensor:
        """Maps (...) integers to (..., embedding_dim)."""
        options = (self.max_norm, self.norm_type, self.scale_grad_by_freq, self.sparse)
        return F.embedding(indices, self.weight, self.padding_idx, *options)

    @classmethod
    def from_pretrained(cls, embeddings: Tensor, freeze: bool = True, **options: Any) -> Embedding:
        """Makes a layer of a table (V, D), which it shares; the options are those of the class.

        Args:
            embeddings: the rows.
            freeze: whether they stay as they are in training.
        """
        if embeddings.ndim != 2:
            raise ShapeError(f"Embedding.from_pretrained: expected a table (V, D), came {tuple(embeddings.shape)}")
        layer = cls(int(embeddings.shape[0]), int(embeddings.shape[1]), **options)
        layer.weight = Parameter(embeddings.detach(), requires_grad=not freeze)
        return layer

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        norm = "" if self.max_norm is None else f", max_norm={self.max_norm}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}{norm}"


class Identity(Module):
    """Returns its input; a placeholder that takes and ignores any arguments."""

    def __init__(self, *args: object, **kwargs: object):
        pass

    def forward(self, x: Tensor) -> Tensor:
        return x


class Flatten(Module):
    """Joins the dimensions from `start_dim` to `end_dim`; by default all but the batch."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"
