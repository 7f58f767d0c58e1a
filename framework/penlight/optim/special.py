# SPDX-License-Identifier: Apache-2.0
"""Optimizers of other kinds: averaged SGD, resilient propagation, Adafactor, and Muon for matrices."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from penlight.dtype import bfloat16
from penlight.optim.optimizer import zeros_like
from penlight.optim.stepwise import Stepwise, average, blank, scalar, xp_of
from penlight.tensor import Tensor, from_array


class ASGD(Stepwise):
    """SGD whose average over steps is kept in the state as "ax" (Polyak and Juditsky 1992).

    Args:
        params: what to learn, see `Optimizer`.
        lr: step size.
        lambd: how fast parameters and step size decay.
        alpha: power of the step size's decay.
        t0: the step from which the average is taken.
        weight_decay: part of the parameter that is added to the gradient.
        maximize: go up instead of down.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        **options: Any,
    ):
        settings = {"lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay}
        super().__init__(params, settings, options, maximize)

    def first_state(self, group: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
        return {"step": scalar(0.0), "eta": scalar(group["lr"]), "mu": scalar(1.0), "ax": zeros_like(parameter)}

    def move(self, group: dict[str, Any], p: Any, g: Any, state: dict[str, Any], step: int) -> None:
        eta, mu, mean = float(state["eta"]._data), float(state["mu"]._data), state["ax"]._data
        p *= 1 - group["lambd"] * eta
        p -= g * eta
        average(mean, p, mu)
        state["eta"] = scalar(group["lr"] / (1 + group["lambd"] * group["lr"] * step) ** group["alpha"])
        state["mu"] = scalar(1 / max(1, step - group["t0"]))


class Rprop(Stepwise):
    """Steps of an own size per element, that grows while the sign of the gradient stays (Riedmiller and Braun 1993).

    Args:
        params: what to learn, see `Optimizer`.
        lr: first step size.
        etas: factors when the sign turns, and when it stays.
        step_sizes: smallest and largest step.
        maximize: go up instead of down.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        maximize: bool = False,
        **options: Any,
    ):
        super().__init__(params, {"lr": lr, "etas": tuple(etas), "step_sizes": tuple(step_sizes)}, options, maximize)

    def first_state(self, group: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
        state = blank(parameter, "prev", "step_size")
        state["step_size"]._data += group["lr"]
        return state

    def move(self, group: dict[str, Any], p: Any, g: Any, state: dict[str, Any], step: int) -> None:
        xp, before, size = xp_of(p), state["prev"]._data, state["step_size"]._data
        turn = xp.sign(g * before)
        size *= xp.where(turn > 0, group["etas"][1], xp.where(turn < 0, group["etas"][0], 1.0)).astype(size.dtype)
        xp.clip(size, *group["step_sizes"], out=size)
        g = xp.where(turn < 0, 0, g).astype(p.dtype)  # after a turn the element waits for one step
        p -= xp.sign(g) * size
        before[...] = g


class Adafactor(Stepwise):
    """Adam-like steps with the second moments of a matrix kept as row and column sums (Shazeer and Stern 2018).

    Args:
        params: what to learn, see `Optimizer`.
        lr: upper bound of the relative step size.
        beta2_decay: power of the step count by which the moments forget.
        eps: smallest second moment (None is the machine epsilon), and smallest scale of a parameter.
        d: largest root mean square of a step.
        weight_decay: part of the parameter, times lr, that is subtracted in each step.
        maximize: go up instead of down.
    """

    decays_gradient = False
    options = ("foreach",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        **options: Any,
    ):
        settings = {"lr": lr, "beta2_decay": beta2_decay, "eps": tuple(eps), "d": d, "weight_decay": weight_decay}
        super().__init__(params, settings, options, maximize)

    def first_state(self, group: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
        if parameter.ndim < 2:
            return blank(parameter, "variance")
        xp, shape, dtype = xp_of(parameter._data), tuple(parameter.shape), parameter._data.dtype
        rows, columns = xp.zeros((*shape[:-1], 1), dtype), xp.zeros((*shape[:-2], 1, shape[-1]), dtype)
        return {"step": scalar(0.0), "row_var": from_array(rows), "col_var": from_array(columns)}

    def move(self, group: dict[str, Any], p: Any, g: Any, state: dict[str, Any], step: int) -> None:
        xp, (eps1, eps2) = xp_of(p), group["eps"]
        eps1 = float(np.finfo(p.dtype).eps) if eps1 is None else eps1
        rate = max(eps2, _rms(p)) * min(group["lr"], 1 / step**0.5)
        if group["weight_decay"]:
            p *= 1 - group["lr"] * group["weight_decay"]
        change = g / xp.sqrt(xp.maximum(self._variance(xp, g, state, step ** group["beta2_decay"], eps1), eps1 * eps1))
        p -= change * (rate / max(1.0, _rms(change) / group["d"]))

    def _variance(self, xp: Any, g: Any, state: dict[str, Any], weight: float, eps: float) -> Any:
        if g.ndim < 2:
            variance = state["variance"]._data
            average(variance, g * g, weight)
            return variance
        rows, columns = state["row_var"]._data, state["col_var"]._data
        average(rows, (g * g).mean(-1, keepdims=True), weight)
        average(columns, (g * g).mean(-2, keepdims=True), weight)
        return rows @ columns / xp.maximum(rows.mean(-2, keepdims=True), eps)


def _rms(array: Any) -> float:
    return math.sqrt(float((array * array).sum()) / array.size)


class Muon(Stepwise):
    """Momentum steps of matrices, made orthogonal by Newton-Schulz iterations in bfloat16 (Jordan et al. 2024).

    Args:
        params: matrices; give vectors and embeddings to another optimizer.
        lr: step size.
        weight_decay: part of the parameter, times lr, that is subtracted in each step.
        momentum: decay of the average of the gradient.
        nesterov: look one step ahead.
        ns_coefficients: of the iteration. ns_steps: how many.
        eps: smallest norm that is divided by.
        adjust_lr_fn: how the shape scales the rate: "original" (None) or "match_rms_adamw".

    Raises:
        ValueError: a parameter is not a matrix.
    """

    decays_gradient = False
    options = ()

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ):
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"Muon: adjust_lr_fn must be 'original' or 'match_rms_adamw', got {adjust_lr_fn!r}")
        settings: dict[str, Any] = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov}
        settings["eps"] = eps
        settings |= {"ns_coefficients": tuple(ns_coefficients), "ns_steps": ns_steps, "adjust_lr_fn": adjust_lr_fn}
        super().__init__(params, settings, {}, maximize=None)
        for parameter in self._all():
            if parameter.ndim != 2:
                raise ValueError(f"Muon: expected matrices, got {tuple(parameter.shape)}; give it to AdamW instead")

    def first_state(self, group: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
        return {"momentum_buffer": zeros_like(parameter)}

    def move(self, group: dict[str, Any], p: Any, g: Any, state: dict[str, Any], step: int) -> None:
        buffer = state["momentum_buffer"]._data
        average(buffer, g, 1 - group["momentum"])
        change = g + (buffer - g) * group["momentum"] if group["nesterov"] else buffer
        change = orthogonal(change, group["ns_coefficients"], group["ns_steps"], group["eps"])
        p *= 1 - group["lr"] * group["weight_decay"]
        p -= change.astype(p.dtype) * (group["lr"] * _ratio(p.shape, group["adjust_lr_fn"]))


def _ratio(shape: tuple[int, ...], name: str | None) -> float:
    rows, columns = shape
    return 0.2 * math.sqrt(max(rows, columns)) if name == "match_rms_adamw" else math.sqrt(max(1, rows / columns))


def orthogonal(matrix: Any, coefficients: tuple[float, float, float], steps: int, eps: float) -> Any:
    """Returns a matrix whose singular values are pushed towards 1, rounded to bfloat16 after each product."""
    a, b, c = coefficients

    def rounded(x: Any) -> Any:
        return x.astype(bfloat16.numpy).astype(np.float32)  # products run in float32, as on hardware with bfloat16

    wide = matrix.shape[0] <= matrix.shape[1]
    x = rounded(matrix if wide else matrix.T)
    x = rounded(x / max(float(rounded(np.sqrt((x * x).sum()))), eps))
    for _ in range(steps):
        gram = rounded(x @ x.T)
        x = rounded(a * x + rounded(b * gram + c * (gram @ gram)) @ x)
    return x if wide else x.T
