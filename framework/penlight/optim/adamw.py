# SPDX-License-Identifier: Apache-2.0
"""Adam (Kingma and Ba 2015) and AdamW (Loshchilov and Hutter 2019).

One step of a whole group is one call. A backend may have it as a kernel, `backend.kernels["adamw"]`:
    kernel(parameters, gradients, exp_avgs, exp_avg_sqs, *, lr, beta1, beta2, eps, weight_decay, step)
on lists of arrays of equal shapes, in place. It may return NotImplemented; then `adamw_step` here runs. Where the counts of
steps live on a device too, `backend.kernels["adamw_on_device"]` is asked first: see penlight/backends/cuda/optimizer.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from penlight import _native
from penlight.backends.backend import backend_of
from penlight.optim.optimizer import Optimizer, all_have_kernel, arrays, check_positive, gradients, zeros_like
from penlight.optim.stepwise import IMPLEMENTATIONS, implementation, number
from penlight.tensor import Tensor, from_array

BLOCK = 1 << 15  # elements; parameter, gradient, both moments and two scratch blocks stay in the second-level cache


class AdamW(Optimizer):
    """Adam with decoupled weight decay.

    Args:
        params: what to learn, see `Optimizer`.
        lr: step size.
        betas: decay of the averages of the gradient and of its square.
        eps: added to the denominator.
        weight_decay: part of the parameter, times lr, that is subtracted in each step.
        amsgrad: whether the largest average so far divides (Reddi et al. 2018).
        maximize: go up instead of down.
    """

    decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        **options: Any,
    ):
        name = type(self).__name__
        lr, betas = number(lr), (number(betas[0]), number(betas[1]))
        check_positive(name, lr=lr, eps=eps, weight_decay=weight_decay)
        if not (0 <= betas[0] < 1 and 0 <= betas[1] < 1):
            raise ValueError(f"{name}: betas must lie in [0, 1), got {betas}")
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad, "maximize": maximize}
        settings |= {"decoupled_weight_decay": self.decoupled, **implementation(name, IMPLEMENTATIONS, options)}
        super().__init__(params, settings)

    def update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """Moves the parameters by one step."""
        self._step(group, parameters, self._gradients(group, parameters), group["weight_decay"])

    def _gradients(self, group: dict[str, Any], parameters: list[Tensor]) -> list[Any]:
        grads = gradients(parameters)
        return [-grad for grad in grads] if group.get("maximize") else grads

    def _step(self, group: dict[str, Any], parameters: list[Tensor], grads: list[Any], weight_decay: float) -> None:
        states = [self._state(group, parameter) for parameter in parameters]
        if self._step_on_device(group, parameters, grads, states, weight_decay):
            return
        # Parameters that joined late, or had no gradient at times, have counts of their own.
        counts = _advance([state["step"]._data for state in states])
        for count in dict.fromkeys(counts):
            chosen = [k for k, own in enumerate(counts) if own == count]
            moments = [[states[k][name]._data for k in chosen] for name in ("exp_avg", "exp_avg_sq")]
            lists: Any = ([parameters[k]._data for k in chosen], [grads[k] for k in chosen], *moments)
            backend = backend_of(lists[0][0])
            settings = {"lr": group["lr"], "beta1": group["betas"][0], "beta2": group["betas"][1], "eps": group["eps"]}
            settings |= {"weight_decay": weight_decay, "step": count}
            if group.get("amsgrad"):
                with_largest: Any = (*lists, [states[k]["max_exp_avg_sq"]._data for k in chosen])
                amsgrad_step(backend.xp, *with_largest, **settings)
                continue
            kernel = backend.kernels.get("adamw")
            if kernel is None or kernel(*lists, **settings) is NotImplemented:
                adamw_step(backend.xp, *lists, **settings)

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Whether a step heeds `found_inf` (PyTorch's names, for `GradScaler`): a float32 array that forbids it where not 0."""
        return not any(group.get("amsgrad") for group in self.param_groups) and all_have_kernel(self, "adamw_on_device")

    def _step_on_device(self, group: dict[str, Any], parameters: list[Tensor], grads: list[Any], states: Any, decay: float) -> bool:
        kernel = backend_of(parameters[0]._data).kernels.get("adamw_on_device")
        if kernel is None or group.get("amsgrad"):
            return False
        lists = [arrays(state[name] for state in states) for name in ("exp_avg", "exp_avg_sq", "step")]
        found_inf = getattr(self, "found_inf", None)
        given = {"owner": self, "group": group, "weight_decay": decay != 0, "found_inf": found_inf}
        return kernel(arrays(parameters), grads, *lists, **given) is not NotImplemented

    def _state(self, group: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
        """What is kept for a parameter, made at its first step."""
        state = self.state.get(parameter)
        if state is None:
            # PyTorch keeps the count as a float32 tensor; where there is a device, its kernels count.
            zero = from_array(backend_of(parameter._data).xp.zeros((), np.float32))
            state = self.state[parameter] = {"step": zero, "exp_avg": zeros_like(parameter), "exp_avg_sq": zeros_like(parameter)}
            if group.get("amsgrad"):
                state["max_exp_avg_sq"] = zeros_like(parameter)
        return state


def _advance(steps: list[Any]) -> list[int]:
    """Adds one to counts that are kept in arrays, and returns them."""
    counts = _native.advance(steps)
    if counts is None:
        for step in steps:
            step += 1
        counts = [int(step) for step in steps]
    return counts


class Adam(AdamW):
    """Adam; `weight_decay` here is added to the gradient (L2), unlike in `AdamW`. Arguments as `AdamW`."""

    decoupled = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        **options: Any,
    ):
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, **options)

    def update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """Moves the parameters by one step."""
        grads, decay = self._gradients(group, parameters), group["weight_decay"]
        if decay:
            grads = [grad + grad.dtype.type(decay) * parameter._data for grad, parameter in zip(grads, parameters, strict=True)]
        self._step(group, parameters, grads, 0.0)


def amsgrad_step(
    xp: Any,
    parameters: list[Any],
    grads: list[Any],
    exp_avgs: list[Any],
    exp_avg_sqs: list[Any],
    largest: list[Any],
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    step: int,
) -> None:
    """Does one AdamW step in place, with the largest second moment so far in the denominator."""
    for p, g, m, v, top in zip(parameters, grads, exp_avgs, exp_avg_sqs, largest, strict=True):
        p *= 1 - lr * weight_decay
        m += (g - m) * (1 - beta1)
        v *= beta2
        v += g * g * (1 - beta2)
        xp.maximum(top, v, out=top)
        p -= m / (xp.sqrt(top) / math.sqrt(1 - beta2**step) + eps) * (lr / (1 - beta1**step))


def adamw_step(
    xp: Any,
    parameters: list[Any],
    grads: list[Any],
    exp_avgs: list[Any],
    exp_avg_sqs: list[Any],
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    step: int,
) -> None:
    """Does one AdamW step in place on arrays of NumPy or CuPy; the reference for kernels.

    m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
    p = p (1 - lr weight_decay) - lr / (1 - beta1^step) * m / (sqrt(v / (1 - beta2^step)) + eps)
    """
    correction = math.sqrt(1 - beta2**step)
    rate = lr / (1 - beta1**step)
    keep = 1 - lr * weight_decay
    for p, g, m, v in zip(parameters, grads, exp_avgs, exp_avg_sqs, strict=True):
        for pb, gb, mb, vb in _blocks(p, g, m, v):
            if keep != 1:
                pb *= keep
            t = xp.subtract(gb, mb, out=xp.empty_like(mb))
            t *= 1 - beta1
            mb += t
            xp.multiply(gb, gb, out=t)
            t *= 1 - beta2
            vb *= beta2
            vb += t
            xp.sqrt(vb, out=t)
            t /= correction
            t += eps
            xp.divide(mb, t, out=t)
            t *= rate
            pb -= t


def _blocks(p: Any, *others: Any) -> Iterable[tuple[Any, ...]]:
    """Yields matching flat pieces that fit the cache; arrays with gaps, and those of a GPU, come whole."""
    together = (p, *others)
    if not isinstance(p, np.ndarray) or p.size <= BLOCK or not all(array.flags.c_contiguous for array in together):
        return [together]
    flat = [array.reshape(-1) for array in together]
    return (tuple(array[start : start + BLOCK] for array in flat) for start in range(0, p.size, BLOCK))
