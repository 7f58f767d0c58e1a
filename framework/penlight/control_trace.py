# SPDX-License-Identifier: Apache-2.0
"""Records cond, while_loop and scan in a trace: one node whose bodies are graphs of their own.

A body runs once, on the values of the example, whatever the number of iterations will be; the results of the node have the right
shapes and dtypes, and no particular values. Where a size depends on values, it becomes a new symbol, and the two runs of a
trace see different numbers for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from penlight.backends.backend import backend_of
from penlight.errors import ControlFlowError
from penlight.ops.control import as_tensors, condition, find_difference, next_values, pair
from penlight.ops.operator import Operator, Spec
from penlight.source import function_place, user_line
from penlight.symbolic import symbol
from penlight.tensor import Tensor, from_array
from penlight.tracing import Tracer, TraceValue
from penlight.tree import flatten_tensors
from penlight.unify import same

Function = Callable[..., Any]
Argument = tuple[Any, Spec]  # the array that a body is traced on, and its sizes with symbols


class ControlFlow(Operator):
    """Stands in a trace only; eager calls run the functions themselves."""


class Cond(ControlFlow):
    """The first body where the input is true, else the second one; bodies have no inputs."""

    name = "cond"


class While(ControlFlow):
    """The second body on its own results, as long as the first one gives true for them."""

    name = "while_loop"


class Scan(ControlFlow):
    """The body on slices of dimension 0: inputs and outputs are the carried values, then what is cut and what is stacked."""

    name = "scan"

    carried: int
    length: Any
    reverse: bool


class _Body:
    """A function that was recorded.

    Attributes:
        graph: its inputs are the arguments.
        leaves: the tensors that it returned; `rebuild` gives others its structure.
    """

    def __init__(self, tracer: Tracer, arguments: Sequence[Argument], call: Callable[[list[Tensor]], Any]) -> None:
        with tracer.body() as self.graph:
            self.leaves, self.rebuild, _ = flatten_tensors(call([_add_input(tracer, *argument) for argument in arguments]))
            self.graph.outputs = [tracer.value_of(t) for t in self.leaves]

    @property
    def specs(self) -> list[Spec]:
        return [value.spec for value in self.graph.outputs]


def _add_input(tracer: Tracer, array: Any, spec: Spec) -> Tensor:
    t = from_array(array.copy())
    tracer.add_input(f"carried_{next(tracer.counter)}", t, spec.shape)
    return t


def cond(tracer: Tracer, pred: Tensor, true_fn: Function, false_fn: Function, operands: Sequence[Any]) -> Any:
    """Records both branches."""
    then, other = (_branch(tracer, f, operands) for f in (true_fn, false_fn))
    names = (f"{function_place(true_fn)} returns", f"{function_place(false_fn)}")
    difference = find_difference(then.rebuild(then.leaves), other.rebuild(other.leaves), names)
    if difference:
        raise ControlFlowError(f"{user_line()}: cond: the branches must agree in structure, dtype and rank, but {difference}")
    chosen = (then, other)[tracer.run]  # where sizes differ, each run of the trace sees those of another branch
    specs = [_merged(tracer, *parts) for parts in zip(then.specs, other.specs, chosen.leaves, strict=True)]
    arrays = [t._data for t in chosen.leaves]
    return then.rebuild(_results(tracer, Cond(), [tracer.value_of(pred)], arrays, specs, then, other))


def _branch(tracer: Tracer, f: Function, operands: Sequence[Any]) -> _Body:
    return _Body(tracer, (), lambda _: as_tensors("cond", f"what {function_place(f)} returns", f(*operands)))


def while_loop(tracer: Tracer, cond_fn: Function, body_fn: Function, values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Records the condition and the body."""
    leaves, rebuild, _ = flatten_tensors(values)
    first = [tracer.value_of(t) for t in leaves]

    def step(inputs: list[Tensor]) -> Any:
        current = rebuild(inputs)
        return next_values("while_loop", body_fn, current, body_fn(*current))

    def test(inputs: list[Tensor]) -> Any:
        return condition(
            "while_loop", "what cond_fn returns", as_tensors("while_loop", "what cond_fn returns", cond_fn(*rebuild(inputs)))
        )

    arguments = [(t._data, value.spec) for t, value in zip(leaves, first, strict=True)]
    body = _Body(tracer, arguments, step)
    grown = [_unequal(before.spec.shape, after.shape) for before, after in zip(first, body.specs, strict=True)]
    if any(grown):  # a size that changes from one iteration to the next is a symbol inside, of which each run sees another value
        arrays = [t._data for t in (body.leaves if tracer.run else leaves)]
        arguments = [_with_symbols(tracer, *each) for each in zip(arrays, (value.spec for value in first), grown, strict=True)]
        body = _Body(tracer, arguments, step)
    tested = _Body(tracer, [_with_symbols(tracer, *argument, dims) for argument, dims in zip(arguments, grown, strict=True)], test)
    ends = leaves if tracer.run else body.leaves
    specs = [_merged(tracer, a.spec, b, t) for a, b, t in zip(first, body.specs, ends, strict=True)]
    return rebuild(_results(tracer, While(), first, [t._data for t in ends], specs, tested, body))


def scan(tracer: Tracer, f: Function, init: Any, xs: Any, length: int, reverse: bool) -> tuple[Any, Any]:
    """Records one step."""
    carried, rebuild, _ = flatten_tensors(init)
    cut, rebuild_slices, _ = flatten_tensors(xs)
    first = [tracer.value_of(t) for t in (*carried, *cut)]

    def call(inputs: list[Tensor]) -> Any:
        carry = rebuild(inputs[: len(carried)])
        after, y = pair(f, carry, f(carry, rebuild_slices(inputs[len(carried) :])))
        return after, as_tensors("scan", f"what {function_place(f)} returns", y)

    arguments = [(t._data, value.spec) for t, value in zip(carried, first, strict=False)]
    step = _Body(tracer, [*arguments, *(_slice(t, v) for t, v in zip(cut, first[len(carried) :], strict=True))], call)
    for before, after in zip(first[: len(carried)], step.specs, strict=False):
        if _unequal(before.spec.shape, after.shape):
            raise ControlFlowError(
                f"{user_line()}: scan: {function_place(f)} must return the carried value as it takes it, but it takes the sizes "
                f"{before.spec.shape} and returns {after.shape}; write into a tensor of the final size, or return the parts as y"
            )
    arrays = [t._data if n < len(carried) else _stacked(t._data, length) for n, t in enumerate(step.leaves)]
    specs = [s if n < len(carried) else Spec((length, *s.shape), s.dtype) for n, s in enumerate(step.specs)]
    return step.rebuild(_results(tracer, Scan(len(carried), length, reverse), first, arrays, specs, step))


def _results(
    tracer: Tracer,
    operator: ControlFlow,
    inputs: Sequence[TraceValue],
    arrays: Sequence[Any],
    specs: Sequence[Spec],
    *bodies: _Body,
) -> list[Tensor]:
    """Adds the node, and returns its outputs as tensors. Without a result there is nothing to do."""
    if not arrays:
        return []
    tensors = [from_array(array.copy()) for array in arrays]
    node = tracer.add_node(operator, inputs, list(zip(tensors, specs, strict=True)))
    node.bodies = tuple(body.graph for body in bodies)
    return tensors


def _unequal(before: Sequence[int], after: Sequence[int]) -> tuple[int, ...]:
    """The dimensions whose sizes are not the same."""
    return tuple(d for d, (a, b) in enumerate(zip(before, after, strict=True)) if not same(a, b))


def _merged(tracer: Tracer, a: Spec, b: Spec, t: Tensor) -> Spec:
    """The sizes that are common to two ends; a symbol where they differ."""
    return _with_symbols(tracer, t._data, a, _unequal(a.shape, b.shape))[1]


def _with_symbols(tracer: Tracer, array: Any, spec: Spec, dims: Sequence[int]) -> Argument:
    shape = [symbol(f"size_{next(tracer.counter)}", array.shape[d]) if d in dims else size for d, size in enumerate(spec.shape)]
    return array, Spec(tuple(shape), spec.dtype)


def _slice(t: Tensor, value: TraceValue) -> Argument:
    spec = Spec(value.spec.shape[1:], t.dtype)
    xp = backend_of(t._data).xp
    return (t._data[0, ...] if len(t._data) else xp.zeros(t._data.shape[1:], t._data.dtype)), spec


def _stacked(array: Any, length: int) -> Any:
    return backend_of(array).xp.broadcast_to(array, (int(length), *array.shape))
