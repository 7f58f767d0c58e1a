# SPDX-License-Identifier: Apache-2.0
"""What a module saves and takes back: state_dict, load_state_dict, and the hooks around them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any, NamedTuple

import numpy as np

from penlight.backends.backend import backend_of, visiting
from penlight.errors import StateDictError
from penlight.nn.parameter import Parameter
from penlight.tensor import Tensor, from_numpy

EXTRA = "_extra_state"

_numbers = itertools.count()


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict(strict=False)` left out."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class RemovableHandle:
    """Removes a hook."""

    def __init__(self, hooks: dict[int, Any], hook: Any, prepend: bool = False):
        self._hooks, self._number = hooks, next(_numbers)
        others = dict(hooks) if prepend else {}
        for number in others:
            del hooks[number]
        hooks[self._number] = hook
        hooks.update(others)

    def remove(self) -> None:
        """Takes the hook out; a second call does nothing."""
        self._hooks.pop(self._number, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()


class Stateful:
    """The part of `Module` that saves and loads; it knows parameters, buffers and submodules by name."""

    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Any]
    _not_saved: set[str]
    _state_hooks: dict[str, dict[int, Any]]

    def state_dict(
        self, destination: MutableMapping[str, Any] | None = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Tensor]:
        """Returns parameters and persistent buffers by path, sharing memory with the module.

        Args:
            destination: where to put them; a new dict by default.
            prefix: what names begin with.
            keep_vars: the parameters themselves, not detached.
        """
        state: Any = {} if destination is None else destination
        for hook in self._hooks("state_pre"):
            hook(self, prefix, keep_vars)
        for name, value in self._own_state():
            state[prefix + name] = value if keep_vars else value.detach()
        if _has_extra_state(self):
            state[prefix + EXTRA] = self.get_extra_state()
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(destination=state, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in self._hooks("state_post"):
            changed = hook(self, state, prefix, {})
            state = state if changed is None else changed
        return state

    def _own_state(self) -> Iterator[tuple[str, Tensor]]:
        for name, value in itertools.chain(self._parameters.items(), self._buffers.items()):
            if value is not None and name not in self._not_saved:
                yield name, value

    def get_extra_state(self) -> Any:
        """Returns more to save under "_extra_state"; subclasses that define it define `set_extra_state` as well."""
        raise NotImplementedError(f"{type(self).__name__} must define get_extra_state()")

    def set_extra_state(self, state: Any) -> None:
        """Takes back what `get_extra_state` returned."""
        raise NotImplementedError(f"{type(self).__name__} must define set_extra_state(state)")

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> IncompatibleKeys:
        """Copies tensors (or arrays) by name into this module, in place; nothing is changed if there is an error.

        Args:
            state_dict: as `state_dict()` of a module of the same structure, here or in PyTorch.
            strict: missing and unexpected names are errors; otherwise they are returned.
            assign: the module takes the tensors themselves, with their dtype and device, instead of copying their numbers.

        Raises:
            StateDictError: names differ (strict), or a shape differs; the message lists all of them.
        """
        state = dict(state_dict)
        found = IncompatibleKeys([], [])
        problems: list[str] = []
        places = dict(_walk(self, ""))
        for path, module in places.items():
            for hook in module._hooks("load_pre"):
                hook(state, path, {}, strict, found.missing_keys, found.unexpected_keys, problems)
        targets = {path + name: (module, name) for path, module in places.items() for name, _ in module._own_state()}
        extras = {path + EXTRA: module for path, module in places.items() if _has_extra_state(module)}
        known = {*targets, *extras}
        found.missing_keys.extend(name for name in [*targets, *extras] if name not in state)
        found.unexpected_keys.extend(name for name in state if name not in known)
        problems += _mismatched(targets, state)
        posts = [(module, hook) for module in reversed(list(places.values())) for hook in module._hooks("load_post")]
        if problems or (strict and not posts):
            self._check_fit(found, problems)
        for key, (module, name) in targets.items():
            if key in state:
                _assign(module, name, state[key]) if assign else _copy(getattr(module, name), state[key])
        for key, module in extras.items():
            if key in state:
                module.set_extra_state(state[key])
        for module, hook in posts:  # they may take names off the lists
            hook(module, found)
        if strict:
            self._check_fit(found, [])
        return found

    def _check_fit(self, found: IncompatibleKeys, mismatched: list[str]) -> None:
        parts = [("missing", found.missing_keys), ("unexpected", found.unexpected_keys), ("of another shape", mismatched)]
        text = "; ".join(f"{label}: {_listed(names)}" for label, names in parts if names)
        if text:
            raise StateDictError(f"load_state_dict: the state does not fit {type(self).__name__}; {text}{_prefix_hint(found)}")

    # Hooks

    def _hooks(self, kind: str) -> list[Any]:
        return list(self._state_hooks[kind].values()) if kind in self._state_hooks else []

    def _add_hook(self, kind: str, hook: Any) -> RemovableHandle:
        return RemovableHandle(self._state_hooks.setdefault(kind, {}), hook)

    def register_state_dict_pre_hook(self, hook: Callable[[Any, str, bool], Any]) -> RemovableHandle:
        """Calls `hook(module, prefix, keep_vars)` before the module's part of `state_dict()`."""
        return self._add_hook("state_pre", hook)

    def register_state_dict_post_hook(self, hook: Callable[[Any, Any, str, Any], Any]) -> RemovableHandle:
        """Calls `hook(module, state_dict, prefix, local_metadata)` after the module's part of `state_dict()`."""
        return self._add_hook("state_post", hook)

    _register_state_dict_hook = register_state_dict_post_hook  # PyTorch's older name: the hook may return another dict

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Calls `hook(module, state_dict, prefix, local_metadata, strict, missing, unexpected, error_msgs)` before loading.

        `state_dict` is a copy of the mapping: the hook may rename, add and remove entries.
        """
        return self._add_hook("load_pre", lambda *details: hook(self, *details))

    def _register_load_state_dict_pre_hook(self, hook: Callable[..., Any], with_module: bool = False) -> RemovableHandle:
        return self.register_load_state_dict_pre_hook(hook) if with_module else self._add_hook("load_pre", hook)

    def register_load_state_dict_post_hook(self, hook: Callable[[Any, IncompatibleKeys], Any]) -> RemovableHandle:
        """Calls `hook(module, incompatible_keys)` after loading; it may take names off the two lists."""
        return self._add_hook("load_post", hook)


def _walk(module: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield path, module
    for name, child in module._modules.items():
        if child is not None:
            yield from _walk(child, f"{path}{name}.")


def _has_extra_state(module: Any) -> bool:
    return type(module).get_extra_state is not Stateful.get_extra_state


def _mismatched(targets: Mapping[str, tuple[Any, str]], state: Mapping[str, Any]) -> list[str]:
    shapes = [(key, tuple(getattr(*targets[key]).shape), tuple(state[key].shape)) for key in state if key in targets]
    return [f"{key}: the module has {own}, the state has {given}" for key, own, given in shapes if own != given]


def _prefix_hint(found: IncompatibleKeys) -> str:
    """The names of a wrapped model (DataParallel, torch.compile, Lightning) differ by what they begin with."""
    for prefix in ("module.", "_orig_mod.", "model."):
        if found.unexpected_keys and all(name.startswith(prefix) for name in found.unexpected_keys):
            return (
                f"; the names begin with {prefix!r}: it was saved from a wrapped model, load "
                f"{{name.removeprefix({prefix!r}): value for name, value in state.items()}}"
            )
    return ""


def _assign(module: Any, name: str, value: Any) -> None:
    old = getattr(module, name)
    new = value.detach() if isinstance(value, Tensor) else from_numpy(np.asarray(value))
    setattr(module, name, Parameter(new, old.requires_grad) if isinstance(old, Parameter) else new)


def _copy(target: Tensor, value: Any) -> None:
    source = value.detach() if isinstance(value, Tensor) else from_numpy(np.asarray(value))
    array = backend_of(target._data).asarray(source._data, target.device)
    with visiting(target._data):
        target._data[...] = array
    target.bump_version()


def _listed(names: list[str], limit: int = 20) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
