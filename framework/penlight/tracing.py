# SPDX-License-Identifier: Apache-2.0
"""Records what a module does to its inputs as a graph of operators, for export.

A trace is honest: it runs the program twice, with other sizes in the dynamic dimensions and other values everywhere,
and refuses to return a graph unless both runs are one and the same graph.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from penlight.autograd import no_grad
from penlight.backends.backend import backend_of
from penlight.dtype import dtype as DType
from penlight.errors import ArgumentError, PenlightError, TraceError
from penlight.ops.create import SymbolicScalar
from penlight.ops.dispatch import apply
from penlight.ops.operator import Operator, Spec, interning
from penlight.source import user_line
from penlight.symbolic import SymInt as SymInt
from penlight.symbolic import contains_symbol, symbol
from penlight.tape import mode
from penlight.tensor import Tensor, from_array

Dynamic = Mapping[str, Mapping[int, str]]


@dataclass(eq=False)
class TraceValue:
    """A tensor of the graph: an input, a result, or a constant.

    Attributes:
        name: unique in the graph.
        spec: shape (int or SymInt) and dtype.
        constant: the tensor, of a parameter, a buffer or a computed constant; else None.
        qualified_name: of a parameter or buffer, as in the state_dict: "features.0.weight".
    """

    name: str
    spec: Spec
    constant: Tensor | None = None
    qualified_name: str | None = None


@dataclass(eq=False)
class TraceNode:
    """One operator call: `source` is the file:line of the user's code, `module_path` such as "features.0"."""

    operator: Operator
    inputs: tuple[TraceValue | None, ...]
    outputs: tuple[TraceValue, ...]
    source: str
    module_path: str


@dataclass(eq=False)
class TraceGraph:
    """What a program does, in order.

    Attributes:
        inputs, outputs: values in the order of the arguments and of the flattened result.
        nodes: in the order of execution.
        symbols: dynamic dimension -> its size in the trace.
        output_tree: the result's structure, with the number of the output in place of each tensor.
    """

    inputs: list[TraceValue] = field(default_factory=list)
    outputs: list[TraceValue] = field(default_factory=list)
    nodes: list[TraceNode] = field(default_factory=list)
    symbols: dict[str, int] = field(default_factory=dict)
    output_tree: Any = None


class Tracer:
    """Records the calls of one run; `penlight.tape.mode.tracer` while it is active."""

    def __init__(self, function: Any) -> None:
        self.graph = TraceGraph()
        root = function if hasattr(function, "named_modules") else getattr(function, "__self__", None)
        self.module_names: dict[int, str] = {}
        self.state_names: dict[int, str] = {}
        if hasattr(root, "named_modules"):
            self.module_names = {id(m): name for name, m in root.named_modules()}  # type: ignore[union-attr]
            for group in (root.named_parameters(), root.named_buffers()):  # type: ignore[union-attr]
                for name, t in group:
                    self.state_names.setdefault(id(t), name)
        self.path: list[str] = [""]
        self.constants: dict[int, TraceValue] = {}
        self.kept: list[Tensor] = []  # keeps ids unique, and lets `close` take the marks off
        self.shared: set[int] = set()  # version counters that views share
        self.counter = itertools.count()

    @contextmanager
    def module(self, module: Any) -> Iterator[None]:
        """While a module runs: its path goes into the nodes."""
        self.path.append(self.module_names.get(id(module), self.path[-1]))
        try:
            yield
        finally:
            self.path.pop()

    def add_input(self, name: str, t: Tensor, shape: tuple[int, ...]) -> None:
        """Declares an input of the graph."""
        self._mark(t, TraceValue(name, Spec(shape, t.dtype)))
        self.graph.inputs.append(t._traced)

    def _mark(self, t: Tensor, value: TraceValue) -> None:
        t._traced = value
        self.kept.append(t)

    def record(self, operator: Operator, inputs: Sequence[Tensor | None], output: Any) -> None:
        """Adds a call whose result depends on an input or on a dynamic size; any other one is a constant."""
        if not any(t is not None and t._traced is not None for t in inputs) and not contains_symbol(operator):
            return
        if operator.is_random:
            self.refuse_random(operator.name)
        values = tuple(None if t is None else self.value_of(t) for t in inputs)
        specs = operator.infer(*(None if v is None else v.spec for v in values))
        outputs = output if isinstance(output, tuple) else (output,)
        made = []
        for t, spec in zip(outputs, specs if isinstance(specs, tuple) else (specs,), strict=True):
            if tuple(map(int, spec.shape)) != t._data.shape or spec.dtype is not t.dtype:
                raise AssertionError(f"{operator.name}: infer says {spec}, forward made {t._data.shape} {t.dtype}")
            self._mark(t, TraceValue(f"{operator.name}_{next(self.counter)}", spec))
            made.append(t._traced)
        if operator.is_view and outputs[0]._version is not None:
            self.shared.add(id(outputs[0]._version))
        self.graph.nodes.append(TraceNode(operator, values, tuple(made), user_line(), self.path[-1]))

    def value_of(self, t: Tensor) -> TraceValue:
        """The value of a tensor; one that no input led to becomes a constant."""
        if t._traced is not None:
            return t._traced
        if id(t) not in self.constants:
            name = self.state_names.get(id(t))
            spec = Spec(tuple(t._data.shape), t.dtype)
            self.constants[id(t)] = TraceValue(name or f"constant_{next(self.counter)}", spec, t.detach(), name)
            self.kept.append(t)
        return self.constants[id(t)]

    def scalar(self, value: Any, dtype: DType) -> Tensor | None:
        """The tensor of a dynamic size that takes part in arithmetic; None for an ordinary number."""
        return apply(SymbolicScalar(value, dtype)) if isinstance(value, SymInt) else None

    def record_write(self, target: Tensor, value: Tensor, operation: str) -> None:
        """Turns a write in place into a new value of the same tensor.

        Raises:
            TraceError: the tensor is a parameter or buffer, or shares memory with a view.
        """
        if id(target) in self.state_names:
            self.refuse_write(target, f"{operation} changes the parameter or buffer {self.state_names[id(target)]!r}")
        if target._version is not None and id(target._version) in self.shared:
            self.refuse_write(target, f"{operation} writes into a tensor that has a view; use x[i] = v on a clone, or cat/where")
        if id(target) in self.constants:  # what was recorded so far used the old content
            self.constants.pop(id(target)).constant = from_array(target._data.copy())
        if value._traced is not None or target._traced is not None:
            self._mark(target, self.value_of(value))

    def refuse_write(self, target: Tensor, reason: str) -> None:
        raise TraceError(f"{user_line()}: {reason}: a graph has no state")

    def refuse_value(self, what: str) -> None:
        raise TraceError(
            f"{user_line()}: {what} reads the value of a tensor that depends on an input; a graph cannot branch on it. "
            "Use where(condition, a, b), or compute it outside of the module"
        )

    def refuse_random(self, what: str) -> None:
        raise TraceError(f"{user_line()}: {what} draws random numbers; call model.eval() first, or pass the noise as an input")

    def check_iteration(self, t: Tensor) -> None:
        size = t.shape[0]
        if isinstance(size, SymInt):
            raise TraceError(
                f"{user_line()}: a loop over a tensor whose first size is the dynamic dimension {size.text!r}; "
                "use an operator on the whole tensor, or leave this dimension fixed"
            )

    def finish(self, result: Any) -> TraceGraph:
        """Sets the outputs."""
        self.graph.output_tree = self._output(result)
        return self.graph

    def _output(self, result: Any) -> Any:
        if isinstance(result, Tensor):
            self.graph.outputs.append(self.value_of(result))
            return len(self.graph.outputs) - 1
        if isinstance(result, dict):
            return {key: self._output(part) for key, part in result.items()}
        if isinstance(result, (tuple, list)):
            return (
                type(result)(self._output(part) for part in result)
                if type(result) in (tuple, list)
                else tuple(map(self._output, result))
            )
        if result is None:
            return None
        raise TraceError(f"trace: the result must consist of tensors, came {type(result).__name__}")

    def close(self) -> None:
        """Takes the marks off the tensors, so that they are ordinary again."""
        for t in self.kept:
            t._traced = None


def trace(
    function: Callable[..., Any],
    inputs: Tensor | Sequence[Tensor] | Mapping[str, Tensor],
    dynamic: Dynamic | None = None,
    names: Sequence[str] | None = None,
) -> TraceGraph:
    """Returns the graph of operators that `function` runs on its inputs.

    Args:
        function: a Module or any function of tensors; put modules in `eval()` first.
        inputs: example tensors, positional or by name. Sizes of dynamic dimensions in the examples are only hints.
        dynamic: per input the dimensions that may vary, with names: `{"x": {0: "batch"}}`.
        names: of positional inputs; the names of the function's arguments by default.

    Raises:
        ArgumentError: a name or dimension in `dynamic` does not exist.
        TraceError: the program reads values, draws random numbers, or writes into its state.
        DynamicShapeError: the program is another one at another size.
    """
    from penlight.unify import unify  # late: unify.py compares what this module records

    arguments = named_inputs(function, inputs, names)
    sizes = _first_sizes(arguments, dynamic or {})
    first = _run(function, arguments, dynamic or {}, sizes, isinstance(inputs, Mapping), 0)
    failure: Exception | None = None
    for other in _other_sizes(sizes):
        try:
            second = _run(function, arguments, dynamic or {}, other, isinstance(inputs, Mapping), 1)
        except TraceError:
            raise
        except (PenlightError, ValueError, IndexError) as error:
            failure = failure or error
            continue
        unify(first, second)
        return first
    given = ", ".join(f"{name}={size}" for name, size in sizes.items())
    raise TraceError(f"trace: the program runs at {given}, and fails at every other size that was tried: {failure}") from failure


def named_inputs(function: Any, inputs: Any, names: Sequence[str] | None) -> dict[str, Tensor]:
    """The inputs by name."""
    if isinstance(inputs, Tensor):
        inputs = (inputs,)
    if isinstance(inputs, Mapping):
        result = dict(inputs)
    else:
        found = list(names or _argument_names(function))
        found += [f"input_{k}" for k in range(len(found), len(inputs))]
        result = dict(zip(found, inputs, strict=False))
    for name, t in result.items():
        if not isinstance(t, Tensor):
            raise TraceError(
                f"trace: input {name!r} must be a tensor, came {type(t).__name__}; bind other arguments with functools.partial"
            )
    return result


def _argument_names(function: Any) -> list[str]:
    target = function.forward if hasattr(function, "forward") else function
    parameters = inspect.signature(target).parameters.values()
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def _first_sizes(inputs: dict[str, Tensor], dynamic: Dynamic) -> dict[str, int]:
    """The sizes of the first run: those of the examples, but at least 2, since 1 broadcasts."""
    sizes: dict[str, int] = {}
    for name, dims in dynamic.items():
        if name not in inputs:
            raise ArgumentError(f"trace: dynamic names the input {name!r}; the inputs are {', '.join(map(repr, inputs))}")
        for dim, label in dims.items():
            if not -inputs[name].ndim <= dim < inputs[name].ndim:
                raise ArgumentError(f"trace: dynamic[{name!r}] names dimension {dim}; the input has {inputs[name].ndim}")
            size = max(inputs[name]._data.shape[dim], 2)
            if sizes.setdefault(label, size) != size:
                raise ArgumentError(
                    f"trace: the dimension {label!r} has sizes {sizes[label]} and {size} in the examples; they must agree"
                )
    return sizes


def _other_sizes(sizes: dict[str, int]) -> Iterator[dict[str, int]]:
    """Sizes for the second run: one more, or where the program does not allow it one less, double or half."""
    choices = [[s + 1, *([s - 1] if s > 2 else []), 2 * s, *([s // 2] if s // 2 >= 2 else [])] for s in sizes.values()]
    for chosen in itertools.islice(itertools.product(*choices), 32):
        yield dict(zip(sizes, chosen, strict=True))


def _run(function: Any, inputs: dict[str, Tensor], dynamic: Dynamic, sizes: dict[str, int], by_name: bool, run: int) -> TraceGraph:
    tracer = Tracer(function)
    tracer.graph.symbols = dict(sizes)
    if mode.tracer is not None:
        raise TraceError("trace: another trace is already active in this thread")
    arguments = {}
    for name, example in inputs.items():
        shape = list(example._data.shape)
        for dim, label in dynamic.get(name, {}).items():
            shape[dim] = symbol(label, sizes[label])
        t = _resized(example, tuple(map(int, shape)), run)
        tracer.add_input(name, t, tuple(shape))
        arguments[name] = t
    mode.tracer, interning.suspended = tracer, True
    try:
        with no_grad():
            result = function(**arguments) if by_name else function(*arguments.values())
        return tracer.finish(result)
    finally:
        mode.tracer, interning.suspended = None, False
        tracer.close()


def _resized(example: Tensor, shape: tuple[int, ...], run: int) -> Tensor:
    """The example repeated or cut to a shape; the second run sees other values, in reversed order."""
    array = backend_of(example._data).to_numpy(example._data)
    count = int(np.prod(shape, dtype=np.int64))
    flat = np.resize(array.reshape(-1), count) if array.size else np.zeros(count, array.dtype)
    if run:
        flat = flat[::-1] if array.dtype.kind in "iub" else flat[::-1] + np.asarray(0.125).astype(array.dtype)
    return from_array(np.ascontiguousarray(flat).reshape(shape)).to(example.device)
