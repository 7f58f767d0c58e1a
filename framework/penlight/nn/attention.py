# SPDX-License-Identifier: Apache-2.0
"""Multi-head attention and the transformer encoder layer (Vaswani et al. 2017)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import penlight.nn.functional as F
import penlight.nn.init as init
from penlight.nn.activation import Dropout
from penlight.nn.linear import Linear
from penlight.nn.module import Module
from penlight.nn.norm import LayerNorm
from penlight.nn.parameter import Parameter
from penlight.ops.arithmetic import where
from penlight.ops.create import arange
from penlight.tensor import Tensor


class MultiheadAttention(Module):
    """softmax(q k^T / sqrt(D)) v in several heads, between linear projections.

    Keys and values have the size of the queries; separate sizes, `bias_k` and `add_zero_attn` of PyTorch are left out.

    Args:
        embed_dim: E, a multiple of num_heads.
        num_heads: H; each head has D = E / H.
        dropout: probability with which an attention weight is dropped in training.
        bias: whether the projections have biases.
        batch_first: whether inputs are (B, T, E) rather than PyTorch's default (T, B, E).

    Attributes:
        in_proj_weight: (3E, E), for queries, keys and values; in_proj_bias: (3E,).
        out_proj: Linear(E, E).
    """

    def __init__(self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True, *, batch_first: bool = False):
        if embed_dim % num_heads:
            raise ValueError(f"MultiheadAttention: num_heads={num_heads} must divide embed_dim={embed_dim}")
        self.embed_dim, self.num_heads, self.dropout, self.batch_first = embed_dim, num_heads, dropout, batch_first
        self.in_proj_weight = Parameter(init.empty(3 * embed_dim, embed_dim))
        self.register_parameter("in_proj_bias", Parameter(init.empty(3 * embed_dim)) if bias else None)
        self.in_proj_bias: Parameter | None
        self.out_proj = Linear(embed_dim, embed_dim, bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the parameters anew; biases start at 0."""
        init.xavier_uniform_(self.in_proj_weight)
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                init.zeros_(bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Returns the output and the attention weights.

        Args:
            query: (T, B, E), or (B, T, E) with batch_first.
            key: (S, B, E), or (B, S, E); value: the same.
            key_padding_mask: (B, S), True where a key is padding and not looked at.
            need_weights: whether to return the weights; without them a fused operator is used.
            attn_mask: (T, S) or (B * H, T, S), True where a query may not look, or numbers added to the scores.
            average_attn_weights: whether the weights are averaged over the heads.
            is_causal: query t looks at keys 0..t only; excludes attn_mask.

        Returns:
            The output, shaped as query, and weights (B, T, S) or (B, H, T, S), or None.
        """
        if not self.batch_first:
            same = query is key and key is value
            query = query.transpose(0, 1)
            key, value = (query, query) if same else (key.transpose(0, 1), value.transpose(0, 1))
        q, k, v = (self._heads(x) for x in self._project(query, key, value))  # (B, H, T, D), (B, H, S, D) twice
        bias = self._mask(query, key, key_padding_mask, attn_mask)
        weights = None
        p = self.dropout if self.training else 0.0
        if need_weights:
            scores = q @ k.transpose(-2, -1) * (1 / math.sqrt(self.embed_dim // self.num_heads))
            if is_causal and bias is None:
                bias = _causal(query, key)
            weights = F.softmax(scores if bias is None else scores + bias, dim=-1)
            mixed = F.dropout(weights, p, self.training) @ v
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=p, is_causal=is_causal and bias is None)
        batch, length, _ = query.shape
        output = self.out_proj(mixed.transpose(1, 2).reshape(batch, length, self.embed_dim))
        if weights is not None and average_attn_weights:
            weights = weights.mean(dim=1)
        return (output if self.batch_first else output.transpose(0, 1)), weights

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        size = self.embed_dim
        if query is key and key is value:
            packed = F.linear(query, self.in_proj_weight, self.in_proj_bias)
            return packed[..., :size], packed[..., size : 2 * size], packed[..., 2 * size :]
        parts = [slice(0, size), slice(size, 2 * size), slice(2 * size, 3 * size)]
        biases = [None if self.in_proj_bias is None else self.in_proj_bias[part] for part in parts]
        q, k, v = (F.linear(x, self.in_proj_weight[p], b) for x, p, b in zip((query, key, value), parts, biases, strict=True))
        return q, k, v

    def _heads(self, x: Tensor) -> Tensor:
        batch, length, size = x.shape
        return x.reshape(batch, length, self.num_heads, size // self.num_heads).transpose(1, 2)

    def _mask(self, query: Tensor, key: Tensor, padding: Tensor | None, attn_mask: Tensor | None) -> Tensor | None:
        """Returns what is added to the scores, broadcastable to (B, H, T, S): minus infinity where looking is forbidden."""
        bias = None
        if attn_mask is not None:
            bias = _additive(attn_mask, query)
            if len(bias.shape) == 3:
                bias = bias.reshape(query.shape[0], self.num_heads, query.shape[1], key.shape[1])
        if padding is not None:
            columns = _additive(padding, query).reshape(padding.shape[0], 1, 1, padding.shape[1])
            bias = columns if bias is None else bias + columns
        return bias

    def extra_repr(self) -> str:
        return f"embed_dim={self.embed_dim}, num_heads={self.num_heads}, dropout={self.dropout}, batch_first={self.batch_first}"


def _additive(mask: Tensor, like: Tensor) -> Tensor:
    if mask.dtype.is_floating_point:
        return mask
    return where(mask, float("-inf"), 0.0).to(like.dtype)


def _causal(query: Tensor, key: Tensor) -> Tensor:
    # Where the column is later than the row.
    columns, rows = (arange(x.shape[1], device=query.device) for x in (key, query))
    later = columns.unsqueeze(0) > rows.unsqueeze(1)
    return _additive(later, query)


class TransformerEncoderLayer(Module):
    """Self-attention and a two-layer perceptron, each with dropout, residual and layer norm.

    Args:
        d_model: E.
        nhead: heads.
        dim_feedforward: size of the hidden layer.
        dropout: probability.
        activation: "relu", "gelu", or a function.
        layer_norm_eps: eps of the norms.
        batch_first: whether inputs are (B, T, E) rather than (T, B, E).
        norm_first: whether norms come before the blocks rather than after the residuals.
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Tensor], Tensor] = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
    ):
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, batch_first=batch_first)
        self.linear1 = Linear(d_model, dim_feedforward)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model)
        self.norm1, self.norm2 = LayerNorm(d_model, layer_norm_eps), LayerNorm(d_model, layer_norm_eps)
        self.dropout1, self.dropout2 = Dropout(dropout), Dropout(dropout)
        self.norm_first = norm_first
        self.activation: Any = getattr(F, activation) if isinstance(activation, str) else activation

    def forward(
        self, src: Tensor, src_mask: Tensor | None = None, src_key_padding_mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        """Returns a tensor of the shape of `src`; masks as in `MultiheadAttention`."""

        def attend(x: Tensor) -> Tensor:
            output, _ = self.self_attn(
                x, x, x, attn_mask=src_mask, key_padding_mask=src_key_padding_mask, need_weights=False, is_causal=is_causal
            )
            return self.dropout1(output)

        if self.norm_first:
            src = src + attend(self.norm1(src))
            return src + self._feed_forward(self.norm2(src))
        src = self.norm1(src + attend(src))
        return self.norm2(src + self._feed_forward(src))

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(x)))))
