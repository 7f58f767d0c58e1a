# SPDX-License-Identifier: Apache-2.0
"""Custom functions with their own backward: `class Exp(Function)` with static `forward` and `backward`.

Under a trace (export) the operators that `forward` calls are recorded, as in PyTorch; the backward takes no part. A
forward that leaves the tensors, for example by `.numpy()`, cannot be traced and says so.
"""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from penlight.autograd.last import end_tape
from penlight.autograd.mode import no_grad
from penlight.backends.backend import backend_of
from penlight.errors import FunctionError, GradientError, InPlaceError
from penlight.ops.dispatch import rebase
from penlight.ops.operator import Operator
from penlight.ops.reduction import sum_to
from penlight.tape import Node, mode
from penlight.tensor import Tensor, from_array

_VIEW = (
    "output {index} of {name} shares memory with an input, and writing into it would bypass the backward of {name}; "
    "clone it in forward, or mark the input with ctx.mark_dirty"
)
_ONCE = "it is marked @once_differentiable; write backward in tensor operations to differentiate it"


class FunctionContext:
    """What forward leaves for backward; further attributes may be set freely, but tensors belong in `save_for_backward`.

    Attributes:
        needs_input_grad: per argument of forward, whether its gradient is wanted.
    """

    def __init__(self, name: str, needs_input_grad: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs_input_grad
        self._name = name
        self._to_save: tuple[Tensor | None, ...] = ()
        self._saved: tuple[Tensor | None, ...] | None = None
        self._dirty: tuple[Tensor, ...] = ()
        self._constants: tuple[Tensor, ...] = ()
        self._materializes = True

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keeps inputs, outputs or other tensors for `saved_tensors`; changing one in place before backward is noticed."""
        self._to_save = self._tensors("save_for_backward", tensors, (Tensor, type(None)))

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """In backward, what forward saved, as part of the graph."""
        if self._saved is None:
            raise GradientError(f"{self._name}: saved_tensors can be read in backward only; forward has the tensors at hand")
        return self._saved

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Declares inputs that forward changed in place; each must also be returned."""
        self._dirty = self._tensors("mark_dirty", tensors, Tensor)

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Declares outputs that have no gradient; backward still gets an entry for them."""
        self._constants = self._tensors("mark_non_differentiable", tensors, Tensor)

    def set_materialize_grads(self, value: bool) -> None:
        """With False, backward gets None, not zeros, for outputs that no gradient came for."""
        self._materializes = bool(value)

    def _tensors(self, method: str, values: tuple[Any, ...], types: Any) -> Any:
        for position, value in enumerate(values):
            if not isinstance(value, types):
                raise FunctionError(
                    f"{self._name}: ctx.{method} takes tensors, and argument {position} is {type(value).__name__}; "
                    "keep other values as attributes, ctx.name = value"
                )
        return values


class Function:
    """Base of custom differentiable functions; call them by `apply`.

    `forward(ctx, *args)` computes on tensors, without a tape; `backward(ctx, *grad_outputs)` returns one gradient for
    each argument of forward, None where there is none. Written in tensor operations it can itself be differentiated.
    In the other form `forward(*args)` has no context, and `setup_context(ctx, inputs, output)` fills it afterwards.

    Example:
        >>> class Exp(pl.autograd.Function):
        ...     @staticmethod
        ...     def forward(ctx, x):
        ...         y = x.exp()
        ...         ctx.save_for_backward(y)
        ...         return y
        ...
        ...     @staticmethod
        ...     def backward(ctx, grad):
        ...         (y,) = ctx.saved_tensors
        ...         return grad * y
        >>> Exp.apply(x)
    """

    _operator: ClassVar[Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        name = type(self).__name__
        raise FunctionError(f"{name}: instances of a Function are of no use; call {name}.apply(...)")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._operator = type(cls.__name__, (FunctionCall,), {"name": cls.__name__})

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Computes the outputs: a tensor, or a tuple that may also hold other values."""
        raise NotImplementedError("Function: forward is missing; write it as a @staticmethod of your class")

    @staticmethod
    def setup_context(ctx: FunctionContext, inputs: tuple[Any, ...], output: Any) -> None:
        """Fills the context from the arguments and the result of a forward that takes no context."""
        raise NotImplementedError("Function: setup_context is missing")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """Computes the gradients of the arguments from those of the outputs."""
        raise NotImplementedError("Function: backward is missing; write it as a @staticmethod of your class")

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Calls forward, and backward when the gradient passes through the result.

        Raises:
            FunctionError: forward returns something else than a tensor or a tuple, or breaks what it told the context.
            InPlaceError: a leaf that requires a gradient is marked dirty.
        """
        has_setup = cls.setup_context is not Function.setup_context
        if kwargs:
            args = _bound(cls, args, kwargs, has_setup)
        for a in args:
            if isinstance(a, Tensor) and a._base is not None:
                a._sync_view()
        needs = tuple(isinstance(a, Tensor) and a.requires_grad for a in args)
        context = FunctionContext(cls.__name__, needs)
        with no_grad():
            output = cls.forward(*args) if has_setup else cls.forward(context, *args)
            if has_setup:
                cls.setup_context(context, args, output)
        return _Taping(cls, context, args, output).run() if mode.enabled and any(needs) else output


def _bound(cls: type[Function], args: tuple[Any, ...], kwargs: dict[str, Any], has_setup: bool) -> tuple[Any, ...]:
    """The arguments in the order of forward, since backward answers in that order."""
    head = () if has_setup else (None,)  # stands for the context
    bound = inspect.signature(cls.forward).bind(*head, *args, **kwargs)
    bound.apply_defaults()
    if bound.kwargs:
        raise FunctionError(
            f"{cls.__name__}: forward has keyword-only arguments; make them positional, as backward answers in order"
        )
    return bound.args[len(head) :]


class FunctionCall(Operator):
    """One call of a custom function on the tape. `vjp` gets what was saved in place of the inputs."""

    saves_inputs = False

    def __init__(self, function: type[Function], context: FunctionContext, args: Sequence[Any], outputs: Sequence[Any]) -> None:
        self.function, self.context = function, context
        self.inputs = [(a._data.shape, a.dtype) if isinstance(a, Tensor) else None for a in args]
        self.results = [(o._data.shape, o._data.dtype, backend_of(o._data)) if isinstance(o, Tensor) else None for o in outputs]
        self.outputs = sum(r is not None for r in self.results)  # type: ignore[misc]  # of this one instance, not of the class
        self.saved_outputs: dict[int, int] = {}  # position among what is saved -> which output it is
        self.node: Callable[[], Node | None] = lambda: None

    def vjp(self, grad: Any, output: Any, *saved: Any) -> Sequence[Any]:
        context = self.context
        before, context._saved = context._saved, tuple(self._linked(k, t) for k, t in enumerate(saved))
        try:
            results = self.function.backward(context, *self._grads(grad if self.outputs != 1 else (grad,)))
        finally:
            context._saved = before
        return self._checked(results if isinstance(results, (tuple, list)) else (results,))

    def _linked(self, position: int, t: Tensor | None) -> Tensor | None:
        """A saved output hangs on the node again; keeping it so would be a cycle."""
        index = self.saved_outputs.get(position)
        if t is None or index is None:
            return t
        linked = from_array(t._data)
        linked.requires_grad, linked._node, linked._index = True, self.node(), index
        return linked

    def _grads(self, grads: Sequence[Any]) -> list[Any]:
        """A gradient for each output; zeros where none came, unless the context wants None."""
        found, given = [], iter(grads)
        for result in self.results:
            g = None if result is None else next(given)
            if g is None and result is not None and self.context._materializes:
                shape, dtype, backend = result
                g = from_array(backend.xp.zeros(shape, dtype))
            found.append(g)
        return found

    def _checked(self, results: Sequence[Any]) -> Sequence[Any]:
        count = len(self.inputs)
        if len(results) > count and all(r is None for r in results[count:]):
            results = results[:count]
        if len(results) != count:
            raise FunctionError(
                f"{self.name}: backward returned {len(results)} gradients, expected {count}, one for each argument of forward"
            )
        return [self._fitting(k, r) for k, r in enumerate(results)]

    def _fitting(self, position: int, result: Any) -> Tensor | None:
        wanted = self.inputs[position]
        if result is None or (wanted is not None and not self.context.needs_input_grad[position]):
            return None
        if wanted is None or not isinstance(result, Tensor):
            kind = "not a tensor" if wanted is None else "a tensor"
            raise FunctionError(
                f"{self.name}: backward returned {type(result).__name__} at position {position}, where the argument of forward "
                f"is {kind}; expected {'None' if wanted is None else 'a tensor or None'}"
            )
        shape, dtype = wanted
        if tuple(result.shape) != tuple(shape):
            result = self._summed(position, result, tuple(shape))
        return result if result.dtype is dtype else result.to(dtype)

    def _summed(self, position: int, result: Tensor, shape: tuple[int, ...]) -> Tensor:
        came = tuple(result.shape)
        tail = came[len(came) - len(shape) :] if len(came) >= len(shape) else None
        if tail is None or any(s not in (1, c) for s, c in zip(shape, tail, strict=True)):
            raise FunctionError(
                f"{self.name}: backward returned a gradient of shape {came} at position {position}, "
                f"expected {shape}, the shape of the argument"
            )
        return sum_to(result, shape)


class _Taping:
    """Puts one call on the tape: the node, what it saves, and its outputs."""

    def __init__(self, cls: type[Function], context: FunctionContext, args: tuple[Any, ...], output: Any) -> None:
        self.context, self.args, self.name, self.is_tuple = context, args, cls.__name__, isinstance(output, tuple)
        self.outputs = output if self.is_tuple else (output,)
        if not any(isinstance(o, Tensor) for o in self.outputs):
            raise FunctionError(f"{self.name}: forward must return a tensor or a tuple with tensors, came {type(output).__name__}")
        self.input_ids = {id(a) for a in args if isinstance(a, Tensor)}
        self.dirty_ids = {id(t) for t in context._dirty}
        self.operator = cls._operator(function=cls, context=context, args=args, outputs=self.outputs)

    def run(self) -> Any:
        """The outputs of the call, on the tape."""
        self._check_dirty()
        tensors = [o for o in self.outputs if isinstance(o, Tensor)]
        node = self._node(tensors)
        wrapped = iter([self._wrapped(node, index, o) for index, o in enumerate(tensors)])
        results = tuple(next(wrapped) if isinstance(o, Tensor) else o for o in self.outputs)
        self.context._to_save = self.context._dirty = self.context._constants = ()
        return results if self.is_tuple else results[0]

    def _check_dirty(self) -> None:
        returned = {id(o) for o in self.outputs}
        for t in self.context._dirty:
            if id(t) not in self.input_ids:
                raise FunctionError(f"{self.name}: ctx.mark_dirty got a tensor {tuple(t.shape)} that is no input of forward")
            if id(t) not in returned:
                raise FunctionError(
                    f"{self.name}: forward marked an input {tuple(t.shape)} as dirty and did not return it; return it"
                )
            if (t.requires_grad and t._node is None) or (t._base is not None and t._base.requires_grad and t._base._node is None):
                raise InPlaceError(f"{self.name}: a leaf that requires a gradient was changed in place; pass x.clone()")

    def _node(self, tensors: list[Tensor]) -> Node:
        on_node, mode.on_node = mode.on_node, None  # it is to see the node with what the function saves
        try:
            inputs = [a if isinstance(a, Tensor) else None for a in self.args]
            node = Node(self.operator, inputs, tuple(t._data for t in tensors))
            node.inputs = [self._saved(k, t, tensors) for k, t in enumerate(self.context._to_save)]
            node.versions = {id(t): t._version[0] for t in node.inputs if t is not None and t._version is not None}
        finally:
            mode.on_node = on_node
        self.operator.node = weakref.ref(node)
        if on_node is not None:
            on_node(node)
        return node

    def _saved(self, position: int, t: Tensor | None, tensors: list[Tensor]) -> Tensor | None:
        index = next((k for k, o in enumerate(tensors) if o is t), None)
        if t is None or index is None or (id(t) in self.input_ids and id(t) not in self.dirty_ids):
            return t
        if id(t) not in {id(c) for c in self.context._constants} and t.dtype.kind >= 2:
            self.operator.saved_outputs[position] = index
        return _alias(t)

    def _wrapped(self, node: Node, index: int, t: Tensor) -> Tensor:
        is_constant = any(t is c for c in self.context._constants) or t.dtype.kind < 2
        if id(t) in self.dirty_ids:
            return self._written(node, index, t)
        result = t
        if id(t) in self.input_ids or t.requires_grad:
            result = _alias(t)
        if any(isinstance(a, Tensor) and a._version is not None and a._version is result._version for a in self.args):
            result._frozen = _VIEW.format(index=index, name=self.name)
        if not is_constant:
            result.requires_grad, result._node, result._index = True, node, index
        return result

    def _written(self, node: Node, index: int, t: Tensor) -> Tensor:
        value = from_array(t._data)
        value.requires_grad, value._node, value._index = True, node, index
        return rebase(t, value)


def _alias(t: Tensor) -> Tensor:
    """The same memory and version counter, off the tape."""
    if t._version is None:
        t._version = [0]
    result = from_array(t._data)
    result._version = t._version
    return result


def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Marks a backward that cannot itself be differentiated, for example one on NumPy arrays; doing so raises.

    Put it under `@staticmethod`: the gradients that it returns refuse a second differentiation.
    """

    @functools.wraps(backward)
    def wrapped(context: Any, *grads: Any) -> Any:
        with no_grad():
            results = backward(context, *(g.detach() if isinstance(g, Tensor) else g for g in grads))
        if not mode.enabled:
            return results
        sources = (*grads, *context.saved_tensors)
        many = isinstance(results, (tuple, list))
        marked = end_tape(f"{context._name}.backward", _ONCE, results if many else [results], sources)
        return tuple(marked) if many else marked[0]

    return wrapped
