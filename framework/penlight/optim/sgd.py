# SPDX-License-Identifier: Apache-2.0
"""Stochastic gradient descent, with momentum (Sutskever et al. 2013) and weight decay.

A backend may have the step as a kernel, `backend.kernels["sgd"]`:
    kernel(parameters, gradients, momentum_buffers or None, *, lr, momentum, weight_decay, nesterov)
in place, for dampening 0; buffers start as zeros. It may return NotImplemented; then the code here runs. A backend with
memory of its own has `backend.kernels["sgd_on_device"]`: see penlight/backends/cuda/optimizer.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from penlight.backends.backend import backend_of
from penlight.optim.optimizer import Optimizer, all_have_kernel, arrays, check_positive, gradients, zeros_like
from penlight.optim.stepwise import implementation, number
from penlight.tensor import Tensor


class SGD(Optimizer):
    """p = p - lr * g, or with momentum v = momentum * v + g and p = p - lr * v.

    Args:
        params: what to learn, see `Optimizer`.
        lr: step size.
        momentum: decay of the running sum of gradients.
        dampening: part of the gradient that is left out of the running sum.
        weight_decay: part of the parameter that is added to the gradient.
        nesterov: look one step ahead: g + momentum * v instead of v.
        maximize: go up instead of down.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        **options: Any,
    ):
        lr = number(lr)
        check_positive("SGD", lr=lr, momentum=momentum, weight_decay=weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError(f"SGD: nesterov needs momentum > 0 and dampening 0, got {momentum} and {dampening}")
        settings = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov}
        settings |= {"maximize": maximize, **implementation("SGD", ("foreach", "differentiable", "fused"), options)}
        super().__init__(params, settings)

    def update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """Moves the parameters by one step."""
        settings = {name: group[name] for name in ("lr", "momentum", "weight_decay", "nesterov")}
        fresh = [parameter not in self.state for parameter in parameters]
        buffers = [self._buffer(parameter) for parameter in parameters] if group["momentum"] else None
        kernels = backend_of(parameters[0]._data).kernels if not group["dampening"] else {}
        kernel, on_device = kernels.get("sgd"), kernels.get("sgd_on_device")
        grads = gradients(parameters)
        if group.get("maximize"):
            grads = [-grad for grad in grads]
        lists = (arrays(parameters), grads, None if buffers is None else arrays(buffers))
        given = {"owner": self, "group": group, "found_inf": getattr(self, "found_inf", None)}
        if on_device is not None and on_device(*lists, **given) is not NotImplemented:
            return
        if kernel is not None and kernel(*lists, **settings) is not NotImplemented:
            return
        for position, parameter in enumerate(parameters):
            buffer = None if buffers is None else buffers[position]._data
            # PyTorch does not dampen the first gradient.
            dampening = 0.0 if fresh[position] else group["dampening"]
            sgd_step(parameter._data, grads[position], buffer, dampening=dampening, **settings)

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Whether a step heeds `found_inf` (PyTorch's names, for `GradScaler`): a float32 array that forbids it where not 0."""
        return not any(group["dampening"] for group in self.param_groups) and all_have_kernel(self, "sgd_on_device")

    def _buffer(self, parameter: Tensor) -> Tensor:
        if parameter not in self.state:
            self.state[parameter] = {"momentum_buffer": zeros_like(parameter)}
        return self.state[parameter]["momentum_buffer"]


def sgd_step(
    p: Any, g: Any, buffer: Any, *, lr: float, momentum: float, weight_decay: float, nesterov: bool, dampening: float = 0.0
) -> None:
    """Does one SGD step in place on one array of NumPy or CuPy; the reference for kernels."""
    if weight_decay:
        g = g + p * weight_decay
    if buffer is None:
        p -= g * lr
        return
    buffer *= momentum
    buffer += g if not dampening else g * (1 - dampening)
    p -= (g + buffer * momentum if nesterov else buffer) * lr
