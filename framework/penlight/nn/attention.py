# SPDX-License-Identifier: Apache-2.0
"""Multi-head attention (Vaswani et al. 2017)."""

from __future__ import annotations

import penlight.nn.init as init
from penlight.nn.linear import Linear
from penlight.nn.module import Module
from penlight.nn.parameter import Parameter
from penlight.ops.multi_head import Projections, attend, batch_first, batched
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
            query, key, value = batched((query, key, value), 0 if self.batch_first else 1)
            masks = (padding, need_weights, attn_mask, average_attn_weights, is_causal)
            output, weights = self.forward(query, key, value, *masks)
            return output.squeeze(0 if self.batch_first else 1), None if weights is None else weights.squeeze(0)
        if not self.batch_first:
            query, key, value = batch_first(query, key, value)
        p = self.dropout if self.training else 0.0
        wanted = (need_weights, average_attn_weights, is_causal, p)
        output, weights = attend(self._projections(), query, key, value, (key_padding_mask, attn_mask), *wanted)
        return (output if self.batch_first else output.transpose(0, 1)), weights

    def _projections(self) -> Projections:
        packed = self.in_proj_weight if self._one_size else None
        learned = (self.in_proj_bias, self.bias_k, self.bias_v, self.add_zero_attn)
        return Projections(self.num_heads, packed, self._weights(), *learned, self.out_proj.weight, self.out_proj.bias)

    def extra_repr(self) -> str:
        return f"embed_dim={self.embed_dim}, num_heads={self.num_heads}, dropout={self.dropout}, batch_first={self.batch_first}"
