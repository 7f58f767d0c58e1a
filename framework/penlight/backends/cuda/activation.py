# SPDX-License-Identifier: Apache-2.0
"""Launches the elementwise kernels of `activation.cu`; their names and arguments come from that file."""

from __future__ import annotations

from typing import Any

from penlight.backends.cuda import launch, source, wrapper
from penlight.ops.operator import Operator

# Fields whose values are words, as the numbers that the kernels take.
_WORDS = {"approximate": {"none": 0, "tanh": 1}}


def table(xp: Any, launcher: wrapper.Launcher) -> dict[str, wrapper.Wrapper]:
    """`relu` for the kernel `relu_forward`, `relu.backward` for `relu_backward`, and so on."""
    found: dict[str, wrapper.Wrapper] = {}
    for kernel in source.kernels("activation").values():
        operator, direction = kernel.name.rsplit("_", 1)
        if direction == "forward":
            found[operator] = _forward(kernel, xp, launcher)
        else:
            found[f"{operator}.backward"] = _backward(kernel, xp, launcher)
    return found


def _forward(kernel: source.Kernel, xp: Any, launcher: wrapper.Launcher) -> wrapper.Wrapper:
    def forward(operator: Operator, x: Any) -> Any:
        return _run(kernel, xp, launcher, operator, {"x": x})

    return forward


def _backward(kernel: source.Kernel, xp: Any, launcher: wrapper.Launcher) -> wrapper.Wrapper:
    read = [parameter.name for parameter in kernel.parameters if parameter.kind == "pointer" and not parameter.written]

    def backward(operator: Operator, needs: Any, grad: Any, output: Any, x: Any) -> Any:
        offered = {"grad": grad, "output": output, "x": x}
        result = _run(kernel, xp, launcher, operator, {name: offered[name] for name in read})
        return result if result is NotImplemented else (result,)

    return backward


def _run(kernel: source.Kernel, xp: Any, launcher: wrapper.Launcher, operator: Operator, inputs: dict[str, Any]) -> Any:
    if not wrapper.takes(*inputs.values()):
        return NotImplemented
    values: dict[str, Any] = {name: xp.ascontiguousarray(array) for name, array in inputs.items()}
    first = next(iter(inputs.values()))
    result = xp.empty(first.shape, first.dtype)
    values.update(_fields(operator), count=result.size)
    values.update((parameter.name, result) for parameter in kernel.parameters if parameter.written)
    wrapper.launch(launcher, kernel, str(first.dtype), launch.elements(result.size, result.itemsize), values)
    return result


def _fields(operator: Operator) -> dict[str, Any]:
    return {name: _WORDS.get(name, {}).get(value, value) for name, value in operator.field_values().items()}
