# SPDX-License-Identifier: Apache-2.0
"""Rotary position embedding (Su et al. 2021, https://arxiv.org/abs/2104.09864)."""

from __future__ import annotations

from typing import Any

from penlight.errors import DTypeError, ShapeError
from penlight.ops.broadcast import same_dtype
from penlight.ops.create import zeros
from penlight.ops.dispatch import apply
from penlight.ops.operator import Operator, Spec
from penlight.ops.registry import register
from penlight.ops.samples import index, of, sample
from penlight.ops.scatter import index_add
from penlight.tensor import Tensor


@register
class RotaryEmbedding(Operator):
    """Turns pairs of features (a, b) by angles: (a cos - b sin, a sin + b cos), as ONNX's RotaryEmbedding does.

    x (B, H, T, D); cos and sin (B, T, R / 2), or (P, R / 2) with rows chosen by position_ids (B, T). The first R <= D features
    are turned: pair i is features i and R / 2 + i, or 2 i and 2 i + 1 where `interleaved`.
    """

    name = "rotary_embedding"
    samples = (
        sample(of(2, 3, 4, 6), of(2, 4, 3), of(2, 4, 3), None),
        sample(of(2, 3, 4, 6), of(5, 3), of(5, 3), index(2, 4, high=5)),
        sample(of(2, 1, 3, 8), of(5, 2), of(5, 2), index(2, 3, high=5), interleaved=True),
        sample(of(1, 2, 3, 16), of(1, 3, 8), of(1, 3, 8), None, interleaved=True),
        sample(of(0, 2, 3, 4), of(0, 3, 2), of(0, 3, 2), None),
    )

    interleaved: bool = False

    def infer(self, x: Spec, cos: Spec, sin: Spec, position_ids: Spec | None = None) -> Spec:
        came = f"x {_sizes(x)}, cos {_sizes(cos)}, sin {_sizes(sin)}"
        if position_ids is None:
            rows, wanted = tuple(cos.shape[:-1]) if len(cos.shape) == 3 else None, "(B, T, R / 2)"
        else:
            rows, wanted = tuple(position_ids.shape) if len(cos.shape) == 2 else None, "(P, R / 2) with position_ids (B, T)"
            came += f", position_ids {_sizes(position_ids)}"
            if position_ids.dtype.is_floating_point or position_ids.dtype.name == "bool":
                raise DTypeError(f"rotary_embedding: position_ids must be integers, came {position_ids.dtype}")
        fits = len(x.shape) == 4 and tuple(cos.shape) == tuple(sin.shape) and rows == (x.shape[0], x.shape[2])
        if not fits or 2 * cos.shape[-1] > x.shape[3]:
            raise ShapeError(f"rotary_embedding: expected x (B, H, T, D), cos and sin {wanted}, R at most D; came {came}")
        return Spec(x.shape, same_dtype("rotary_embedding", x, cos, sin))

    def forward(self, xp, x, cos, sin, position_ids):
        cos, sin = (_rows(table, position_ids) for table in (cos, sin))
        first, second, rest = self._parts(x, cos.shape[-1])
        result = xp.empty(x.shape, x.dtype)
        low, high, tail = self._parts(result, cos.shape[-1])
        low[...] = first * cos - second * sin
        high[...] = first * sin + second * cos
        tail[...] = rest
        return result

    def backward(self, xp, needs, grad, output, x, cos, sin, position_ids):
        if needs[1] or needs[2]:
            return NotImplemented  # angles are constants as a rule
        return self.forward(xp, grad, cos, -sin, position_ids), None, None, None

    def vjp(self, grad, output, x, cos, sin, position_ids):
        gx = apply(self, grad, cos, -sin, position_ids)
        if not cos.requires_grad and not sin.requires_grad:
            return gx, None, None, None
        (a, b, _), (ga, gb, _) = (self._parts(t, cos.shape[-1]) for t in (x, grad))
        g_cos, g_sin = (ga * a + gb * b).sum(1), (gb * a - ga * b).sum(1)
        if position_ids is not None:
            g_cos, g_sin = (_added(g, like, position_ids) for g, like in ((g_cos, cos), (g_sin, sin)))
        return gx, g_cos, g_sin, None

    def _parts(self, x: Any, pairs: int) -> tuple[Any, Any, Any]:
        """Firsts and seconds of the pairs, and what stays; views."""
        rest = x[..., 2 * pairs :]
        if self.interleaved:
            return x[..., : 2 * pairs : 2], x[..., 1 : 2 * pairs : 2], rest
        return x[..., :pairs], x[..., pairs : 2 * pairs], rest


def _sizes(spec: Spec) -> tuple[int, ...]:
    return tuple(map(int, spec.shape))


def _rows(table: Any, position_ids: Any) -> Any:
    """(B, 1, T, R / 2) of a table with a row for each place, or for each position."""
    return (table if position_ids is None else table[position_ids])[:, None]


def _added(grad: Tensor, table: Tensor, position_ids: Tensor) -> Tensor:
    rows = grad.reshape(position_ids.numel(), table.shape[1])
    return index_add(zeros(tuple(table.shape), dtype=grad.dtype, device=grad.device), 0, position_ids.reshape(-1), rows)


def rotary_embedding(x: Tensor, cos: Tensor, sin: Tensor, position_ids: Tensor | None = None, interleaved: bool = False) -> Tensor:
    """Returns x with pairs of its features turned by the angles of their positions (ONNX's RotaryEmbedding).

    Args:
        x: (B, H, T, D), floating point.
        cos, sin: (P, R / 2), a row for each position; without `position_ids` (B, T, R / 2), or (T or more, R / 2), of which the
            first T rows are taken; computed with in the dtype of x. The first R features of D are turned.
        position_ids: (B, T) integers below P.
        interleaved: pairs are neighbours (GPT-J) instead of halves (GPT-NeoX, Llama).

    Raises:
        ShapeError: the sizes do not fit together.
    """
    if position_ids is None and cos.ndim == 2 and sin.ndim == 2 and x.ndim == 4:
        cos, sin = (table[: x.shape[2]].unsqueeze(0).expand(x.shape[0], -1, -1) for table in (cos, sin))
    return apply(RotaryEmbedding(bool(interleaved)), x, cos.to(x.dtype), sin.to(x.dtype), position_ids)
