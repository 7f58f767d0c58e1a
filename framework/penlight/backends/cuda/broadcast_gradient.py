# SPDX-License-Identifier: Apache-2.0
"""Gradients of operators that broadcast, from the kernels of `elementwise.cu` and `reduction.cu`."""

from __future__ import annotations

from typing import Any

from penlight.backends.cuda import elementwise, source, wrapper
from penlight.backends.cuda.reduction import Reduce


def table(xp: Any, launcher: wrapper.Launcher) -> dict[str, wrapper.Wrapper]:
    """`add.backward` and so on."""
    run = BroadcastGradient(xp, launcher)
    return {f"{name}.backward": getattr(run, name) for name in ("add", "sub", "mul", "div", "where")}


class BroadcastGradient:
    """Each method takes what `Operator.backward` takes; other types than those of the kernels are declined."""

    def __init__(self, xp: Any, launcher: wrapper.Launcher) -> None:
        self._xp = xp
        self._run = elementwise.Elementwise(xp, launcher)
        self._reduce = Reduce(xp, launcher)
        self._kernels = source.kernels("elementwise")

    def add(self, operator: Any, needs: Any, grad: Any, output: Any, a: Any, b: Any) -> Any:
        """grad for both."""
        return self._gradients(grad, (grad, a) if needs[0] else None, (grad, b) if needs[1] else None)

    def sub(self, operator: Any, needs: Any, grad: Any, output: Any, a: Any, b: Any) -> Any:
        """grad and -grad."""
        return self._gradients(grad, (grad, a) if needs[0] else None, (self._negative(grad), b) if needs[1] else None)

    def mul(self, operator: Any, needs: Any, grad: Any, output: Any, a: Any, b: Any) -> Any:
        """grad * b and grad * a."""
        first = (self._two("binary", "mul", grad, b), a) if needs[0] else None
        return self._gradients(grad, first, (self._two("binary", "mul", grad, a), b) if needs[1] else None)

    def div(self, operator: Any, needs: Any, grad: Any, output: Any, a: Any, b: Any) -> Any:
        """grad / b and -grad / b * (a / b)."""
        share = self._two("fraction", "div", grad, b)
        if not needs[1] or share is NotImplemented:
            return self._gradients(grad, (share, a) if needs[0] else None, None)
        second = self._two("binary", "mul", self._negative(share), self._two("fraction", "div", a, b))
        return self._gradients(grad, (share, a) if needs[0] else None, (second, b))

    def where(self, operator: Any, needs: Any, grad: Any, output: Any, condition: Any, a: Any, b: Any) -> Any:
        """grad where each was chosen, 0 elsewhere."""
        if str(grad.dtype) not in source.ELEMENTS:
            return NotImplemented
        zero = self._xp.zeros((), grad.dtype)
        first = (self._run.where(operator, condition, grad, zero), a) if needs[1] else None
        result = self._gradients(grad, first, (self._run.where(operator, condition, zero, grad), b) if needs[2] else None)
        return result if result is NotImplemented else (None, *result)

    def _two(self, name: str, expression: str, a: Any, b: Any) -> Any:
        return self._run(self._kernels[name].of(expression), (a, b)) if wrapper.takes(a, b) else NotImplemented

    def _negative(self, x: Any) -> Any:
        return self._run(self._kernels["unary"].of("neg"), (x,))

    def _gradients(self, grad: Any, *pairs: tuple[Any, Any] | None) -> Any:
        """Each first one summed to the shape of its second one."""
        results = [None if pair is None else self._summed(*pair) for pair in pairs]
        declined = not wrapper.takes(grad) or any(result is NotImplemented for result in results)
        return NotImplemented if declined else tuple(results)

    def _summed(self, value: Any, like: Any) -> Any:
        if value is NotImplemented or value.shape == like.shape:
            return value
        return self._reduce.sum_to(value, tuple(like.shape))
