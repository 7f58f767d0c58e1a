# SPDX-License-Identifier: Apache-2.0
"""Optimizers that scale each element by its past gradients: Adagrad, RMSprop, Adadelta, Adamax, NAdam, RAdam."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from penlight.optim.stepwise import Stepwise, average, blank, decay_square, scalar, xp_of
from penlight.tensor import Tensor


class Adagrad(Stepwise):
    """p = p - lr / (1 + (step - 1) * lr_decay) * g / (sqrt(sum of g^2) + eps) (Duchi et al. 2011).

    Args:
        params: what to learn, see `Optimizer`.
        lr: step size.
        lr_decay: how fast the step size falls.
        weight_decay: part of the parameter that is added to the gradient.
        initial_accumulator_value: first value of the sums.
        eps: added to the denominator.
        maximize: go up instead of down.
    """

    options = ("foreach", "differentiable", "fused")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
        **options: Any,
    ):
        settings = {"lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay}
        settings["initial_accumulator_value"] = initial_accumulator_value
        super().__init__(params, settings, options, maximize)
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter] = self.first_state(group, parameter)

    def first_state(self, group: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
        state = blank(parameter, "sum")
        state["sum"]._data += group["initial_accumulator_value"]
        return state

    def move(self, group: dict[str, Any], p: Any, g: Any, state: dict[str, Any], step: int) -> None:
        total = state["sum"]._data
        total += g * g
        p -= g / (xp_of(p).sqrt(total) + group["eps"]) * (group["lr"] / (1 + (step - 1) * group["lr_decay"]))


class RMSprop(Stepwise):
    """p = p - lr * g / (sqrt(average of g^2) + eps) (Tieleman and Hinton 2012).

    Args:
        params: what to learn, see `Optimizer`.
        lr: step size.
        alpha: decay of the average.
        eps: added to the denominator.
        weight_decay: part of the parameter that is added to the gradient.
        momentum: decay of a running sum of steps.
        centered: whether the squared average of g is taken off, which leaves the variance.
        maximize: go up instead of down.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
        **options: Any,
    ):
        settings = {"lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered}
        super().__init__(params, {**settings, "weight_decay": weight_decay}, options, maximize)

    def first_state(self, group: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
        more = ["momentum_buffer"] * (group["momentum"] > 0) + ["grad_avg"] * group["centered"]
        return blank(parameter, "square_avg", *more)

    def move(self, group: dict[str, Any], p: Any, g: Any, state: dict[str, Any], step: int) -> None:
        xp, square = xp_of(p), state["square_avg"]._data
        decay_square(square, g, group["alpha"])
        if group["centered"]:
            mean = state["grad_avg"]._data
            average(mean, g, 1 - group["alpha"])
            square = square - mean * mean
        change = g / (xp.sqrt(square) + group["eps"])
        if group["momentum"] > 0:
            buffer = state["momentum_buffer"]._data
            buffer *= group["momentum"]
            buffer += change
            change = buffer
        p -= change * group["lr"]


class Adadelta(Stepwise):
    """Steps as large as past steps, over past gradients (Zeiler 2012).

    Args:
        params: what to learn, see `Optimizer`.
        lr: factor of the step.
        rho: decay of both averages.
        eps: added to both under the root.
        weight_decay: part of the parameter that is added to the gradient.
        maximize: go up instead of down.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        **options: Any,
    ):
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay}, options, maximize)

    def first_state(self, group: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
        return blank(parameter, "square_avg", "acc_delta")

    def move(self, group: dict[str, Any], p: Any, g: Any, state: dict[str, Any], step: int) -> None:
        xp, rho, eps = xp_of(p), group["rho"], group["eps"]
        square, past = state["square_avg"]._data, state["acc_delta"]._data
        decay_square(square, g, rho)
        change = xp.sqrt(past + eps) / xp.sqrt(square + eps) * g
        decay_square(past, change, rho)
        p -= change * group["lr"]


class Adamax(Stepwise):
    """Adam with the largest past gradient instead of the mean square (Kingma and Ba 2015, section 7).

    Args:
        params: what to learn, see `Optimizer`.
        lr: step size.
        betas: decay of the average of the gradient, and of the maximum.
        eps: added to the gradient's magnitude.
        weight_decay: part of the parameter that is added to the gradient.
        maximize: go up instead of down.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        **options: Any,
    ):
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay}, options, maximize)

    def first_state(self, group: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
        return blank(parameter, "exp_avg", "exp_inf")

    def move(self, group: dict[str, Any], p: Any, g: Any, state: dict[str, Any], step: int) -> None:
        (beta1, beta2), xp = group["betas"], xp_of(p)
        mean, largest = state["exp_avg"]._data, state["exp_inf"]._data
        average(mean, g, 1 - beta1)
        largest[...] = xp.maximum(largest * beta2, abs(g) + group["eps"])
        p -= mean / largest * (group["lr"] / (1 - beta1**step))


class _Moments(Stepwise):
    """Two moments as Adam's; weight decay on the gradient, or on the parameter if it is decoupled."""

    decays_gradient = False

    def first_state(self, group: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
        return blank(parameter, "exp_avg", "exp_avg_sq")

    def moments(self, group: dict[str, Any], p: Any, g: Any, state: dict[str, Any]) -> tuple[Any, Any, Any]:
        """Advances both moments, after weight decay; returns them and the gradient."""
        if group["weight_decay"] and group["decoupled_weight_decay"]:
            p *= 1 - group["lr"] * group["weight_decay"]
        elif group["weight_decay"]:
            g = g + p * group["weight_decay"]
        mean, square = state["exp_avg"]._data, state["exp_avg_sq"]._data
        average(mean, g, 1 - group["betas"][0])
        decay_square(square, g, group["betas"][1])
        return mean, square, g


class NAdam(_Moments):
    """Adam with Nesterov's momentum (Dozat 2016).

    Args:
        params: what to learn, see `Optimizer`.
        lr: step size.
        betas: decay of the averages of the gradient and of its square.
        eps: added to the denominator.
        weight_decay: part of the parameter that is added to the gradient.
        momentum_decay: how fast the momentum approaches betas[0].
        decoupled_weight_decay: whether weight_decay shrinks the parameter instead, as in `AdamW`.
        maximize: go up instead of down.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
        **options: Any,
    ):
        settings = {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay, "momentum_decay": momentum_decay}
        super().__init__(params, {**settings, "decoupled_weight_decay": decoupled_weight_decay}, options, maximize)

    def first_state(self, group: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
        return {"step": scalar(0.0), "mu_product": scalar(1.0), **blank(parameter, "exp_avg", "exp_avg_sq")}

    def move(self, group: dict[str, Any], p: Any, g: Any, state: dict[str, Any], step: int) -> None:
        mean, square, g = self.moments(group, p, g, state)
        beta1, beta2 = group["betas"]
        mu, after = (beta1 * (1 - 0.5 * 0.96 ** (s * group["momentum_decay"])) for s in (step, step + 1))
        state["mu_product"]._data *= mu
        product = float(state["mu_product"]._data)
        denominator = xp_of(p).sqrt(square / (1 - beta2**step)) + group["eps"]
        p -= g / denominator * (group["lr"] * (1 - mu) / (1 - product))
        p -= mean / denominator * (group["lr"] * after / (1 - product * after))


class RAdam(_Moments):
    """Adam with a rectified warm-up (Liu et al. 2020).

    Args:
        params: what to learn, see `Optimizer`.
        lr: step size.
        betas: decay of the averages of the gradient and of its square.
        eps: added to the denominator.
        weight_decay: part of the parameter that is added to the gradient.
        decoupled_weight_decay: whether weight_decay shrinks the parameter instead, as in `AdamW`.
        maximize: go up instead of down.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
        **options: Any,
    ):
        settings = {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**settings, "decoupled_weight_decay": decoupled_weight_decay}, options, maximize)

    def move(self, group: dict[str, Any], p: Any, g: Any, state: dict[str, Any], step: int) -> None:
        mean, square, _ = self.moments(group, p, g, state)
        beta1, beta2 = group["betas"]
        correction = 1 - beta2**step
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * step * beta2**step / correction  # of the average that the moment stands for
        change = mean * (group["lr"] / (1 - beta1**step))
        if length > 5:
            ratio = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
            change = change * (ratio**0.5 * correction**0.5) / (xp_of(p).sqrt(square) + group["eps"])
        p -= change
