# SPDX-License-Identifier: Apache-2.0
"""Launches `gated.cu`."""

from __future__ import annotations

from typing import Any

from penlight.backends.cuda import launch, source, wrapper


def table(xp: Any, launcher: wrapper.Launcher) -> dict[str, wrapper.Wrapper]:
    """The wrappers by operator name."""
    kernels = source.kernels("gated")

    def run(name: str, read: dict[str, Any], written: tuple[str, ...]) -> Any:
        if not wrapper.takes(*read.values()) or len({array.shape for array in read.values()}) != 1:
            return NotImplemented
        values = {key: xp.ascontiguousarray(array) for key, array in read.items()}
        gate = read["gate"]
        results = tuple(xp.empty(gate.shape, gate.dtype) for _ in written)
        values.update(zip(written, results, strict=True), count=gate.size)
        wrapper.launch(launcher, kernels[name], str(gate.dtype), launch.elements(gate.size, gate.itemsize), values)
        return results

    def forward(operator: Any, gate: Any, up: Any) -> Any:
        result = run("swiglu_forward", {"gate": gate, "up": up}, ("y",))
        return result if result is NotImplemented else result[0]

    def backward(operator: Any, needs: Any, grad: Any, output: Any, gate: Any, up: Any) -> Any:
        return run("swiglu_backward", {"grad": grad, "gate": gate, "up": up}, ("grad_gate", "grad_up"))

    return {"swiglu": forward, "swiglu.backward": backward}
