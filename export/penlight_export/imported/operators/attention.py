# SPDX-License-Identifier: Apache-2.0
"""Attention of operator set 23 and above."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from onnx.helper import tensor_dtype_to_np_dtype

import penlight as pl
from penlight.nn import functional as F
from penlight_export.imported.registry import operator
from penlight_export.imported.values import DTYPES

Tensor = pl.Tensor
_WITH_CAP, _WITH_MASK, _WEIGHTS = 1, 2, 3  # what the fourth output shows; 0: the scores themselves


@operator("Attention")
def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    lengths: Tensor | None = None,
    *,
    is_causal: int = 0,
    kv_num_heads: int | None = None,
    left_window_size: int = -1,
    q_num_heads: int | None = None,
    qk_matmul_output_mode: int = 0,
    right_window_size: int = -1,
    scale: float | None = None,
    softcap: float = 0.0,
    softmax_precision: int | None = None,
    node: Any = None,
) -> Any:
    """Softmax of scaled products, with a mask, a causal border, a window, and keys and values of the steps before."""
    flat = q.ndim == 3
    if flat:
        q, k, v = _heads(q, q_num_heads), _heads(k, kv_num_heads), _heads(v, kv_num_heads)
    k = k if past_key is None else pl.cat([past_key, k], 2)
    v = v if past_value is None else pl.cat([past_value, v], 2)
    present = (k, v)
    groups = q.shape[1] // k.shape[1]
    if groups > 1:
        k, v = pl.repeat_interleave(k, groups, 1), pl.repeat_interleave(v, groups, 1)
    windows = left_window_size >= 0 or right_window_size >= 0
    shown = node.count > 3 and bool(node.outputs[3])
    simple = (
        not windows
        and lengths is None
        and not softcap
        and not shown
        and not (is_causal and (past_key is not None or mask is not None))
    )
    if simple and (mask is None or mask.shape[-1] == k.shape[2]) and (mask is None or mask.dtype is not pl.bool):
        y, scores = F.scaled_dot_product_attention(q, k, v, mask, is_causal=bool(is_causal), scale=scale), None
    else:
        offset = past_key.shape[2] if past_key is not None else 0 if lengths is None else lengths.reshape(-1, 1, 1, 1) - q.shape[2]
        bias = _bias(q, k, mask, lengths, is_causal, offset, (left_window_size, right_window_size))
        y, scores = _attend(q, k, v, bias, scale, softcap, softmax_precision, qk_matmul_output_mode)
    if flat:
        y = y.permute(0, 2, 1, 3).reshape(y.shape[0], y.shape[2], y.shape[1] * y.shape[3])
    return (y, *present, scores)[: max(node.count, 1)]


def _heads(x: Tensor, count: int | None) -> Tensor:
    """(B, S, H * D) as (B, H, S, D)."""
    assert count is not None
    return x.reshape(x.shape[0], x.shape[1], count, x.shape[2] // count).permute(0, 2, 1, 3)


def _forbid(bias: Tensor, allowed: Tensor) -> Tensor:
    return bias + pl.where(allowed, pl.zeros((), dtype=bias.dtype), pl.full((), -np.inf, dtype=bias.dtype))


def _bias(
    q: Tensor, k: Tensor, mask: Tensor | None, lengths: Tensor | None, causal: int, offset: Any, windows: tuple[int, int]
) -> Tensor:
    """What is added to the scores: 0, or -inf where a query must not look."""
    rows, columns = pl.arange(q.shape[2]).reshape(-1, 1), pl.arange(k.shape[2])
    bias = pl.zeros(q.shape[2], k.shape[2], dtype=q.dtype)
    if mask is not None:
        missing = k.shape[2] - mask.shape[-1]
        kept = mask
        if missing:
            kept = F.pad(mask.to(q.dtype), [0, missing], value=0.0 if mask.dtype is pl.bool else -np.inf)
            kept = kept != 0 if mask.dtype is pl.bool else kept
        bias = _forbid(bias, kept) if mask.dtype is pl.bool else bias + kept
    if causal:
        bias = _forbid(bias, columns <= rows + offset)
    if windows[0] >= 0:
        bias = _forbid(bias, columns >= rows + offset - windows[0])
    if windows[1] >= 0:
        bias = _forbid(bias, columns <= rows + offset + windows[1])
    if lengths is not None:
        bias = _forbid(bias, columns < lengths.reshape(-1, 1, 1, 1))
    return bias


def _attend(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float | None, cap: float, precision: int | None, shown: int
) -> tuple[Tensor, Tensor]:
    """The result, and the scores at the place that the node shows. A query that may look nowhere gives zeros."""
    half = pl.full((), math.sqrt(1 / math.sqrt(q.shape[3]) if scale is None else scale), dtype=q.dtype)
    raw = pl.matmul(q * half, k.permute(0, 1, 3, 2) * half)
    capped = pl.tanh(raw / cap) * cap if cap > 0 else raw
    scores = capped + bias
    inner = scores if precision is None else scores.to(DTYPES[np.dtype(tensor_dtype_to_np_dtype(precision))])
    blind = pl.amax(bias, -1, True) == -np.inf
    weights = F.softmax(pl.where(blind, pl.zeros((), dtype=inner.dtype), inner), -1).to(q.dtype)
    weights = pl.where(blind, pl.zeros((), dtype=q.dtype), weights)
    return pl.matmul(weights, v), (raw, capped, scores, weights)[shown]
