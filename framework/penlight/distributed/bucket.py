# SPDX-License-Identifier: Apache-2.0
"""Buckets: gradients of several parameters in one flat array, so that few large messages travel instead of many small."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penlight.backends.backend import backend_of
from penlight.distributed.mpi import MpiEngine, Work, reduce_in_order
from penlight.tensor import Tensor, from_array


class Bucket:
    """Parameters of one dtype, whose gradients are averaged together.

    Attributes:
        parameters: in the order in which their gradients are expected.
        work: the collective under way, or None.
        is_late: a gradient was added to after its bucket had left.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = tuple(parameters)
        self.work: Work | None = None
        self.is_late = False

    def start(self, engine: MpiEngine, is_ordered: bool) -> None:
        """Packs the gradients (zeros where there is none) and sends them off.

        Args:
            is_ordered: gather and add in the order of the ranks, which gives the same bits each time, instead of
                whatever tree the engine likes best.
        """
        flat = self._packed()
        self.work = engine.start_all_gather(flat) if is_ordered else engine.start_all_reduce(flat, "sum")

    def finish(self, engine: MpiEngine, is_ordered: bool) -> Any:
        """The flat array of averages."""
        assert self.work is not None
        total = self.work.wait()
        self.work = None
        if is_ordered:
            total = reduce_in_order(total, "sum")
        total /= engine.size
        return total

    def unpack(self, flat: Any, is_used: Sequence[bool]) -> None:
        """Makes slices of the flat array the gradients; parameters that no rank used keep None."""
        offset = 0
        for parameter, used in zip(self.parameters, is_used, strict=True):
            size = parameter._data.size
            if used:
                parameter.grad = from_array(flat[offset : offset + size].reshape(parameter._data.shape))
            offset += size

    def _packed(self) -> Any:
        xp = backend_of(self.parameters[0]._data).xp
        return xp.concatenate([self._gradient(p, xp).reshape(-1) for p in self.parameters])

    @staticmethod
    def _gradient(parameter: Tensor, xp: Any) -> Any:
        return xp.zeros_like(parameter._data) if parameter.grad is None else parameter.grad._data


def buckets_of(parameters: Sequence[Tensor], size_bytes: int) -> list[Bucket]:
    """Groups parameters, last first since their gradients come first, into buckets of one dtype and about `size_bytes`."""
    buckets: list[Bucket] = []
    open_: dict[Any, list[Tensor]] = {}
    for parameter in reversed(parameters):
        members = open_.setdefault(parameter._data.dtype, [])
        members.append(parameter)
        if sum(member.nbytes for member in members) >= size_bytes:
            buckets.append(Bucket(open_.pop(parameter._data.dtype)))
    return buckets + [Bucket(members) for members in open_.values()]
