# SPDX-License-Identifier: Apache-2.0
"""Module: parameters, buffers and submodules by name, with PyTorch's state_dict keys."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from penlight.backends.backend import visiting
from penlight.backends.cuda import recording
from penlight.dtype import bfloat16, float16, float32, float64
from penlight.layout import RANKS
from penlight.nn.backward_hooks import BackwardHook, Watch
from penlight.nn.parameter import Buffer, Parameter
from penlight.nn.state import RemovableHandle, Stateful
from penlight.tape import mode
from penlight.tensor import Tensor


class _ModuleType(type):
    """Takes PyTorch's `device=` and `dtype=` for every layer: the layer is made first and converted then."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if "device" not in kwargs and "dtype" not in kwargs:
            return super().__call__(*args, **kwargs)
        own = inspect.signature(cls.__init__).parameters  # type: ignore[misc]  # the __init__ of this very class is meant
        taken = {name: kwargs.pop(name) for name in ("device", "dtype") if name in kwargs and name not in own}
        module = super().__call__(*args, **kwargs)
        return module.to(**taken) if any(value is not None for value in taken.values()) else module


class _WithKeywords:
    """A hook that wants the keyword arguments as well."""

    def __init__(self, call: Callable[..., Any]):
        self.call = call


class Module(Stateful, metaclass=_ModuleType):
    """Base of all layers and models: subclasses assign parameters and submodules in `__init__` and define `forward`.

    Parameters, buffers and submodules are ordinary attributes, and are also kept by name in the order of assignment.

    Attributes:
        training: True in training mode; layers such as Dropout behave differently then.

    Example:
        >>> class Half(Module):
        ...     def forward(self, x):
        ...         return x / 2
    """

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _not_saved: set[str]
    _export_states: set[str]
    _forward_hooks: dict[int, Any]
    _forward_pre_hooks: dict[int, Any]
    _backward_hooks: dict[int, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        # Not in __init__: a subclass that forgets super().__init__() works all the same.
        module = super().__new__(cls)
        state: dict[str, Any] = {"_parameters": {}, "_buffers": {}, "_modules": {}, "_not_saved": set(), "_export_states": set()}
        state |= {"training": True, "_forward_hooks": {}, "_forward_pre_hooks": {}, "_backward_hooks": {}, "_state_hooks": {}}
        module.__dict__.update(state)
        return module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Computes the output; subclasses define it, users call the module itself."""
        raise NotImplementedError(f"{type(self).__name__} must define forward()")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if mode.tracer is not None:
            return self._traced_call(mode.tracer, args, kwargs)
        if self._forward_hooks or self._forward_pre_hooks or self._backward_hooks:
            return self._call(args, kwargs)
        return self.forward(*args, **kwargs)

    def _traced_call(self, tracer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        tracer.enter(self)
        try:
            if self._forward_hooks or self._forward_pre_hooks or self._backward_hooks:
                return self._call(args, kwargs)
            return self.forward(*args, **kwargs)
        finally:
            tracer.leave()

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for hook in list(self._forward_pre_hooks.values()):
            if isinstance(hook, _WithKeywords):
                args, kwargs = hook.call(self, args, kwargs) or (args, kwargs)
                continue
            changed = hook(self, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        watch = Watch(self, list(self._backward_hooks.values())) if self._backward_hooks else None
        output = self.forward(*(args if watch is None else watch.watch_inputs(args)), **kwargs)
        for hook in list(self._forward_hooks.values()):
            changed = hook.call(self, args, kwargs, output) if isinstance(hook, _WithKeywords) else hook(self, args, output)
            output = output if changed is None else changed
        return output if watch is None else watch.watch_outputs(output)

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Calls `hook(module, args, output)` after each forward; what it returns, unless None, replaces the output.

        `prepend` puts it before the hooks that are there; with `with_kwargs` it is called `hook(module, args, kwargs, output)`.
        """
        return RemovableHandle(self._forward_hooks, _WithKeywords(hook) if with_kwargs else hook, prepend)

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Calls `hook(module, args)` before each forward; what it returns, unless None, replaces the arguments.

        `prepend` puts it before the hooks that are there; with `with_kwargs` it is called `hook(module, args, kwargs)` and
        returns None or (args, kwargs).
        """
        return RemovableHandle(self._forward_pre_hooks, _WithKeywords(hook) if with_kwargs else hook, prepend)

    def register_full_backward_hook(self, hook: BackwardHook) -> RemovableHandle:
        """Calls `hook(module, grad_input, grad_output)` when the gradients have passed; a tuple it returns replaces grad_input.

        grad_input holds those of the positional tensors that require a gradient.
        """
        return RemovableHandle(self._backward_hooks, hook)

    # Registration. Every entry is an attribute too, so reading `self.weight` costs no lookup of ours.

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            self._register(self._parameters, name, value)
        elif isinstance(value, Module):
            self._register(self._modules, name, value)
        elif isinstance(value, Buffer):
            self.register_buffer(name, value, value.persistent)
        elif name in self._buffers and (value is None or isinstance(value, Tensor)):
            self._register(self._buffers, name, value)
        elif name in self._parameters and value is not None:
            raise TypeError(
                f"{type(self).__name__}.{name} is a parameter: expected a Parameter or None, got {type(value).__name__}"
            )
        elif name in self._parameters or (name in self._modules and value is None):
            self._register(self._parameters if name in self._parameters else self._modules, name, None)
        else:
            object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        for entries in (self._parameters, self._buffers, self._modules):
            entries.pop(name, None)
        object.__delattr__(self, name)

    def _register(self, entries: dict[str, Any], name: str, value: Any) -> None:
        if mode.tracer is not None:
            mode.tracer.check_assignment(self, name, value)
        if not name or "." in name:
            raise ValueError(
                f"{type(self).__name__}: {name!r} cannot be the name of a parameter, buffer or module; use a word without dots"
            )
        if callable(getattr(type(self), name, None)):
            raise ValueError(
                f"{type(self).__name__}: {name!r} is a method and cannot name a parameter, buffer or module; use another word"
            )
        for others in (self._parameters, self._buffers, self._modules):
            if others is not entries:
                others.pop(name, None)
        entries[name] = value
        object.__setattr__(self, name, value)

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Adds a parameter; None keeps the name free for later, without an entry in the state_dict."""
        self._register(self._parameters, name, parameter)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True, *, export_state: bool = False) -> None:
        """Adds a tensor that is not learned, such as a running mean; only persistent ones are in the state_dict.

        With `export_state`, forward may write into it in place when the module is exported: the program then keeps it from run
        to run, as a key-value cache is. Its sizes are fixed.
        """
        self._register(self._buffers, name, tensor)
        (self._not_saved.discard if persistent else self._not_saved.add)(name)
        (self._export_states.add if export_state else self._export_states.discard)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Adds a submodule under a name that need not be an identifier, such as "0"."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{type(self).__name__}.{name}: expected a Module, got {_kind(module)}")
        self._register(self._modules, name, module)

    register_module = add_module

    # Walking

    def named_modules(
        self, memo: set[int] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """Yields (path, module) for this module ("") and all below, each once."""
        memo = set() if memo is None else memo
        if id(self) in memo:
            return
        if remove_duplicate:
            memo.add(id(self))
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """Yields this module and all below, each once."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yields (name, module) for the modules directly below."""
        return ((name, module) for name, module in self._modules.items() if module is not None)

    def children(self) -> Iterator[Module]:
        """Yields the modules directly below."""
        return (module for _, module in self.named_children())

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Yields (path, parameter); a parameter that is shared comes once, under its first path."""
        return self._named("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Yields the parameters, each once."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True) -> Iterator[tuple[str, Tensor]]:
        """Yields (path, buffer), persistent or not."""
        return self._named("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Yields the buffers, each once."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def named_export_states(self) -> Iterator[tuple[str, Tensor]]:
        """Yields (path, buffer) for the buffers that an exported program keeps from run to run."""
        for path, module in self.named_modules():
            for name in sorted(module._export_states):
                buffer = module._buffers.get(name)
                if buffer is not None:
                    yield f"{path}.{name}" if path else name, buffer

    def _named(self, kind: str, prefix: str, recurse: bool, remove_duplicate: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        walk = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        for path, module in walk:
            for name, value in getattr(module, kind).items():
                if value is not None and id(value) not in seen:
                    if remove_duplicate:
                        seen.add(id(value))
                    yield f"{path}.{name}" if path else name, value

    def get_submodule(self, target: str) -> Module:
        """Returns the module at a path such as "layers.0.norm"; "" is this one."""
        module: Module = self
        for depth, name in enumerate(target.split(".") if target else []):
            found = module._modules.get(name)
            if found is None:
                path = ".".join(target.split(".")[:depth]) or type(self).__name__
                raise AttributeError(f"{path} has no submodule {name!r}; it has {', '.join(module._modules) or 'none'}")
            module = found
        return module

    def set_submodule(self, target: str, module: Module) -> None:
        """Puts a module at a path such as "layers.0.norm", in the place of the one there."""
        path, _, name = target.rpartition(".")
        self.get_submodule(target)
        setattr(self.get_submodule(path), name, module)

    def get_parameter(self, target: str) -> Parameter:
        """Returns the parameter at a path such as "layers.0.weight"."""
        return self._get("_parameters", target)

    def get_buffer(self, target: str) -> Tensor:
        """Returns the buffer at a path such as "norm.running_mean"."""
        return self._get("_buffers", target)

    def _get(self, kind: str, target: str) -> Any:
        path, _, name = target.rpartition(".")
        entries = getattr(self.get_submodule(path), kind)
        if entries.get(name) is None:
            raise AttributeError(
                f"{path or type(self).__name__} has no {kind[1:-1]} {name!r}; it has {', '.join(entries) or 'none'}"
            )
        return entries[name]

    # Modes and conversion

    def train(self, mode: bool = True) -> Any:
        """Switches training mode on or off, here and below; returns the module."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Any:
        """Switches to evaluation mode; returns the module."""
        return self.train(False)

    def apply(self, function: Callable[[Module], Any]) -> Any:
        """Calls `function` on every module, children first; returns the module."""
        for module in self.children():
            module.apply(function)
        function(self)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Moves to a device and, for floating-point tensors, to a dtype, in place: `to("cuda")`, `to(penlight.float64)`.

        `memory_format=penlight.channels_last` lays out the tensors of 4 dimensions (channels_last_3d: of 5), and no others.
        """
        format = kwargs.pop("memory_format", None)
        for tensor in itertools.chain(self.parameters(), self.buffers()):
            laid_out = {"memory_format": format} if format is not None and tensor.ndim == RANKS.get(format, tensor.ndim) else {}
            move = tensor.detach().to(*args, **kwargs, **laid_out)
            if move.dtype is not tensor.dtype and not (tensor.dtype.is_floating_point and move.dtype.is_floating_point):
                move = tensor.detach().to(move.device)  # integer buffers keep their dtype
            tensor.data = move
            if tensor.grad is not None:
                tensor.grad = tensor.grad.to(tensor.device, tensor.dtype)
        return self

    def to_empty(self, *, device: Any = None, recurse: bool = True) -> Any:
        """Moves to a device; that the values survive, PyTorch does not promise."""
        return self.to(device)

    def type(self, dst_type: Any) -> Any:
        """Converts floating-point parameters and buffers to a dtype; returns the module."""
        return self.to(dst_type)

    def float(self) -> Any:
        """Converts floating-point parameters and buffers to float32."""
        return self.to(float32)

    def double(self) -> Any:
        """Converts floating-point parameters and buffers to float64."""
        return self.to(float64)

    def half(self) -> Any:
        """Converts floating-point parameters and buffers to float16."""
        return self.to(float16)

    def bfloat16(self) -> Any:
        """Converts floating-point parameters and buffers to bfloat16."""
        return self.to(bfloat16)

    def cpu(self) -> Any:
        """Moves to the CPU."""
        return self.to("cpu")

    def cuda(self, device: int = 0) -> Any:
        """Moves to a CUDA device."""
        return self.to(f"cuda:{device}")

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Switches gradients of all parameters on or off; returns the module."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients of all parameters, or fills them with zeros."""
        clear_gradients(self.parameters(), set_to_none)

    def extra_repr(self) -> str:
        """Returns what the representation says between the brackets; layers override it."""
        return ""

    def __repr__(self) -> str:
        children = [f"({name}): " + repr(module).replace("\n", "\n  ") for name, module in self._modules.items()]
        if not children:
            return f"{type(self).__name__}({self.extra_repr()})"
        head = [self.extra_repr()] if self.extra_repr() else []
        return f"{type(self).__name__}(\n  " + "\n  ".join(head + children) + "\n)"


def clear_gradients(parameters: Iterator[Any] | list[Any], set_to_none: bool) -> None:
    """Sets gradients to None, or to zero in place."""
    parameters = list(parameters)
    recording.note_zeroed(parameters if set_to_none else ())
    for parameter in parameters:
        if parameter.grad is None:
            continue
        if set_to_none:
            parameter.grad = None
        else:
            parameter.grad = parameter.grad.detach()
            with visiting(parameter.grad._data):
                parameter.grad._data.fill(0)


def _kind(value: Any) -> str:
    """What was given in place of a module, with the remedy for the two usual slips."""
    if isinstance(value, type):
        return f"the class {value.__name__}; call it: {value.__name__}(...)"
    name = getattr(value, "__name__", None)
    return f"function {name}; use the layer of that name" if callable(value) and name else type(value).__name__
