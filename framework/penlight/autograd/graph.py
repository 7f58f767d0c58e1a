# SPDX-License-Identifier: Apache-2.0
"""Nodes of the tape, and hooks on what it saves (`penlight.autograd.graph`, PyTorch's names)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from penlight.autograd import packing
from penlight.autograd.node_hooks import AccumulateGrad as AccumulateGrad
from penlight.tape import Node as Node


class saved_tensors_hooks:
    """Within it, tensors that the tape saves go through `pack_hook`, and through `unpack_hook` when backward needs them.

    Args:
        pack_hook: takes the saved tensor and returns anything, such as the name of a file or a smaller form. It must not
            change the tensor.
        unpack_hook: takes what `pack_hook` returned and returns a tensor of the same shape, dtype and content.

    Example:
        >>> with pl.autograd.graph.saved_tensors_hooks(lambda t: t.to(pl.bfloat16), lambda t: t.to(pl.float32)):
        ...     loss = model(x).sum()
    """

    def __init__(self, pack_hook: packing.Pack, unpack_hook: packing.Unpack) -> None:
        self.pack_hook, self.unpack_hook = pack_hook, unpack_hook

    def __enter__(self) -> None:
        packing.push(self.pack_hook, self.unpack_hook)

    def __exit__(self, *_: Any) -> None:
        packing.pop()


class save_on_cpu(saved_tensors_hooks):
    """Within it, the tape keeps what it saves in host memory, and brings it back to the device for the backward."""

    def __init__(self) -> None:
        super().__init__(lambda t: (t.device, t.cpu()), lambda packed: packed[1].to(packed[0]))


@contextmanager
def disable_saved_tensors_hooks(error_message: str) -> Iterator[None]:
    """Within it, using `saved_tensors_hooks` raises a GradientError with this message."""
    before, packing.stack.refusal = packing.stack.refusal, error_message
    try:
        yield
    finally:
        packing.stack.refusal = before
