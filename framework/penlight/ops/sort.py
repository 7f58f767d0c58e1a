# SPDX-License-Identifier: Apache-2.0
"""Order: sorting and the largest elements."""

from __future__ import annotations

from penlight.dtype import int64
from penlight.errors import ArgumentError
from penlight.ops import dims as _dims
from penlight.ops.create import zeros
from penlight.ops.dispatch import apply
from penlight.ops.gather import GatherAdd, gather
from penlight.ops.operator import NotDifferentiable, Operator, Spec
from penlight.ops.registry import register
from penlight.ops.results import named
from penlight.ops.samples import of, sample, shapes
from penlight.tensor import Tensor


@register
class ArgSort(Operator):
    """The indices that sort along `dim`; equal elements keep their order"""

    name = "argsort"
    gradient = NotDifferentiable("the result is an index")
    samples = (
        sample(of(3, 4, distinct=True), dim=1),
        sample(of(4, 2, distinct=True), dim=0, descending=True),
        shapes(0, 3, dim=0),
    )

    dim: int
    descending: bool = False

    def infer(self, x: Spec) -> Spec:
        return Spec(x.shape, int64)

    def forward(self, xp, x):
        if not self.descending:
            return xp.argsort(x, axis=self.dim, kind="stable")
        # Sorting the reversed input and reversing twice keeps the order of equal elements.
        order = xp.flip(xp.argsort(xp.flip(x, self.dim), axis=self.dim, kind="stable"), self.dim)
        return x.shape[self.dim] - 1 - order


@register
class TopK(Operator):
    """The k largest (or smallest) elements along `dim` in order, and their indices"""

    name = "topk"
    outputs = 2
    samples = (
        sample(of(3, 5, distinct=True), k=2, dim=1),
        sample(of(5, 2, distinct=True), k=3, dim=0, largest=False),
        sample(of(0, 3), k=1, dim=1),
    )
    saves_inputs, saves_output = False, True

    k: int
    dim: int
    largest: bool = True

    def infer(self, x: Spec) -> tuple[Spec, Spec]:
        shape = (*x.shape[: self.dim], self.k, *x.shape[self.dim + 1 :])
        return Spec(shape, x.dtype), Spec(shape, int64)

    def forward(self, xp, x):
        order = ArgSort(self.dim, self.largest).forward(xp, x)
        order = order[(slice(None),) * self.dim + (slice(self.k),)]
        return xp.take_along_axis(x, order, axis=self.dim), order

    def vjp(self, grad, output, x):
        return (apply(GatherAdd(self.dim, tuple(x.shape)), grad[0], output[1].detach()),)


def argsort(input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = True) -> Tensor:
    """Returns the indices (int64) that sort along `dim`; the order of equal elements is always kept."""
    if not input.ndim:
        return zeros((), dtype=int64)
    return apply(ArgSort(_dims.one("argsort", dim, input.ndim), descending), input)


@named("values", "indices")
def sort(input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = True) -> tuple[Tensor, Tensor]:
    """Returns the sorted values along `dim` and their indices; the order of equal elements is always kept."""
    if not input.ndim:
        return input.clone(), zeros((), dtype=int64)
    order = argsort(input, dim, descending)
    return gather(input, dim, order), order


@named("values", "indices")
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> tuple[Tensor, Tensor]:
    """Returns the k largest (or smallest) values along `dim`, in order, and their indices (int64)."""
    if not input.ndim:
        return input.clone(), zeros((), dtype=int64)
    d = _dims.one("topk", dim, input.ndim)
    if not 0 <= k <= input.shape[d]:
        raise ArgumentError(f"topk: k={k} is out of range for dim {dim} of size {input.shape[d]}")
    return apply(TopK(k, d, largest), input)
