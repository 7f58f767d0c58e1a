# SPDX-License-Identifier: Apache-2.0
"""Convolution and attention by cuDNN; own kernels take what it declines."""

from __future__ import annotations

from typing import Any

import numpy as np

from penlight.backends.cuda import precision, wrapper
from penlight.backends.cuda.attention import Heads, heads_of
from penlight.backends.cuda.cudnn_graphs import Graphs
from penlight.layout import channels_last, is_in_format

_HALVES = ("float16", "bfloat16")
_MAX_WIDTH = 128


def table(xp: Any, launcher: wrapper.Launcher) -> dict[str, wrapper.Wrapper]:
    """The wrappers by operator name; they decline where the library is not there."""
    graphs = Graphs(xp, launcher)
    convolution, attention = Convolution(xp, graphs), Attention(xp, graphs)
    return {
        "conv2d": convolution.forward,
        "conv2d_input_grad": convolution.input_gradient,
        "conv2d_weight_grad": convolution.weight_gradient,
        "flash_attention": attention.forward,
        "flash_attention.backward": attention.backward,
    }


def _described(*arrays: Any) -> tuple[Any, ...]:
    return tuple((array.shape, array.strides, str(array.dtype)) for array in arrays)


class Convolution:
    """Convolutions of 16-bit types, and of float32 where `penlight.backends.cudnn.allow_tf32` is set."""

    def __init__(self, xp: Any, graphs: Graphs) -> None:
        self._xp, self._graphs = xp, graphs

    def forward(self, operator: Any, x: Any, weight: Any, bias: Any = None) -> Any:
        """(N, O, OH, OW), in the order of dimensions that x has in memory."""
        out = operator.output_size(x.shape[2:], weight.shape[2:])
        if not self._takes(x, weight, *(() if bias is None else (bias,))) or min(out) < 1:
            return NotImplemented
        if x.shape[1] != weight.shape[1] * operator.groups or weight.shape[0] % operator.groups:
            return NotImplemented
        last = is_in_format(x, channels_last)
        x, weight = self._arranged(x, last), self._arranged(weight, last)
        y = self._empty((x.shape[0], weight.shape[0], *out), x, last)
        geometry = self._geometry(operator)

        def build(frontend: Any, graph: Any) -> None:
            image, filters = (self._graphs.tensor(graph, uid, array) for uid, array in ((1, x), (2, weight)))
            self._graphs.output(graph.conv_fprop(image=image, weight=filters, **geometry), 3, y)

        if not self._graphs.run(("conv_fprop", _described(x, weight, y), str(geometry)), build, (x, weight, y)):
            return NotImplemented
        if bias is not None:
            y += bias.reshape(1, -1, 1, 1)
        return y

    def input_gradient(self, operator: Any, grad: Any, weight: Any) -> Any:
        """(N, C, *size), in the order of dimensions that grad has in memory."""
        if not self._takes(grad, weight) or grad.shape[1] != weight.shape[0]:
            return NotImplemented
        last = is_in_format(grad, channels_last)
        grad, weight = self._arranged(grad, last), self._arranged(weight, last)
        grad_x = self._empty((grad.shape[0], weight.shape[1] * operator.groups, *operator.size), grad, last)
        geometry = self._geometry(operator)

        def build(frontend: Any, graph: Any) -> None:
            loss, filters = (self._graphs.tensor(graph, uid, array) for uid, array in ((1, grad), (2, weight)))
            self._graphs.output(graph.conv_dgrad(loss=loss, filter=filters, **geometry), 3, grad_x)

        key = "conv_dgrad", _described(grad, weight, grad_x), str(geometry)
        return grad_x if self._graphs.run(key, build, (grad, weight, grad_x)) else NotImplemented

    def weight_gradient(self, operator: Any, x: Any, grad: Any) -> Any:
        """(O, C / groups, KH, KW), in the order of dimensions that x has in memory."""
        if not self._takes(x, grad):
            return NotImplemented
        last = is_in_format(x, channels_last)
        x, grad = self._arranged(x, last), self._arranged(grad, last)
        grad_weight = self._empty((grad.shape[1], x.shape[1] // operator.groups, *operator.kernel), x, last)
        geometry = self._geometry(operator)

        def build(frontend: Any, graph: Any) -> None:
            image, loss = (self._graphs.tensor(graph, uid, array) for uid, array in ((1, x), (2, grad)))
            self._graphs.output(graph.conv_wgrad(image=image, loss=loss, **geometry), 3, grad_weight)

        key = "conv_wgrad", _described(x, grad, grad_weight), str(geometry)
        return grad_weight if self._graphs.run(key, build, (x, grad, grad_weight)) else NotImplemented

    def _takes(self, *arrays: Any) -> bool:
        dtypes = {str(getattr(array, "dtype", None)) for array in arrays}
        allowed = (*_HALVES, "float32") if precision.convolution.allow_tf32 else _HALVES
        if len(dtypes) != 1 or not dtypes <= set(allowed) or not all(array.size for array in arrays):
            return False
        return self._graphs.is_there()

    def _geometry(self, operator: Any) -> dict[str, list[int]]:
        return {name: list(map(int, getattr(operator, name))) for name in ("padding", "stride", "dilation")}

    def _arranged(self, array: Any, last: bool) -> Any:
        if last:
            return self._xp.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        return self._xp.ascontiguousarray(array)

    def _empty(self, shape: tuple[int, ...], like: Any, last: bool) -> Any:
        if last:
            n, c, h, w = shape
            return self._xp.empty((n, h, w, c), like.dtype).transpose(0, 3, 1, 2)
        return self._xp.empty(shape, like.dtype)


class Attention:
    """`flash_attention` of 16-bit types without a mask; keys may have 1 in the last leading dimensions, where queries have more.

    Such heads of the queries read one head of the keys, which cuDNN takes as heads that are a multiple of those of the keys
    (https://docs.nvidia.com/deeplearning/cudnn/frontend/latest/operations/Attention.html).
    """

    def __init__(self, xp: Any, graphs: Graphs) -> None:
        self._xp, self._graphs = xp, graphs

    def forward(self, operator: Any, q: Any, k: Any, v: Any, mask: Any = None) -> Any:
        """The result, and log(sum(exp(scores))) of each row in float32."""
        heads = None if mask is not None else self._heads(q, k, v)
        if heads is None:
            return NotImplemented
        shape = q.shape[:-1]
        q, k, v = map(self._xp.ascontiguousarray, (heads.queries(q), heads.keys(k), heads.keys(v)))
        output, sums = self._xp.empty((*q.shape[:3], v.shape[3]), q.dtype), self._xp.empty((*q.shape[:3], 1), np.float32)

        def build(frontend: Any, graph: Any) -> None:
            inputs = [self._graphs.tensor(graph, uid, array) for uid, array in enumerate((q, k, v), 1)]
            result, stats = graph.sdpa(
                **dict(zip("qkv", inputs, strict=True)), generate_stats=True, attn_scale=operator.scale, **_band(frontend, operator)
            )
            self._graphs.output(result, 4, output)
            self._graphs.output(stats, 5, sums)

        key = "sdpa", _described(q, k, v), operator.scale, operator.is_causal
        if not self._graphs.run(key, build, (q, k, v, output, sums)):
            return NotImplemented
        return output.reshape(*shape, v.shape[-1]), sums.reshape(shape)

    def backward(self, operator: Any, needs: Any, grad: Any, output: Any, q: Any, k: Any, v: Any, mask: Any = None) -> Any:
        """Gradients of q, k and v."""
        if mask is not None or grad[0] is None or grad[1] is not None:
            return NotImplemented
        heads = self._heads(q, k, v, grad[0], output[0])
        if heads is None:
            return NotImplemented
        shapes, contiguous = (q.shape, k.shape, v.shape), self._xp.ascontiguousarray
        result, sums = contiguous(heads.queries(output[0])), contiguous(heads.queries(output[1][..., None]))
        q, k, v, g = map(contiguous, (heads.queries(q), heads.keys(k), heads.keys(v), heads.queries(grad[0])))
        gradients = [self._xp.empty(array.shape, array.dtype) for array in (q, k, v)]
        given = (q, k, v, result, g, sums)

        def build(frontend: Any, graph: Any) -> None:
            inputs = [self._graphs.tensor(graph, uid, array) for uid, array in enumerate(given, 1)]
            named = dict(zip(("q", "k", "v", "o", "dO", "stats"), inputs, strict=True))
            options = {"attn_scale": operator.scale, "use_deterministic_algorithm": True, **_band(frontend, operator)}
            for uid, (made, array) in enumerate(zip(graph.sdpa_backward(**named, **options), gradients, strict=True), 7):
                self._graphs.output(made, uid, array)

        key = "sdpa_backward", _described(*given), operator.scale, operator.is_causal
        if not self._graphs.run(key, build, (*given, *gradients)):
            return NotImplemented
        found = zip(gradients, shapes, needs, strict=False)
        return (*(g.reshape(shape) if need else None for g, shape, need in found), None)

    def _heads(self, *arrays: Any) -> Heads | None:
        """None for what the library does not take."""
        q, k, v = arrays[:3]
        dtypes = {str(getattr(array, "dtype", None)) for array in arrays}
        if len(dtypes) != 1 or not dtypes <= set(_HALVES) or any(array.ndim < 4 or not array.size for array in arrays):
            return None
        widths = q.shape[-1], v.shape[-1]
        if k.shape[:-1] != v.shape[:-1] or q.shape[-1] != k.shape[-1] or any(w % 8 or w > _MAX_WIDTH for w in widths):
            return None
        return heads_of(q.shape[:-2], k.shape[:-2]) if self._graphs.is_there() else None


def _band(frontend: Any, operator: Any) -> dict[str, Any]:
    """Causal masks begin at the first query and the first key, as in PyTorch."""
    if not operator.is_causal:
        return {}
    return {"diagonal_alignment": frontend.diagonal_alignment.TOP_LEFT, "diagonal_band_right_bound": 0}
