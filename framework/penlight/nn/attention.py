# SPDX-License-Identifier: Apache-2.0
"""Multi-head attention (Vaswani et al. 2017)."""

from __future__ import annotations

import math

import penlight.nn.functional as F
import penlight.nn.init as init
from penlight.nn.linear import Linear
from penlight.nn.module import Module
from penlight.nn.parameter import Parameter
from penlight.ops.arithmetic import where
from penlight.ops.create import arange, zeros
from penlight.ops.shape import cat
from penlight.tensor import Tensor


class MultiheadAttention(Module):
    """softmax(q k^T / sqrt(D)) v in several heads, between linear projections.

    Args:
        embed_dim: E, a multiple of num_heads.
        num_heads: H; each head has D = E / H.
        dropout: probability with which an attention weight is dropped in training.
        bias: whether the projections have biases.
        add_bias_kv: whether a learned key and value are added at the end.
        add_zero_attn: whether a key and value of zeros are added at the end.
        kdim, vdim: sizes of keys and values, E by default.
        batch_first: whether inputs are (B, T, E) rather than PyTorch's default (T, B, E).

    Attributes:
        in_proj_weight: (3E, E), for queries, keys and values; with kdim or vdim q_proj_weight, k_proj_weight, v_proj_weight.
        in_proj_bias: (3E,).
        bias_k, bias_v: (1, 1, E) with add_bias_kv, else None.
        out_proj: Linear(E, E).
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
    ):
        if embed_dim % num_heads:
            raise ValueError(f"MultiheadAttention: num_heads={num_heads} must divide embed_dim={embed_dim}")
        self.embed_dim, self.num_heads, self.dropout, self.batch_first = embed_dim, num_heads, dropout, batch_first
        self.kdim, self.vdim = embed_dim if kdim is None else kdim, embed_dim if vdim is None else vdim
        self.add_zero_attn = add_zero_attn
        self._one_size = self.kdim == embed_dim and self.vdim == embed_dim
        if self._one_size:
            self.in_proj_weight = Parameter(init.empty(3 * embed_dim, embed_dim))
        else:
            self.q_proj_weight = Parameter(init.empty(embed_dim, embed_dim))
            self.k_proj_weight = Parameter(init.empty(embed_dim, self.kdim))
            self.v_proj_weight = Parameter(init.empty(embed_dim, self.vdim))
        self.register_parameter("in_proj_bias", Parameter(init.empty(3 * embed_dim)) if bias else None)
        self.register_parameter("bias_k", Parameter(init.empty(1, 1, embed_dim)) if add_bias_kv else None)
        self.register_parameter("bias_v", Parameter(init.empty(1, 1, embed_dim)) if add_bias_kv else None)
        self.in_proj_bias: Parameter | None
        self.bias_k: Parameter | None
        self.bias_v: Parameter | None
        self.out_proj = Linear(embed_dim, embed_dim, bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the parameters anew; biases start at 0."""
        for weight in self._weights():
            init.xavier_uniform_(weight)
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                init.zeros_(bias)
        for extra in (self.bias_k, self.bias_v):
            if extra is not None:
                init.xavier_normal_(extra)

    def _weights(self) -> list[Tensor]:
        return [self.in_proj_weight] if self._one_size else [self.q_proj_weight, self.k_proj_weight, self.v_proj_weight]

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
            query: (T, B, E), or (B, T, E) with batch_first, or (T, E).
            key: (S, B, kdim), or (B, S, kdim), or (S, kdim); value: the same with vdim.
            key_padding_mask: (B, S) or (S,), True where a key is padding and not looked at.
            need_weights: whether to return the weights; without them a fused operator is used.
            attn_mask: (T, S) or (B * H, T, S), True where a query may not look, or numbers added to the scores.
            average_attn_weights: whether the weights are averaged over the heads.
            is_causal: query t looks at keys 0..t only; a hint beside an attn_mask.

        Returns:
            The output, shaped as query, and weights (B, T, S) or (B, H, T, S), without B as the query; or None.
        """
        if query.ndim == 2:
            padding = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
            query, key, value = _batched((query, key, value), 0 if self.batch_first else 1)
            masks = (padding, need_weights, attn_mask, average_attn_weights, is_causal)
            output, weights = self.forward(query, key, value, *masks)
            return output.squeeze(0 if self.batch_first else 1), None if weights is None else weights.squeeze(0)
        if not self.batch_first:
            same = query is key and key is value
            query = query.transpose(0, 1)
            key, value = (query, query) if same else (key.transpose(0, 1), value.transpose(0, 1))
        projected, extra = self._extend(*self._project(query, key, value))
        q, k, v = (self._heads(x) for x in projected)  # (B, H, T, D), (B, H, S, D) twice
        bias = self._mask(query, key.shape[1], extra, key_padding_mask, attn_mask)
        if is_causal and bias is None and (need_weights or extra):
            bias = _causal(query, key.shape[1], extra)
        weights = None
        p = self.dropout if self.training else 0.0
        if need_weights:
            scores = q @ k.transpose(-2, -1) * (1 / math.sqrt(self.embed_dim // self.num_heads))
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
        if self._one_size and query is key and key is value:
            packed = F.linear(query, self.in_proj_weight, self.in_proj_bias)
            return packed[..., :size], packed[..., size : 2 * size], packed[..., 2 * size :]
        parts = [slice(0, size), slice(size, 2 * size), slice(2 * size, 3 * size)]
        weights = [self.in_proj_weight[part] for part in parts] if self._one_size else self._weights()
        biases = [None if self.in_proj_bias is None else self.in_proj_bias[part] for part in parts]
        q, k, v = (F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True))
        return q, k, v

    def _extend(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[tuple[Tensor, Tensor, Tensor], int]:
        """Adds the learned and the zero key and value at the end; returns how many."""
        extra, shape = 0, (k.shape[0], 1, self.embed_dim)
        if self.bias_k is not None and self.bias_v is not None:
            k, v = cat([k, self.bias_k.expand(shape)], 1), cat([v, self.bias_v.expand(shape)], 1)
            extra += 1
        if self.add_zero_attn:
            blank = zeros(*shape, dtype=k.dtype, device=k.device)
            k, v = cat([k, blank], 1), cat([v, blank], 1)
            extra += 1
        return (q, k, v), extra

    def _heads(self, x: Tensor) -> Tensor:
        batch, length, size = x.shape
        return x.reshape(batch, length, self.num_heads, size // self.num_heads).transpose(1, 2)

    def _mask(self, query: Tensor, keys: int, extra: int, padding: Tensor | None, attn_mask: Tensor | None) -> Tensor | None:
        """Returns what is added to the scores, broadcastable to (B, H, T, S): minus infinity where looking is forbidden."""
        bias = None
        if attn_mask is not None:
            bias = _additive(attn_mask, query)
            if bias.ndim == 3:
                bias = bias.reshape(query.shape[0], self.num_heads, query.shape[1], keys)
        if padding is not None:
            columns = _additive(padding, query).reshape(padding.shape[0], 1, 1, padding.shape[1])
            bias = columns if bias is None else bias + columns
        return bias if bias is None or not extra else F.pad(bias, (0, extra))

    def extra_repr(self) -> str:
        return f"embed_dim={self.embed_dim}, num_heads={self.num_heads}, dropout={self.dropout}, batch_first={self.batch_first}"


def _batched(tensors: tuple[Tensor, Tensor, Tensor], dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """The tensors with a batch dimension; one that comes twice stays one, so that it is projected once."""
    query, key, value = tensors
    first = query.unsqueeze(dim)
    second = first if key is query else key.unsqueeze(dim)
    return first, second, second if value is key else value.unsqueeze(dim)


def _additive(mask: Tensor, like: Tensor) -> Tensor:
    if mask.dtype.is_floating_point:
        return mask
    return where(mask, float("-inf"), 0.0).to(like.dtype)


def _causal(query: Tensor, keys: int, extra: int) -> Tensor:
    # Where the column is later than the row.
    columns, rows = arange(keys, device=query.device), arange(query.shape[1], device=query.device)
    later = columns.unsqueeze(0) > rows.unsqueeze(1)
    bias = _additive(later, query)
    return F.pad(bias, (0, extra)) if extra else bias
