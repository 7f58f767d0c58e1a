# SPDX-License-Identifier: Apache-2.0
"""What optimizers share whose step is a formula per parameter: PyTorch's options, state, step counts, weight decay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from penlight.backends.backend import backend_of
from penlight.optim.optimizer import Optimizer, check_positive, zeros_like
from penlight.tensor import Tensor, from_numpy

# How PyTorch computes a step; here there is one way, and the names are kept so that state_dicts agree.
IMPLEMENTATIONS: dict[str, Any] = {"foreach": None, "capturable": False, "differentiable": False, "fused": None}


def number(value: Any) -> float:
    """Returns a setting as a number; a tensor of one element is read."""
    return float(value.item()) if isinstance(value, Tensor) else value


def implementation(owner: str, names: Iterable[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns PyTorch's implementation options, as given or by default.

    Raises:
        TypeError: an argument is none of them.
    """
    for unknown in sorted(set(given) - set(names)):
        raise TypeError(f"{owner}: unknown option {unknown!r}; of PyTorch's further options it takes {', '.join(names) or 'none'}")
    return {name: given.get(name, IMPLEMENTATIONS[name]) for name in names}


def scalar(value: float) -> Tensor:
    """Returns a number as PyTorch keeps it in a state: a float32 tensor of no dimension."""
    return from_numpy(np.array(value, np.float32))


class Stepwise(Optimizer):
    """Base: subclasses name their state in `first_state` and move one parameter in `move`.

    Class attributes:
        decays_gradient: whether weight_decay is added to the gradient here; otherwise `move` sees to it.
        options: which of PyTorch's implementation options the optimizer has.
    """

    decays_gradient = True
    options: tuple[str, ...] = ("foreach", "capturable", "differentiable")

    def __init__(self, params: Iterable[Any], settings: dict[str, Any], given: Mapping[str, Any], maximize: bool | None = False):
        name = type(self).__name__
        settings = {key: number(value) for key, value in settings.items()}
        check_positive(name, lr=settings["lr"], weight_decay=settings.get("weight_decay", 0.0))
        chosen = implementation(name, self.options, given)
        direction = {} if maximize is None else {"maximize": maximize}
        super().__init__(params, {**settings, **direction, **chosen})

    def first_state(self, group: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
        """Returns the state of a parameter before its first step."""
        return {}

    def move(self, group: dict[str, Any], p: Any, g: Any, state: dict[str, Any], step: int) -> None:
        """Moves the array `p` in place by gradient `g`; `step` counts from 1."""
        raise NotImplementedError(f"{type(self).__name__} must define move")

    def update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """Moves the parameters by one step."""
        decay = group.get("weight_decay", 0.0) if self.decays_gradient else 0.0
        for parameter in parameters:
            state = self.state.get(parameter)
            if state is None:
                state = self.state[parameter] = self.first_state(group, parameter)
            assert parameter.grad is not None
            p, g = parameter._data, parameter.grad._data
            g = -g if group.get("maximize") else g
            self.move(group, p, g + p * decay if decay else g, state, self._advance(state))

    def _advance(self, state: dict[str, Any]) -> int:
        if "step" not in state:
            return 0
        state["step"]._data += 1
        return int(state["step"]._data)


def blank(parameter: Tensor, *names: str) -> dict[str, Any]:
    """Returns a state of a step count of 0, and zeros under each name."""
    return {"step": scalar(0.0), **{name: zeros_like(parameter) for name in names}}


def average(running: Any, new: Any, weight: float) -> None:
    """Moves `running` towards `new` by `weight`, in place."""
    running += (new - running) * weight


def decay_square(running: Any, g: Any, beta: float) -> None:
    """running = beta * running + (1 - beta) * g^2, in place."""
    running *= beta
    running += g * g * (1 - beta)


def xp_of(array: Any) -> Any:
    """Returns numpy or cupy, whichever the array is of."""
    return backend_of(array).xp
