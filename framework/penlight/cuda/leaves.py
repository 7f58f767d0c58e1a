# SPDX-License-Identifier: Apache-2.0
"""What a graph assumes of the leaves of the tape: where their memory and their gradients lie."""

from __future__ import annotations

import gc
from typing import Any

from penlight.errors import CaptureError
from penlight.tensor import Tensor


class Leaves:
    """The leaves that require gradients, before and after a step was captured.

    A gradient that the step makes is one of three: made from nothing (it was None before), added to in place, or made after the
    step itself has dropped the old one. A launch does again what was captured, so the first two need the host's side to be as then.
    """

    def __init__(self) -> None:
        self._before = [(t, t._data, t.grad, t._version and t._version[0]) for t in _all()]
        self._touched: set[int] = set()
        self._hooks = [entry[0].register_post_accumulate_grad_hook(self._note) for entry in self._before]
        self._starts_empty: list[tuple[Tensor, Any]] = []
        self._adds: list[tuple[Tensor, Any]] = []
        self._renewed: list[tuple[Tensor, Any]] = []
        self._written: list[Tensor] = []
        self._read: list[Any] = []  # old gradients that the graph may read: their memory must outlive it

    def _note(self, leaf: Tensor) -> None:
        self._touched.add(id(leaf))

    def _unhook(self) -> None:
        for handle in self._hooks:
            handle.remove()
        self._hooks = []

    def settle(self, zeroed: set[int]) -> None:
        """Notes what the step did to the gradients; `zeroed` holds the ids of leaves whose gradients it dropped first.

        Raises:
            CaptureError: a leaf was bound to other memory, which a launch would not do again.
        """
        for leaf, data, grad, version in self._before:
            if leaf._data is not data:
                self.restore()
                raise CaptureError(
                    f"capture: the step gives new memory to a leaf of shape {tuple(leaf.shape)}, and a launch would not "
                    "do so again; write into it in place, such as with copy_()"
                )
            if (leaf._version and leaf._version[0]) != version:
                self._written.append(leaf)
            if leaf.grad is not grad:
                kind = self._starts_empty if grad is None and id(leaf) not in zeroed else self._renewed
                kind.append((leaf, leaf.grad))
                if grad is not None and id(leaf) not in zeroed:
                    self._read.append(grad)
            elif id(leaf) in self._touched and grad is not None:
                self._adds.append((leaf, grad))
        self._before = []
        self._unhook()

    def restore(self) -> None:
        """Puts memory and gradients back to what they were before a capture that failed."""
        for leaf, data, grad, _ in self._before:
            leaf._data, leaf.grad = data, grad
        self._unhook()

    def check(self) -> None:
        """Looks before a launch whether gradients are where the graph expects them.

        Raises:
            CaptureError: they are not.
        """
        if any(leaf.grad is not None for leaf, _ in self._starts_empty):
            raise CaptureError(
                "capture: gradients were None when the step was captured and are not now, and the graph would not add to them; "
                "call zero_grad() inside of the step, or before each call"
            )
        if any(leaf.grad is not grad for leaf, grad in self._adds):
            raise CaptureError(
                "capture: the step adds to gradients, and they were replaced since it was captured; call zero_grad() inside of "
                "the step, or fill them with zeros in place"
            )

    def rebind(self) -> None:
        """Makes `.grad` what it would be after the step: another graph, or the user, may have bound it to something else."""
        for leaf, grad in (*self._starts_empty, *self._renewed):
            leaf.grad = grad
        for leaf in self._written:
            leaf.bump_version()


def _all() -> list[Tensor]:
    # By type(): isinstance asks an object for its class, at which some of torch's warn.
    return [t for t in gc.get_objects() if issubclass(type(t), Tensor) and t.requires_grad and t._node is None]
