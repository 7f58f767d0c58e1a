# SPDX-License-Identifier: Apache-2.0
"""Attention that keeps no matrix of probabilities: one number per row is enough to compute them again."""

from __future__ import annotations

from typing import Any

import numpy as np

from penlight.backends.backend import visiting
from penlight.dtype import float32
from penlight.ops.arithmetic import where
from penlight.ops.broadcast import reduced, unbroadcast
from penlight.ops.elementwise import exp
from penlight.ops.matmul import matmul
from penlight.ops.operator import Operator, Spec
from penlight.ops.registry import register
from penlight.ops.samples import boolean, of, sample
from penlight.tensor import Tensor, from_array


@register
class FlashAttention(Operator):
    """softmax(q @ k.T * scale + mask) @ v, with log(sum(exp(scores))) of each row as second output (Dao 2023).

    Takes what `attention` takes; the second output is (..., L), -inf for a row that sees nothing, and float32 where the inputs
    are 16 bits wide. The gradient computes the probabilities again: less memory for more arithmetic, which is a gain where the
    kernel never writes them.
    """

    name = "flash_attention"
    outputs = 2
    private_outputs = 1
    saves_output = True
    samples = (
        sample(of(2, 3, 4), of(2, 5, 4), of(2, 5, 4), None, scale=0.5),
        sample(of(2, 2, 4, 3), of(2, 2, 4, 3), of(2, 2, 4, 3), None, scale=0.6, is_causal=True),
        sample(of(2, 3, 4), of(2, 5, 4), of(2, 5, 4), of(3, 5), scale=0.5),
        sample(of(2, 3, 4), of(2, 5, 4), of(2, 5, 4), boolean(2, 3, 5), scale=0.5),
        sample(of(0, 3, 4), of(0, 5, 4), of(0, 5, 4), None, scale=0.5),
    )

    scale: float
    is_causal: bool = False

    def infer(self, q: Spec, k: Spec, v: Spec, mask: Spec | None = None) -> tuple[Spec, Spec]:
        from penlight.ops.attention import Attention  # late: that module takes this operator

        output, weights = Attention(self.scale, self.is_causal).infer(q, k, v, mask)
        return output, Spec(weights.shape[:-1], float32 if q.dtype.itemsize == 2 else q.dtype)

    def forward(self, xp, q, k, v, mask):
        scores = self._scores(xp, q, k, mask)
        largest = scores.max(axis=-1, keepdims=True) if scores.shape[-1] else scores.sum(axis=-1, keepdims=True) - np.inf
        largest = xp.where(largest == -np.inf, q.dtype.type(0), largest)
        weights = xp.exp(scores - largest)
        total = weights.sum(axis=-1, keepdims=True)
        weights /= xp.where(total == 0, q.dtype.type(1), total)
        return xp.matmul(weights, v), (xp.log(total) + largest)[..., 0].astype(_statistics(q.dtype), copy=False)

    def _scores(self, xp, q, k, mask):
        scores = xp.matmul(q * q.dtype.type(self.scale), k.swapaxes(-1, -2))
        if self.is_causal:
            scores += causal(xp, scores.shape[-2], scores.shape[-1], scores.dtype)
        if mask is None:
            return scores
        return xp.where(mask, scores, -np.inf).astype(scores.dtype) if mask.dtype == bool else scores + mask

    def backward(self, xp, needs, grad, output, q, k, v, mask):
        if grad[0] is None or grad[1] is not None:
            return NotImplemented  # the sums have a gradient in a second derivative only
        (result, sums), g, scale = output, grad[0], q.dtype.type(self.scale)
        seen = xp.where(sums == -np.inf, 0, sums).astype(q.dtype)[..., None]
        weights = xp.exp(self._scores(xp, q, k, mask) - seen)
        g_scores = weights * (xp.matmul(g, v.swapaxes(-1, -2)) - (g * result).sum(axis=-1, keepdims=True))
        gq = reduced(xp.matmul(g_scores, k * scale), q) if needs[0] else None
        gk = reduced(xp.matmul(g_scores.swapaxes(-1, -2), q * scale), k) if needs[1] else None
        gv = reduced(xp.matmul(weights.swapaxes(-1, -2), g), v) if needs[2] else None
        return gq, gk, gv, reduced(g_scores, mask) if needs[3] else None

    def vjp(self, grad, output, q, k, v, mask):
        scores = matmul(q, k.mT) * self.scale
        if self.is_causal:
            with visiting(q._data) as xp:
                scores = scores + from_array(causal(xp, scores.shape[-2], scores.shape[-1], scores._data.dtype))
        if mask is not None:
            scores = scores + mask if mask.dtype.is_floating_point else where(mask, scores, -np.inf)
        sums = where(output[1] == -np.inf, 0.0, output[1]).to(q.dtype)
        weights = exp(scores - sums.unsqueeze(-1))
        slopes: Any = 0.0 if grad[1] is None else grad[1].to(q.dtype).unsqueeze(-1)
        gv: Tensor | None = None
        if grad[0] is not None:
            slopes = slopes + matmul(grad[0], v.mT) - (grad[0] * output[0]).sum(-1, keepdim=True)
            gv = unbroadcast(matmul(weights.mT, grad[0]), v)
        g_scores = weights * slopes
        gq = unbroadcast(matmul(g_scores, k) * self.scale, q)
        gk = unbroadcast(matmul(g_scores.mT, q) * self.scale, k)
        return gq, gk, gv, None if mask is None or not mask.requires_grad else unbroadcast(g_scores, mask)


def _statistics(dtype: Any) -> Any:
    return np.dtype(np.float32) if dtype.itemsize == 2 else dtype


_causal_masks: dict[Any, Any] = {}


def causal(xp: Any, rows: int, columns: int, dtype: Any) -> Any:
    """(L, S): 0 on and below the diagonal, -inf above; the last few are kept."""
    place = None if xp is np else int(xp.cuda.runtime.getDevice())
    key = (place, rows, columns, dtype)
    if key not in _causal_masks:
        if len(_causal_masks) > 16:
            _causal_masks.clear()
        _causal_masks[key] = xp.triu(xp.full((rows, columns), -np.inf, dtype=dtype), 1)
    return _causal_masks[key]
