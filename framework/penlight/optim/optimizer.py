# SPDX-License-Identifier: Apache-2.0
"""Optimizer: parameter groups, state per parameter, and PyTorch's state_dict layout."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np

from penlight.autograd import enable_grad
from penlight.backends.backend import backend_of, visiting
from penlight.backends.cuda import recording
from penlight.dtype import float32
from penlight.errors import StateDictError
from penlight.optim.widening import in_float32, is_half, widened
from penlight.tensor import Tensor, from_array

Kernel = Callable[..., Any]


class Optimizer:
    """Base of all optimizers: subclasses define `update(group, parameters)`.

    float16 and bfloat16 parameters are stepped in float32, in which their state is kept, and rounded once a step.

    Args:
        params: tensors, (name, tensor) pairs, or dicts with "params" and settings of their own.
        defaults: settings of groups that do not say otherwise.

    Attributes:
        param_groups: dicts with "params" and settings such as "lr".
        state: per parameter a dict of Tensors.

    Raises:
        ValueError: no parameters, one that is in two groups, or one that is not a leaf.
    """

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]):
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[Tensor, dict[str, Any]] = {}
        if isinstance(params, Tensor) or not isinstance(params, Iterable):
            raise TypeError(
                f"{type(self).__name__}: expected an iterable of parameters, got {type(params).__name__}; pass model.parameters()"
            )
        groups = list(params)
        if not groups:
            raise ValueError(f"{type(self).__name__}: the list of parameters is empty; pass model.parameters()")
        for group in groups if isinstance(groups[0], Mapping) else [{"params": groups}]:
            self.add_param_group(group)

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Adds parameters with settings of their own, such as {"params": ..., "weight_decay": 0}."""
        given = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        parameters = [item[1] if isinstance(item, tuple) else item for item in given]
        known = {id(parameter) for other in self.param_groups for parameter in other["params"]}
        for position, parameter in enumerate(parameters):
            if not isinstance(parameter, Tensor) or not parameter.is_leaf:
                raise ValueError(
                    f"{type(self).__name__}: parameter {position} must be a leaf tensor, got {type(parameter).__name__}"
                )
            if id(parameter) in known:
                raise ValueError(f"{type(self).__name__}: parameter {position} of shape {tuple(parameter.shape)} is there twice")
            known.add(id(parameter))
        self.param_groups.append({**self.defaults, **group, "params": parameters})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Updates every parameter that has a gradient; returns the closure's loss, if there is one."""
        loss = None
        recording.check_optimizer(self)
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if parameters:
                with in_float32(parameters) if any(is_half(p._data) for p in parameters) else nullcontext():
                    self._update(group, parameters)
                for parameter in parameters:
                    parameter.bump_version()
        return loss

    def _update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """Updates the parameters of each device while it is the current one."""
        if all(type(parameter._data) is np.ndarray for parameter in parameters):
            self.update(group, parameters)
            return
        by_device: dict[Any, list[Tensor]] = {}
        for parameter in parameters:
            by_device.setdefault(parameter.device, []).append(parameter)
        for together in by_device.values():
            with visiting(together[0]._data):
                self.update(group, together)

    def update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """Updates the parameters of one group, all of which have gradients."""
        raise NotImplementedError(f"{type(self).__name__} must define update(group, parameters)")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients, or fills them with zeros."""
        recording.note_zeroed(self._all())
        for group in self.param_groups:
            for parameter in group["params"]:
                if set_to_none or parameter.grad is None:
                    parameter.grad = None
                else:
                    parameter.grad = from_array(backend_of(parameter._data).filled_like(parameter._data, 0))

    def state_dict(self) -> dict[str, Any]:
        """Returns {"state": {index: ...}, "param_groups": [...]}, where parameters are numbered through all groups."""
        numbers = {id(parameter): number for number, parameter in enumerate(self._all())}
        state = {numbers[id(parameter)]: dict(entry) for parameter, entry in self.state.items()}
        groups = [{**group, "params": [numbers[id(parameter)] for parameter in group["params"]]} for group in self.param_groups]
        return {"state": dict(sorted(state.items())), "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over settings and state; tensors are copied.

        Raises:
            StateDictError: another number of groups or parameters, or a state of another shape.
        """
        groups = state_dict["param_groups"]
        sizes, own = [len(group["params"]) for group in groups], [len(group["params"]) for group in self.param_groups]
        if sizes != own:
            raise StateDictError(
                f"{type(self).__name__}.load_state_dict: the state has groups of {sizes} parameters, this optimizer {own}"
            )
        parameters = self._all()
        state = {parameters[int(number)]: entry for number, entry in state_dict["state"].items()}
        for parameter, entry in state.items():
            self._check(parameter, entry)
        self.state = {
            parameter: {name: _own(value) if isinstance(value, Tensor) else value for name, value in entry.items()}
            for parameter, entry in state.items()
        }
        for group, saved in zip(self.param_groups, groups, strict=True):
            # A rate may have been saved as a tensor of one element.
            settings = {name: value.item() if isinstance(value, Tensor) else value for name, value in saved.items()}
            group.update({name: value for name, value in settings.items() if name != "params"})

    def _all(self) -> list[Tensor]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def _check(self, parameter: Tensor, entry: Mapping[str, Any]) -> None:
        for name, value in entry.items():
            if isinstance(value, Tensor) and not _fits(value.shape, parameter.shape):
                shapes = f"{tuple(value.shape)}, its parameter {tuple(parameter.shape)}"
                raise StateDictError(f"{type(self).__name__}.load_state_dict: {name} has shape {shapes}")

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value}" for name, value in self.param_groups[0].items() if name != "params")
        return f"{type(self).__name__}({settings}; {len(self._all())} parameters)"


def _fits(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether a state belongs to a parameter: a number, its shape, or sums over some of its dimensions."""
    return not shape or (len(shape) == len(target) and all(n in (1, size) for n, size in zip(shape, target, strict=True)))


def _own(value: Tensor) -> Tensor:
    """A copy of a saved state, in float32 where PyTorch has 16 bits."""
    return value.detach().clone() if not is_half(value._data) else from_array(widened(value._data))


def zeros_like(parameter: Tensor) -> Tensor:
    """Returns contiguous zeros of a parameter's shape and device for its state, float32 for 16 bits."""
    array = parameter._data
    return from_array(backend_of(array).xp.zeros(array.shape, float32.numpy if is_half(array) else array.dtype))


def arrays(tensors: Iterable[Tensor]) -> list[Any]:
    """Returns the arrays of tensors, as kernels take them."""
    return [tensor._data for tensor in tensors]


def all_have_kernel(optimizer: Optimizer, name: str) -> bool:
    """Whether the backend of every parameter has a kernel of this name."""
    return all(name in backend_of(parameter._data).kernels for parameter in optimizer._all())


def gradients(parameters: list[Tensor]) -> list[Any]:
    """Returns the gradients' arrays."""
    return [parameter.grad._data for parameter in parameters if parameter.grad is not None]


def check_positive(owner: str, **values: float) -> None:
    """Raises ValueError for settings below zero."""
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f"{owner}: {name} must be 0 or more, got {value}")
