# SPDX-License-Identifier: Apache-2.0
"""Multi-head attention (Vaswani et al. 2017) as a function of its projections; `nn.MultiheadAttention` holds them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from penlight.errors import ArgumentError, ShapeError
from penlight.ops.arithmetic import where
from penlight.ops.attention import scaled_dot_product_attention
from penlight.ops.create import arange, zeros
from penlight.ops.dropout import dropout
from penlight.ops.matmul import linear
from penlight.ops.padding import pad
from penlight.ops.shape import cat
from penlight.ops.softmax import softmax
from penlight.tensor import Tensor


@dataclass(frozen=True)
class Projections:
    """The learned parts: `packed` (3E, E), or three weights (E, kdim or vdim or E); biases; the output's; extra keys."""

    num_heads: int
    packed: Tensor | None
    separate: Sequence[Tensor]
    in_bias: Tensor | None
    bias_k: Tensor | None
    bias_v: Tensor | None
    add_zero: bool
    out_weight: Tensor
    out_bias: Tensor | None

    @property
    def size(self) -> int:
        """E, the size of queries and of the output."""
        return self.out_weight.shape[0]

    def project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (B, T or S, E); one product where all three are one tensor."""
        size = self.size
        if self.packed is not None and query is key and key is value:
            mixed = linear(query, self.packed, self.in_bias)
            return mixed[..., :size], mixed[..., size : 2 * size], mixed[..., 2 * size :]
        parts = [slice(0, size), slice(size, 2 * size), slice(2 * size, 3 * size)]
        weights = self.separate if self.packed is None else [self.packed[part] for part in parts]
        biases = [None if self.in_bias is None else self.in_bias[part] for part in parts]
        q, k, v = (linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True))
        return q, k, v

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, int]:
        """Adds the learned and the zero key and value at the end; returns how many."""
        extra, shape = 0, (k.shape[0], 1, self.size)
        if self.bias_k is not None and self.bias_v is not None:
            k, v = cat([k, self.bias_k.expand(shape)], 1), cat([v, self.bias_v.expand(shape)], 1)
            extra += 1
        if self.add_zero:
            blank = zeros(*shape, dtype=k.dtype, device=k.device)
            k, v = cat([k, blank], 1), cat([v, blank], 1)
            extra += 1
        return k, v, extra

    def split(self, x: Tensor) -> Tensor:
        """(B, H, T, D) of (B, T, E)."""
        batch, length, size = x.shape
        return x.reshape(batch, length, self.num_heads, size // self.num_heads).transpose(1, 2)


def attend(
    projections: Projections,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    masks: tuple[Tensor | None, Tensor | None],
    need_weights: bool,
    average_weights: bool,
    is_causal: bool,
    dropout_p: float,
) -> tuple[Tensor, Tensor | None]:
    """Returns the output (B, T, E), and the weights (B, T, S) or per head (B, H, T, S) where they are needed.

    Args:
        projections: the learned parts.
        query: (B, T, E). key, value: (B, S, ...), as the projections want them.
        masks: of keys (B, S), True where one is not looked at, or numbers added to the scores; and of pairs (T, S) or
            (B * H, T, S), likewise.
        need_weights: without the weights a fused operator is used.
        average_weights: over the heads.
        is_causal: query t looks at keys 0..t only; a hint beside an attn_mask.
        dropout_p: probability with which a weight is dropped.
    """
    q, k, v = projections.project(query, key, value)
    k, v, extra = projections.extend(k, v)
    bias = _mask(projections.num_heads, query, key.shape[1], extra, *masks)
    if is_causal and bias is None and (need_weights or extra):
        bias = _causal(query, key.shape[1], extra)
    q, k, v = (projections.split(x) for x in (q, k, v))  # (B, H, T, D), (B, H, S, D) twice
    weights = None
    if need_weights:
        scores = q @ k.transpose(-2, -1) * (1 / math.sqrt(projections.size // projections.num_heads))
        weights = softmax(scores if bias is None else scores + bias, dim=-1)
        mixed = dropout(weights, dropout_p) @ v if dropout_p else weights @ v
    else:
        mixed = scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout_p, is_causal=is_causal and bias is None)
    batch, length, _ = query.shape
    output = linear(mixed.transpose(1, 2).reshape(batch, length, projections.size), projections.out_weight, projections.out_bias)
    return output, weights.mean(dim=1) if weights is not None and average_weights else weights


def _mask(heads: int, query: Tensor, keys: int, extra: int, padding: Tensor | None, attn_mask: Tensor | None) -> Tensor | None:
    """What is added to the scores, broadcastable to (B, H, T, S): minus infinity where looking is forbidden."""
    bias = None
    if attn_mask is not None:
        bias = _additive(attn_mask, query)
        if bias.ndim == 3:
            bias = bias.reshape(query.shape[0], heads, query.shape[1], keys)
    if padding is not None:
        columns = _additive(padding, query).reshape(padding.shape[0], 1, 1, padding.shape[1])
        bias = columns if bias is None else bias + columns
    return bias if bias is None or not extra else pad(bias, (0, extra))


def _additive(mask: Tensor, like: Tensor) -> Tensor:
    if mask.dtype.is_floating_point:
        return mask
    return where(mask, float("-inf"), 0.0).to(like.dtype)


def _causal(query: Tensor, keys: int, extra: int) -> Tensor:
    # Where the column is later than the row.
    columns, rows = arange(keys, device=query.device), arange(query.shape[1], device=query.device)
    later = columns.unsqueeze(0) > rows.unsqueeze(1)
    bias = _additive(later, query)
    return pad(bias, (0, extra)) if extra else bias


def batched(tensors: tuple[Tensor, Tensor, Tensor], dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """The tensors with a batch dimension; one that comes twice stays one, so that it is projected once."""
    query, key, value = tensors
    first = query.unsqueeze(dim)
    second = first if key is query else key.unsqueeze(dim)
    return first, second, second if value is key else value.unsqueeze(dim)


def batch_first(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B, T, E) of (T, B, E), three times; one tensor stays one."""
    first = query.transpose(0, 1)
    second = first if key is query else key.transpose(0, 1)
    return first, second, second if value is key else value.transpose(0, 1)


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Returns the output of multi-head attention and its weights, from explicit parameters; see `nn.MultiheadAttention`.

    Args:
        query: (T, B, E) or (T, E). key, value: (S, B, ...) or (S, ...).
        embed_dim_to_check: E.
        in_proj_weight: (3E, E); with `use_separate_proj_weight` the three others are read instead.
        static_k, static_v: are not supported: attend over ready keys with `scaled_dot_product_attention`.
        is_causal: a hint that needs `attn_mask`, as in PyTorch.

    Raises:
        ShapeError: the query has another size than E, or E is no multiple of the heads.
        ArgumentError: static keys or values are given, or a hint without a mask.
    """
    if query.shape[-1] != embed_dim_to_check or embed_dim_to_check % num_heads:
        came = f"query {tuple(query.shape)}, embed_dim_to_check={embed_dim_to_check}, num_heads={num_heads}"
        raise ShapeError(f"multi_head_attention_forward: the query's last size must be E, a multiple of the heads; came {came}")
    if static_k is not None or static_v is not None:
        raise ArgumentError("multi_head_attention_forward: static_k and static_v are not supported here")
    if is_causal and attn_mask is None:
        raise ArgumentError("multi_head_attention_forward: is_causal needs attn_mask, which it describes")
    single = query.ndim == 2
    if single:
        query, key, value = batched((query, key, value), 1)
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    separate = [w for w in (q_proj_weight, k_proj_weight, v_proj_weight) if w is not None]
    packed = None if use_separate_proj_weight else in_proj_weight
    parts = Projections(num_heads, packed, separate, in_proj_bias, bias_k, bias_v, add_zero_attn, out_proj_weight, out_proj_bias)
    p = dropout_p if training else 0.0
    masks, q, k, v = (key_padding_mask, attn_mask), *batch_first(query, key, value)
    output, weights = attend(parts, q, k, v, masks, need_weights, average_attn_weights, is_causal, p)
    output = output.transpose(0, 1)
    if single:
        return output.squeeze(1), None if weights is None else weights.squeeze(0)
    return output, weights
