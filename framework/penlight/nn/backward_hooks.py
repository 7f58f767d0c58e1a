# SPDX-License-Identifier: Apache-2.0
"""Hooks on the gradients that pass through a module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penlight.autograd import is_grad_enabled
from penlight.ops.convert import clone
from penlight.ops.shape import cat
from penlight.tensor import Tensor

BackwardHook = Callable[[Any, tuple[Any, ...], tuple[Any, ...]], Any]


class Watch:
    """One forward call: collects the gradients of its outputs, then those of its inputs, and calls the hooks."""

    def __init__(self, module: Any, hooks: list[BackwardHook]):
        self.module, self.hooks = module, hooks
        self.inputs: list[Any] = []
        self.grad_outputs: list[Any] = []

    def watch_inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Returns the arguments, with those that have a gradient led through one vector, whose gradient comes once."""
        chosen = [isinstance(arg, Tensor) and arg.requires_grad and is_grad_enabled() for arg in args]
        self.inputs = [arg for arg, is_chosen in zip(args, chosen, strict=True) if is_chosen]
        if not self.inputs:
            return args
        vector = cat([x.reshape(-1) for x in self.inputs])
        vector.register_hook(self._on_inputs)
        parts = zip(self.inputs, self._split(vector), strict=True)
        watched = iter([part.to(x.dtype) for x, part in parts])
        return tuple(next(watched) if is_chosen else arg for arg, is_chosen in zip(args, chosen, strict=True))

    def _split(self, vector: Tensor) -> list[Tensor]:
        parts = vector.split([x.numel() for x in self.inputs])
        return [part.reshape(tuple(x.shape)) for part, x in zip(parts, self.inputs, strict=True)]

    def _on_inputs(self, grad: Tensor) -> Tensor | None:
        changed = self._call(tuple(self._split(grad)))
        return None if changed is None else cat([part.reshape(-1) for part in changed])

    def watch_outputs(self, output: Any) -> Any:
        """Returns the output, whose gradients are kept as they come."""
        outputs = list(output) if isinstance(output, (tuple, list)) else [output]
        self.grad_outputs = [None] * len(outputs)
        for number, value in enumerate(outputs):
            if isinstance(value, Tensor) and value.requires_grad:
                outputs[number] = clone(value)
                outputs[number].register_hook(self._on_output(number))
        return type(output)(outputs) if isinstance(output, (tuple, list)) else outputs[0]

    def _on_output(self, number: int) -> Callable[[Tensor], None]:
        def keep(grad: Tensor) -> None:
            self.grad_outputs[number] = grad
            if not self.inputs:
                self._call(())

        return keep

    def _call(self, grad_inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        result = None
        for hook in self.hooks:
            changed = hook(self.module, grad_inputs, tuple(self.grad_outputs))
            if changed is not None:
                result = grad_inputs = changed if isinstance(changed, tuple) else (changed,)
        return result
