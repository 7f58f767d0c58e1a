# SPDX-License-Identifier: Apache-2.0
"""Parameters that are computed from others: `register_parametrization(linear, "weight", Symmetric())`.

The tensors behind a parametrized `weight` are `parametrizations.weight.original` (or `original0`, `original1`, ...), as in
PyTorch, and are what the optimizer sees.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from penlight.autograd import no_grad
from penlight.nn.container import ModuleDict, ModuleList
from penlight.nn.module import Module
from penlight.nn.parameter import Parameter
from penlight.tensor import Tensor


class _Cache:
    """Values computed once while `cached()` is active."""

    depth = 0
    values: dict[tuple[int, str], Tensor] = {}


@contextlib.contextmanager
def cached() -> Iterator[None]:
    """Within it each parametrized tensor is computed once, however often it is read."""
    _Cache.depth += 1
    try:
        yield
    finally:
        _Cache.depth -= 1
        if not _Cache.depth:
            _Cache.values = {}


class ParametrizationList(ModuleList):
    """The functions of one tensor, and the tensor(s) they start from."""

    def __init__(self, modules: Sequence[Module], original: Tensor):
        super().__init__(modules)
        value: Any = original
        with no_grad():
            for module in reversed(modules):
                if hasattr(module, "right_inverse"):
                    value = module.right_inverse(value)
        self.is_tensor = isinstance(value, Tensor)
        learned = isinstance(original, Parameter)
        names = ["original"] if self.is_tensor else [f"original{number}" for number in range(len(value))]
        self.ntensors = len(names)
        for name, start in zip(names, [value] if self.is_tensor else value, strict=True):
            tensor = start.detach().clone()
            if learned:
                self.register_parameter(name, Parameter(tensor, requires_grad=original.requires_grad))
            else:
                self.register_buffer(name, tensor)

    def originals(self) -> list[Tensor]:
        """Returns the tensors the value is computed from."""
        names = ["original"] if self.is_tensor else [f"original{number}" for number in range(self.ntensors)]
        return [getattr(self, name) for name in names]

    def forward(self) -> Tensor:
        """Computes the value."""
        first, *others = self
        value = first(*self.originals())
        for module in others:
            value = module(value)
        return value


def register_parametrization(module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False) -> Module:
    """Computes `module.<tensor_name>` by `parametrization` from now on; returns the module.

    A parametrization may have `right_inverse(value)`, which gives the tensor(s) to start from.

    Args:
        module: a layer.
        tensor_name: a parameter or buffer of it, or one that is parametrized already.
        parametrization: maps tensor(s) to the value.
        unsafe: whether shape or dtype may change.

    Raises:
        ValueError: there is no such tensor, or its shape or dtype would change.
    """
    if is_parametrized(module, tensor_name):
        known = functions_of(module)[tensor_name]
        before = getattr(module, tensor_name)
        _check(tensor_name, before, parametrization(before), unsafe)
        if hasattr(parametrization, "right_inverse") and known.is_tensor:
            _start_from(known, parametrization.right_inverse(before))
        known.append(parametrization)
        return module
    original: Tensor | None = module._parameters.get(tensor_name)
    original = module._buffers.get(tensor_name) if original is None else original
    if original is None:
        raise ValueError(f"register_parametrization: {type(module).__name__} has no parameter or buffer {tensor_name!r}")
    functions = ParametrizationList([parametrization], original)
    with no_grad():
        _check(tensor_name, original, functions(), unsafe)
    delattr(module, tensor_name)
    if not is_parametrized(module):
        _make_class(module)
        module.add_module("parametrizations", ModuleDict())
    functions_of(module)[tensor_name] = functions
    _add_property(module, tensor_name)
    return module


def functions_of(module: Module) -> ModuleDict:
    """Returns the parametrizations of a module by the names of their tensors."""
    return module._modules["parametrizations"]  # type: ignore[return-value]  # nothing else has that name


def _start_from(functions: ParametrizationList, wanted: Tensor) -> None:
    with no_grad():
        for module in list(functions)[::-1]:
            wanted = module.right_inverse(wanted) if hasattr(module, "right_inverse") else wanted
    (original,) = functions.originals()
    original._data[...] = wanted._data
    original.bump_version()


def _check(name: str, before: Tensor, after: Any, unsafe: bool) -> None:
    if unsafe:
        return
    if not isinstance(after, Tensor) or tuple(after.shape) != tuple(before.shape) or after.dtype is not before.dtype:
        came = f"{tuple(after.shape)} {after.dtype}" if isinstance(after, Tensor) else type(after).__name__
        raise ValueError(f"register_parametrization: {name} is {tuple(before.shape)} {before.dtype}, came {came}; pass unsafe=True")


def _make_class(module: Module) -> None:
    """Gives the module a class of its own, so that properties can be added to it alone."""
    base = type(module)
    module.__class__ = type(f"Parametrized{base.__name__}", (base,), {"__module__": base.__module__, "_unparametrized": base})


def _add_property(module: Module, name: str) -> None:
    def get(self: Any) -> Tensor:
        if not _Cache.depth:
            return self.parametrizations[name]()
        key = (id(self), name)
        if key not in _Cache.values:
            _Cache.values[key] = self.parametrizations[name]()
        return _Cache.values[key]

    def put(self: Any, value: Tensor) -> None:
        functions = self.parametrizations[name]
        start: Any = value
        for function in list(functions)[::-1]:
            start = function.right_inverse(start) if hasattr(function, "right_inverse") else start
        for tensor, new in zip(functions.originals(), [start] if functions.is_tensor else start, strict=True):
            tensor._data[...] = new._data
            tensor.bump_version()

    setattr(type(module), name, property(get, put))


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Returns whether the module, or the one tensor of it, is parametrized."""
    functions = module._modules.get("parametrizations")
    if not isinstance(functions, ModuleDict) or not len(functions):
        return False
    return tensor_name is None or tensor_name in functions


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Module:
    """Makes `module.<tensor_name>` an ordinary tensor again: its value, or what it was computed from; returns the module.

    Raises:
        ValueError: it is not parametrized, or was computed from several tensors and is to become one of them.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"remove_parametrizations: {type(module).__name__} has no parametrization on {tensor_name!r}")
    functions = functions_of(module)[tensor_name]
    originals = functions.originals()
    if not leave_parametrized and not functions.is_tensor:
        raise ValueError(
            f"remove_parametrizations: {tensor_name} comes from {len(originals)} tensors; pass leave_parametrized=True"
        )
    learned = isinstance(originals[0], Parameter)
    with no_grad():
        value = (getattr(module, tensor_name) if leave_parametrized else originals[0]).detach().clone()
    delattr(type(module), tensor_name)
    del functions_of(module)._modules[tensor_name]
    object.__delattr__(functions_of(module), tensor_name)
    if not len(functions_of(module)):
        delattr(module, "parametrizations")
        module.__class__ = type(module)._unparametrized  # type: ignore[attr-defined]  # of the class made above
    if learned:
        module.register_parameter(tensor_name, Parameter(value, requires_grad=originals[0].requires_grad))
    else:
        module.register_buffer(tensor_name, value)
    return module
