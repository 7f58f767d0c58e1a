# SPDX-License-Identifier: Apache-2.0
"""Containers: modules and parameters in lists and dicts, so that they are registered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from penlight.nn.module import Module
from penlight.nn.parameter import Parameter


class _Numbered(Module):
    """Modules under the names "0", "1", ..."""

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._modules.values()))

    def __getitem__(self, index: int | slice) -> Any:
        modules: list[Any] = list(self._modules.values())
        return type(self)._of(modules[index]) if isinstance(index, slice) else modules[index]

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(list(self._modules)[index], module)

    def append(self, module: Module) -> Any:
        """Adds a module at the end; returns the container."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        """Adds modules at the end; returns the container."""
        for module in modules:
            self.append(module)
        return self

    @classmethod
    def _of(cls, modules: Iterable[Module]) -> Any:
        return cls().extend(modules)


class Sequential(_Numbered):
    """Calls modules one after the other: `Sequential(a, b)(x)` is `b(a(x))`. A dict gives them names."""

    def __init__(self, *modules: Module | Mapping[str, Module]):
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.add_module(name, module)
        else:
            self.extend(modules)  # type: ignore[arg-type]  # a Mapping comes alone

    def forward(self, x: Any) -> Any:
        for module in self._modules.values():
            x = module(x)  # type: ignore[misc]  # None is not put into a Sequential
        return x


class ModuleList(_Numbered):
    """A list of modules; the model says how they are called."""

    def __init__(self, modules: Iterable[Module] = ()):
        self.extend(modules)


class ModuleDict(Module):
    """A dict of modules; the model says how they are called."""

    def __init__(self, modules: Mapping[str, Module] | None = None):
        self.update(modules or {})

    def update(self, modules: Mapping[str, Module]) -> None:
        """Adds modules by name."""
        for name, module in modules.items():
            self.add_module(name, module)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, name: str) -> bool:
        return name in self._modules

    def __getitem__(self, name: str) -> Any:
        return self._modules[name]

    def __setitem__(self, name: str, module: Module) -> None:
        self.add_module(name, module)

    def keys(self) -> Iterable[str]:
        """Returns the names."""
        return self._modules.keys()

    def values(self) -> Iterable[Any]:
        """Returns the modules."""
        return self._modules.values()

    def items(self) -> Iterable[tuple[str, Any]]:
        """Returns the (name, module) pairs."""
        return self._modules.items()


class ParameterList(Module):
    """A list of parameters under the names "0", "1", ..."""

    def __init__(self, parameters: Iterable[Any] = ()):
        for parameter in parameters:
            self.append(parameter)

    def append(self, parameter: Any) -> ParameterList:
        """Adds a parameter (a tensor becomes one); returns the list."""
        self.register_parameter(str(len(self)), parameter if isinstance(parameter, Parameter) else Parameter(parameter))
        return self

    def __len__(self) -> int:
        return len(self._parameters)

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._parameters.values()))

    def __getitem__(self, index: int) -> Any:
        return list(self._parameters.values())[index]


class ParameterDict(Module):
    """A dict of parameters; tensors become parameters."""

    def __init__(self, parameters: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None):
        self.update(parameters or {})

    def update(self, parameters: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
        """Adds parameters by name."""
        for name, parameter in parameters.items() if isinstance(parameters, Mapping) else parameters:
            self[name] = parameter

    def __setitem__(self, name: str, parameter: Any) -> None:
        self.register_parameter(name, parameter if isinstance(parameter, Parameter) else Parameter(parameter))

    def __getitem__(self, name: str) -> Any:
        return self._parameters[name]

    def __delitem__(self, name: str) -> None:
        delattr(self, name)

    def __len__(self) -> int:
        return len(self._parameters)

    def __iter__(self) -> Iterator[str]:
        return iter(self._parameters)

    def __contains__(self, name: str) -> bool:
        return name in self._parameters

    def keys(self) -> Iterable[str]:
        """Returns the names."""
        return self._parameters.keys()

    def values(self) -> Iterable[Any]:
        """Returns the parameters."""
        return self._parameters.values()

    def items(self) -> Iterable[tuple[str, Any]]:
        """Returns the (name, parameter) pairs."""
        return self._parameters.items()
