# SPDX-License-Identifier: Apache-2.0
"""Selecting by position or by truth: triangles, one-hot rows, masks."""

from __future__ import annotations

from typing import Any

import numpy as np

from penlight.dtype import bool_, int64
from penlight.errors import DTypeError, ShapeError
from penlight.ops.arithmetic import where
from penlight.ops.broadcast import broadcast_shapes, constant
from penlight.ops.dispatch import apply
from penlight.ops.gather import check_index
from penlight.ops.index import getitem
from penlight.ops.operator import NotDifferentiable, Operator, Spec
from penlight.ops.registry import register
from penlight.ops.samples import index, sample, shapes
from penlight.tape import mode
from penlight.tensor import Tensor, from_array


@register
class Tril(Operator):
    """The lower triangle of the last two dimensions, up to `diagonal`; zeros elsewhere"""

    name = "tril"
    saves_inputs = False
    samples = (shapes(3, 4, diagonal=0), shapes(2, 3, 3, diagonal=-1), shapes(0, 3))

    diagonal: int = 0

    def infer(self, x: Spec) -> Spec:
        return x

    def forward(self, xp, x):
        return xp.tril(x, self.diagonal)

    def vjp(self, grad, output, x):
        return (apply(self, grad),)


@register
class Triu(Operator):
    """The upper triangle of the last two dimensions, from `diagonal` on; zeros elsewhere"""

    name = "triu"
    saves_inputs = False
    samples = (shapes(3, 4, diagonal=0), shapes(2, 3, 3, diagonal=1), shapes(0, 3))

    diagonal: int = 0

    def infer(self, x: Spec) -> Spec:
        return x

    def forward(self, xp, x):
        return xp.triu(x, self.diagonal)

    def vjp(self, grad, output, x):
        return (apply(self, grad),)


@register
class OneHot(Operator):
    """1 at the place of the index along a new last dimension of size `num_classes`, int64"""

    name = "one_hot"
    gradient = NotDifferentiable("the input is an index")
    samples = (
        sample(index(4, high=5), num_classes=5),
        sample(index(2, 3, high=4), num_classes=6),
        sample(index(0, high=2), num_classes=2),
    )

    num_classes: int

    def infer(self, x: Spec) -> Spec:
        check_index("one_hot", x)
        return Spec((*x.shape, self.num_classes), int64)

    def forward(self, xp, x):
        return (x[..., None] == xp.arange(self.num_classes)).astype(np.int64)


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """Returns `value` where `mask` (bool, broadcast) holds, else `input`."""
    if mask.dtype is not bool_:
        raise DTypeError(f"masked_fill: expected a bool mask, came {mask.dtype}; use mask != 0")
    if isinstance(value, Tensor) and value.ndim:
        raise ShapeError(f"masked_fill: expected a number or a 0-dim tensor, came shape {tuple(value.shape)}; use where")
    if isinstance(value, complex) and input.dtype.kind != 3:
        raise DTypeError(f"masked_fill: {value} does not fit into {input.dtype}")
    held = value.to(input.dtype) if isinstance(value, Tensor) else constant(value, input.dtype, input)
    return where(mask, held, input)


def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """Returns the elements where `mask` (bool, broadcast) holds, 1-D."""
    shape = broadcast_shapes("masked_select", input.shape, mask.shape)
    return getitem(input.expand(shape or (1,)), mask.expand(shape or (1,)))


def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """Returns the indices of the elements that are not 0, (count, ndim) int64, or one vector per dimension."""
    if input._traced is not None:
        mode.tracer.refuse_data_shape("nonzero()")
    data = input._data
    if as_tuple:
        return tuple(from_array(i) for i in (data if data.ndim else data.reshape(1)).nonzero())
    if not data.ndim:
        return from_array(np.zeros((int(bool(data)), 0), dtype=np.int64))
    return from_array(np.stack(data.nonzero(), axis=1).astype(np.int64))


def argwhere(input: Tensor) -> Tensor:
    """Returns the indices of the elements that are not 0, (count, ndim) int64."""
    return nonzero(input)


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """Returns the lower triangle of the last two dimensions, zeros above `diagonal`."""
    return apply(Tril(diagonal), _check_matrix("tril", input))


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """Returns the upper triangle of the last two dimensions, zeros below `diagonal`."""
    return apply(Triu(diagonal), _check_matrix("triu", input))


def _check_matrix(operator: str, input: Tensor) -> Tensor:
    if input.ndim < 2:
        raise ShapeError(f"{operator}: expected at least two dimensions, came {tuple(input.shape)}")
    return input


def one_hot(input: Tensor, num_classes: int = -1) -> Tensor:
    """Returns int64 zeros with a 1 at each index along a new last dimension; -1 takes the largest index plus one."""
    if num_classes < 0:
        num_classes = int(input.max().item()) + 1
    return apply(OneHot(num_classes), input)
