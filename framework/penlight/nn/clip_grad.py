# SPDX-License-Identifier: Apache-2.0
"""Gradient clipping, under the name PyTorch gives its place."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from penlight.backends.backend import backend_of, visiting
from penlight.tensor import Tensor, from_array, tensor


def _with_gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    parameters = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [parameter for parameter in parameters if parameter.grad is not None]


def get_total_norm(gradients: Iterable[Tensor], norm_type: float = 2.0) -> float:
    """Returns the norm of all elements of all gradients; infinity as `norm_type` is the largest magnitude."""
    arrays = [gradient._data.reshape(-1) for gradient in gradients]
    if norm_type == math.inf:
        return max(_each(lambda array: abs(array).max(), [array for array in arrays if array.size]), default=0.0)
    if norm_type == 2:
        # Summed in double precision over arrays: a dot product per array makes no temporary.
        return math.sqrt(sum(_each(lambda array: array @ array, arrays)))
    return sum(_each(lambda array: (abs(array) ** norm_type).sum(), arrays)) ** (1 / norm_type)


def _each(number: Callable[[Any], Any], arrays: Sequence[Any]) -> Iterator[float]:
    """A number of each array, made where it lies."""
    for array in arrays:
        with visiting(array):
            yield float(number(array))


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """Scales gradients in place so that their total norm is at most `max_norm`; returns the norm before, as a tensor.

    Raises:
        ArithmeticError: the norm is NaN or infinite and `error_if_nonfinite` is set.
    """
    with_gradients = _with_gradients(parameters)
    if norm_type == 2 and not error_if_nonfinite and (total := _clipped_on_device(with_gradients, max_norm)) is not None:
        return total
    norm = get_total_norm([parameter.grad for parameter in with_gradients if parameter.grad is not None], norm_type)
    if error_if_nonfinite and not math.isfinite(norm):
        raise ArithmeticError(f"clip_grad_norm_: the total norm is {norm}; look for NaN in the data or lower the learning rate")
    factor = max_norm / (norm + 1e-6)
    if factor < 1 or math.isnan(factor):
        for parameter in with_gradients:
            _scale(parameter, factor)
    return tensor(norm)


def _clipped_on_device(parameters: list[Tensor], max_norm: float) -> Tensor | None:
    """The same where one device has a kernel for it: the norm stays there, so that nobody waits for it."""
    backends = {id(b): b for b in (backend_of(parameter._data) for parameter in parameters)}
    kernels = [b.kernels.get("clip_grad_norm") for b in backends.values()]
    if len(kernels) != 1 or kernels[0] is None or len({parameter.device for parameter in parameters}) > 1:
        return None
    with visiting(parameters[0]._data):
        norm = kernels[0]([_own(parameter) for parameter in parameters], max_norm)
    if norm is NotImplemented:
        return None
    for parameter in parameters:
        assert parameter.grad is not None
        parameter.grad.bump_version()
    return from_array(norm)


def clip_grads_with_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float, total_norm: Tensor | float) -> None:
    """Scales gradients in place as `clip_grad_norm_` does, for a total norm that is known."""
    factor = max_norm / (float(total_norm) + 1e-6)
    if factor < 1 or math.isnan(factor):
        for parameter in _with_gradients(parameters):
            _scale(parameter, factor)


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Limits every element of the gradients to +-`clip_value`, in place."""
    for parameter in _with_gradients(parameters):
        gradient = parameter.grad
        assert gradient is not None
        with visiting(gradient._data):
            _own(parameter).clip(-clip_value, clip_value, out=gradient._data)
        gradient.bump_version()


def _scale(parameter: Tensor, factor: float) -> None:
    with visiting(parameter._data):
        gradient = _own(parameter)
        gradient *= gradient.dtype.type(factor)
    assert parameter.grad is not None
    parameter.grad.bump_version()


def _own(parameter: Tensor) -> Any:
    """The gradient's array, made writable: autograd may have handed out a broadcast or read-only view."""
    gradient = parameter.grad
    assert gradient is not None
    flags = gradient._data.flags
    if not getattr(flags, "writeable", True) or 0 in gradient._data.strides:
        gradient._data = gradient._data.copy()
    return gradient._data
