# SPDX-License-Identifier: Apache-2.0
"""Composites of operators that occur in gradients: what a forward read is added back where it came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import penlight as pl
import penlight.nn.functional as F
from penlight.ops.dispatch import apply
from penlight.ops.index import AdvancedIndexPut, Range, SliceWrite
from penlight.tensor import Tensor
from penlight_export.onnx.composites.index import diagonal_places, window_places
from penlight_export.onnx.composites.registry import composite


def _zeros(shape: Sequence[int], like: Tensor) -> Tensor:
    return pl.zeros(*shape, dtype=like.dtype)


@composite("sum_to")
def sum_to(operator: Any, x: Tensor) -> Tensor:
    """A sum over what was broadcast."""
    lead = x.ndim - len(operator.shape)
    dims = [*range(lead), *(lead + i for i, size in enumerate(operator.shape) if size == 1 and x.shape[lead + i] != 1)]
    return x.sum(dims, keepdim=True).reshape(operator.shape) if dims else x.reshape(operator.shape)


@composite("slice_scatter")
def slice_scatter(operator: Any, x: Tensor) -> Tensor:
    """A write into zeros."""
    return apply(SliceWrite(operator.items), _zeros(operator.shape, x), x)


@composite("gather_add")
def gather_add(operator: Any, x: Tensor, index: Tensor) -> Tensor:
    """A scatter into zeros."""
    return _zeros(operator.shape, x).scatter_add(operator.dim, index, x)


@composite("take_add")
def take_add(operator: Any, x: Tensor, index: Tensor) -> Tensor:
    """Rows added to zeros, with the dimension in front."""
    dims = tuple(range(operator.dim, operator.dim + index.ndim))
    rows = x.movedim(dims, tuple(range(index.ndim))) if dims else x.unsqueeze(0)
    rest = rows.shape[max(index.ndim, 1) :]
    total = _zeros((operator.size, *rest), x).index_add(0, index.reshape(-1), rows.reshape(-1, *rest))
    return total.movedim(0, operator.dim)


@composite("advanced_index_add")
def advanced_index_add(operator: Any, x: Tensor, *indices: Tensor) -> Tensor:
    """Elements added to zeros."""
    return apply(AdvancedIndexPut(operator.dims, True), _zeros(operator.shape, x), x, *indices)


@composite("diagonal_scatter")
def diagonal_scatter(operator: Any, x: Tensor) -> Tensor:
    """The diagonal written into zeros."""
    rest = [size for dim, size in enumerate(operator.shape) if dim not in (operator.dim1, operator.dim2)]
    shape = (*rest, operator.shape[operator.dim1], operator.shape[operator.dim2])
    places = diagonal_places(operator, shape)
    whole = apply(AdvancedIndexPut((len(rest), len(rest) + 1), True), _zeros(shape, x), x, *places)
    return whole.movedim((-2, -1), (operator.dim1, operator.dim2))


@composite("unfold_dim_add")
def unfold_dim_add(operator: Any, x: Tensor) -> Tensor:
    """The elements of all windows added to zeros, with the dimension in front."""
    windows = x.movedim((operator.dim, -1), (0, 1))
    rest = windows.shape[2:]
    places = window_places(operator, operator.length).reshape(-1)
    total = _zeros((operator.length, *rest), x).index_add(0, places, windows.reshape(-1, *rest))
    return total.movedim(0, operator.dim)


@composite("max_pool2d_index")
def max_pool2d_index(operator: Any, x: Tensor) -> Tensor:
    """The first largest one of the taps."""
    lowest = pl.finfo(x.dtype).min if x.dtype.is_floating_point else pl.iinfo(x.dtype).min
    return pl.stack(_taps(operator, x, operator.output_size(x.shape[2:]), lowest)).argmax(0)


@composite("max_pool2d_read")
def max_pool2d_read(operator: Any, x: Tensor, winners: Tensor) -> Tensor:
    """The tap that won, of all taps."""
    return pl.stack(_taps(operator, x, winners.shape[2:], 0)).gather(0, winners.unsqueeze(0)).squeeze(0)


@composite("max_pool2d_grad")
def max_pool2d_grad(operator: Any, x: Tensor, winners: Tensor) -> Tensor:
    """Each tap added where it won."""
    parts = [pl.where(winners == number, x, 0.0) for number in range(operator.kernel_size[0] * operator.kernel_size[1])]
    return _spread(operator, parts, x.shape[2:])


@composite("avg_pool2d_grad")
def avg_pool2d_grad(operator: Any, x: Tensor) -> Tensor:
    """The share of each tap added."""
    import numpy as np  # here: the divisor is an array, as the operator computes it

    divisor = operator.divisor(np, tuple(map(int, operator.size)), tuple(map(int, x.shape[2:])), x.dtype.numpy)
    share = x / pl.from_numpy(np.asarray(divisor, x.dtype.numpy))
    return _spread(operator, [share] * (operator.kernel_size[0] * operator.kernel_size[1]), x.shape[2:])


@composite("conv2d_weight_grad")
def conv2d_weight_grad(operator: Any, x: Tensor, grad: Tensor) -> Tensor:
    """A convolution of the input with the gradient: batch and channels change places, stride and dilation too."""
    if not x.numel():
        return _zeros((grad.shape[1], x.shape[1] // operator.groups, *operator.kernel), x)
    n, groups, (h, w) = x.shape[0], operator.groups, x.shape[2:]
    wide = x.reshape(n, groups, -1, h, w).permute(2, 1, 0, 3, 4).reshape(-1, groups * n, h, w)
    full = F.conv2d(wide, grad.transpose(0, 1), None, operator.dilation, operator.padding, operator.stride, groups)
    return full.transpose(0, 1)[:, :, : operator.kernel[0], : operator.kernel[1]]


def _taps(operator: Any, x: Tensor, out: Sequence[int], value: float) -> list[Tensor]:
    """What each tap of the window reads, (N, C, OH, OW) each."""
    pads = [number for pair in reversed(_pads(operator, x.shape[2:], out)) for number in pair]
    padded = F.pad(x, pads, value=value)
    return [padded[place] for _, place in operator.taps(out)]


def _spread(operator: Any, parts: Sequence[Tensor], out: Sequence[int]) -> Tensor:
    """The parts added at the places of the taps."""
    rows, columns = _pads(operator, operator.size, out)
    (h, w), x = operator.size, parts[0]
    total = _zeros((*x.shape[:2], h + sum(rows), w + sum(columns)), x)
    base = total
    for (_, place), part in zip(operator.taps(out), parts, strict=True):
        items = tuple(Range(d.start or 0, o, d.step or 1) for d, o in zip(place, part.shape, strict=True))
        total = total + apply(SliceWrite(items), base, part)
    return total[:, :, rows[0] : rows[0] + h, columns[0] : columns[0] + w]


def _pads(operator: Any, size: Sequence[int], out: Sequence[int]) -> list[tuple[int, int]]:
    """Rows and columns before and after the input that windows read."""
    arguments = zip(size, out, operator.kernel_size, operator.stride, operator.padding, operator.dilation, strict=True)
    return [(p, max(p, (o - 1) * s + d * (k - 1) + 1 - n - p)) for n, o, k, s, p, d in arguments]
