# SPDX-License-Identifier: Apache-2.0
"""Scaled dot-product attention as one operator."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from penlight.backends.backend import backend_of
from penlight.dtype import bool_
from penlight.errors import ArgumentError, ShapeError
from penlight.ops.broadcast import broadcast_shapes, reduced, same_dtype, unbroadcast
from penlight.ops.dispatch import apply
from penlight.ops.flash_attention import FlashAttention, causal
from penlight.ops.matmul import matmul
from penlight.ops.operator import Operator, Spec
from penlight.ops.registry import register
from penlight.ops.samples import boolean, of, sample
from penlight.ops.softmax import softmax_array
from penlight.tape import mode
from penlight.tensor import Tensor


@register
class Attention(Operator):
    """softmax(q @ k.T * scale + mask) @ v (Vaswani et al. 2017), with the probabilities as second output.

    q (..., L, E), k (..., S, E), v (..., S, Ev); mask broadcasts to (..., L, S): bool (True takes part) or added. Rows
    that see nothing are 0. `is_causal`: row i sees columns 0..i.
    """

    name = "attention"
    outputs = 2
    saves_output = True
    samples = (
        sample(of(2, 3, 4), of(2, 5, 4), of(2, 5, 3), None, scale=0.5),
        sample(of(2, 2, 4, 3), of(2, 2, 4, 3), of(2, 2, 4, 3), None, scale=0.6, is_causal=True),
        sample(of(2, 3, 4), of(2, 5, 4), of(2, 5, 4), of(3, 5), scale=0.5),
        sample(of(2, 3, 4), of(2, 5, 4), of(2, 5, 4), boolean(2, 3, 5), scale=0.5),
        sample(of(0, 3, 4), of(0, 5, 4), of(0, 5, 4), None, scale=0.5),
    )

    scale: float
    is_causal: bool = False

    def infer(self, q: Spec, k: Spec, v: Spec, mask: Spec | None = None) -> tuple[Spec, Spec]:
        given = f"q {tuple(map(int, q.shape))}, k {tuple(map(int, k.shape))}, v {tuple(map(int, v.shape))}"
        if min(len(q.shape), len(k.shape), len(v.shape)) < 2 or q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
            raise ShapeError(f"attention: expected q (..., L, E), k (..., S, E), v (..., S, Ev), came {given}")
        lead = broadcast_shapes("attention", q.shape[:-2], k.shape[:-2], v.shape[:-2])
        weights = (*lead, q.shape[-2], k.shape[-2])
        if mask is not None and tuple(broadcast_shapes("attention", mask.shape, weights)) != weights:
            raise ShapeError(f"attention: mask {tuple(map(int, mask.shape))} does not broadcast to {tuple(map(int, weights))}")
        dtype = same_dtype("attention", q, k, v)
        return Spec((*lead, q.shape[-2], v.shape[-1]), dtype), Spec(weights, dtype)

    def forward(self, xp, q, k, v, mask):
        scores = xp.matmul(q * q.dtype.type(self.scale), k.swapaxes(-1, -2))
        if self.is_causal:
            scores += causal(xp, scores.shape[-2], scores.shape[-1], scores.dtype)
        if mask is not None:
            scores = xp.where(mask, scores, -np.inf).astype(scores.dtype) if mask.dtype == bool else scores + mask
        weights = softmax_array(xp, scores, -1)
        if mask is not None and scores.size:
            blind = scores.max(axis=-1, keepdims=True) == -np.inf
            if blind.any():
                weights = xp.where(blind, q.dtype.type(0), weights)  # a row that sees nothing is 0 / 0
        return xp.matmul(weights, v), weights

    def backward(self, xp, needs, grad, output, q, k, v, mask):
        if grad[1] is not None:
            return NotImplemented  # the probabilities have a gradient in a second derivative only
        weights, g = output[1], grad[0]
        scale = q.dtype.type(self.scale)
        g_scores = xp.matmul(g, v.swapaxes(-1, -2))
        g_scores -= (g * output[0]).sum(axis=-1, keepdims=True)  # equals the row sum of g_weights * weights
        g_scores *= weights
        gq = reduced(xp.matmul(g_scores, k * scale), q) if needs[0] else None
        gk = reduced(xp.matmul(g_scores.swapaxes(-1, -2), q * scale), k) if needs[1] else None
        gv = reduced(xp.matmul(weights.swapaxes(-1, -2), g), v) if needs[2] else None
        return gq, gk, gv, reduced(g_scores, mask) if needs[3] else None

    def vjp(self, grad, output, q, k, v, mask):
        weights = output[1]
        g_weights = 0.0 if grad[0] is None else matmul(grad[0], v.mT)
        if grad[1] is not None:
            g_weights = grad[1] + g_weights
        product = g_weights * weights
        g_scores = product - weights * product.sum(-1, keepdim=True)
        gv = None if grad[0] is None else unbroadcast(matmul(weights.mT, grad[0]), v)
        gq = unbroadcast(matmul(g_scores, k) * self.scale, q)
        gk = unbroadcast(matmul(g_scores.mT, q) * self.scale, k)
        return gq, gk, gv, None if mask is None or not mask.requires_grad else unbroadcast(g_scores, mask)


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Returns softmax(query @ key.T * scale + mask) @ value.

    Args:
        query: (..., L, E), floating point.
        key: (..., S, E).
        value: (..., S, Ev).
        attn_mask: broadcasts to (..., L, S): bool, True takes part; or floating point, added to the scores.
        dropout_p: share of the probabilities that is dropped; 0 outside of training.
        is_causal: row i sees columns 0..i; not together with `attn_mask`.
        scale: 1 / sqrt(E) by default.
        enable_gqa: query (..., H, L, E) may have more heads than key and value (..., G, S, E); H / G in a row share one.

    Returns:
        (..., L, Ev).
    """
    if enable_gqa and query.shape[-3] != key.shape[-3]:
        return _grouped(query, key, value, attn_mask, dropout_p, is_causal, scale)
    if is_causal and attn_mask is not None:
        raise ArgumentError("scaled_dot_product_attention: give either attn_mask or is_causal=True, not both")
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else float(scale)
    if attn_mask is not None and attn_mask.dtype is not bool_:
        attn_mask = attn_mask.to(query.dtype)
    if dropout_p == 0:
        operator = FlashAttention if _goes_without_weights(query, attn_mask) else Attention
        return apply(operator(factor, is_causal), query, key, value, attn_mask)[0]
    from penlight.ops.dropout import dropout  # late: dropout.py needs random.py, which builds on the operators

    weights = apply(Attention(factor, is_causal), query, key, value, attn_mask)[1]
    return matmul(dropout(weights, dropout_p), value)


def _grouped(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *settings: Any) -> Tensor:
    """Heads of queries in groups, (..., G, H / G, L, E), over which those of keys broadcast (Ainslie et al. 2023)."""
    heads, groups = query.shape[-3], key.shape[-3]
    if groups != value.shape[-3] or heads % groups:
        raise ShapeError(
            "scaled_dot_product_attention: enable_gqa wants as many heads of key as of value, and a multiple of that of query; "
            f"came {heads} of query, {groups} of key, {value.shape[-3]} of value"
        )
    split = (groups, heads // groups)
    if mask is not None and mask.ndim > 2:
        sizes = split if mask.shape[-3] == heads else (mask.shape[-3], 1)
        mask = mask.reshape(*mask.shape[:-3], *sizes, *mask.shape[-2:])
    grouped = query.reshape(*query.shape[:-3], *split, *query.shape[-2:])
    result = scaled_dot_product_attention(grouped, key.unsqueeze(-3), value.unsqueeze(-3), mask, *settings)
    return result.reshape(*query.shape[:-1], value.shape[-1])


def _goes_without_weights(query: Tensor, mask: Tensor | None) -> bool:
    """Where the backend has a kernel for it; a trace has the plain operator, which every model format knows.

    In float32, two products and a softmax are faster than what could be done without tensor cores.
    """
    if mode.tracer is not None or query.dtype.itemsize != 2 or (mask is not None and mask.requires_grad):
        return False
    return backend_of(query._data).kernel(FlashAttention.name) is not None
