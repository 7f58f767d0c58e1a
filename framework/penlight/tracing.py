# SPDX-License-Identifier: Apache-2.0
"""Records what a module does to its inputs as a graph of operators, for export.

A trace is honest: it runs the program twice, with other sizes in the dynamic dimensions and other values everywhere,
and refuses to return a graph unless both runs are one and the same graph.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from penlight import refusal
from penlight.arguments import Arguments, example_arguments
from penlight.autograd import no_grad
from penlight.backends.backend import backend_of
from penlight.dims import Dim, DynamicSizes, dynamic_sizes
from penlight.dtype import dtype as DType
from penlight.errors import DynamicShapeError, PenlightError, TraceError, TraceGradientError, TraceResultError
from penlight.ops.create import SymbolicScalar
from penlight.ops.dispatch import apply
from penlight.ops.operator import Operator, Spec
from penlight.source import line_of, place_text, user_code_place, user_line
from penlight.symbolic import SymInt as SymInt
from penlight.symbolic import contains_symbol
from penlight.tape import mode
from penlight.tensor import Tensor, from_array

Dynamic = Mapping[str, Mapping[int, str | Dim]]


@dataclass(eq=False, slots=True)
class TraceValue:
    """A tensor of the graph: an input, a result, or a constant.

    Attributes:
        name: unique in the graph.
        spec: shape (int or SymInt) and dtype.
        constant: the tensor, of a parameter, a buffer or a computed constant; else None.
        qualified_name: of a parameter or buffer, as in the state_dict: "features.0.weight".
        home: the `key` of the graph that computes it, or whose input it is; None for a constant.
    """

    name: str
    spec: Spec
    constant: Tensor | None = None
    qualified_name: str | None = None
    home: object = field(default=None, repr=False)


@dataclass(eq=False, slots=True)
class TraceNode:
    """One operator call: `source` is the file:line of the user's code, `module_path` such as "features.0".

    `bodies` are what cond, while_loop and scan run; they read values of the graphs around them as well as their own inputs.
    """

    operator: Operator
    inputs: tuple[TraceValue | None, ...]
    outputs: tuple[TraceValue, ...]
    source: str
    module_path: str
    bodies: tuple[TraceGraph, ...] = ()


@dataclass(eq=False)
class TraceState:
    """A buffer that the program reads and writes: its value before and after a run, and the content it had when traced."""

    name: str
    before: TraceValue
    after: TraceValue
    initial: Tensor


@dataclass(eq=False)
class TraceGraph:
    """What a program does, in order.

    Attributes:
        inputs, outputs: values in the order of the arguments and of the flattened result.
        nodes: in the order of execution.
        symbols: dynamic dimension -> its size in the trace.
        dims: dynamic dimension -> its range.
        output_tree: the result's structure, with the number of the output in place of each tensor.
        states: buffers registered with `export_state` that the program reads or writes.
        key: what its values know it by; were it the graph itself, only the cycle collector could free a trace.
    """

    inputs: list[TraceValue] = field(default_factory=list)
    outputs: list[TraceValue] = field(default_factory=list)
    nodes: list[TraceNode] = field(default_factory=list)
    symbols: dict[str, int] = field(default_factory=dict)
    dims: dict[str, Dim] = field(default_factory=dict)
    output_tree: Any = None
    states: list[TraceState] = field(default_factory=list)
    key: object = field(default_factory=object, repr=False)

    def all_nodes(self) -> Iterator[TraceNode]:
        """Yields the nodes, each followed by those of its bodies."""
        for node in self.nodes:
            yield node
            for body in node.bodies:
                yield from body.all_nodes()


class Tracer:
    """Records the calls of one run; `penlight.tape.mode.tracer` while it is active."""

    def __init__(self, function: Any, run: int = 0) -> None:
        self.kept: list[Tensor] = []  # keeps ids unique, and lets `close` take the marks off
        self.graph = TraceGraph()
        self.open = [self.graph]  # the graph that is recorded now, behind those around it
        self.run = run  # 0 or 1: a program is traced twice
        root = function if hasattr(function, "named_modules") else getattr(function, "__self__", None)
        self.module_names: dict[int, str] = {}
        self.state_names: dict[int, str] = {}
        has_states = False
        if hasattr(root, "named_modules"):
            for path, module in root.named_modules():  # type: ignore[union-attr]  # hasattr, above
                self._add_names(path, module)
                has_states |= bool(module._export_states)
        self.states: dict[str, tuple[Tensor, TraceState]] = {}
        if has_states:
            for name, t in root.named_export_states():  # type: ignore[union-attr]  # hasattr, above
                self._add_state(name, t)
        self.path: list[str] = [""]
        self.constants: dict[int, TraceValue] = {}
        self.specs: dict[tuple[Any, Any], Spec] = {}  # of constants, by the shape and dtype of their arrays
        self.shared: set[int] = set()  # version counters that views share
        self.stale: dict[int, tuple[weakref.ref[Tensor], str]] = {}  # results of the run before, and who made them
        self.counter = itertools.count()
        self.places: dict[tuple[str, int], str] = {}  # of the user's lines, as text

    def _add_names(self, path: str, module: Any) -> None:
        """Notes what a module, its parameters and its buffers are called; those that have two names by the first."""
        self.module_names[id(module)] = path
        for entries in (module._parameters, module._buffers):
            for name, t in entries.items():
                if t is not None:
                    self.state_names.setdefault(id(t), f"{path}.{name}" if path else name)

    def enter(self, module: Any) -> None:
        """A module begins to run: its path goes into the nodes, until `leave`."""
        self.path.append(self.module_names.get(id(module), self.path[-1]))

    def leave(self) -> None:
        """The module that was entered last is done."""
        self.path.pop()

    @contextmanager
    def body(self) -> Iterator[TraceGraph]:
        """What runs inside is recorded as a graph of its own."""
        self.graph = TraceGraph(symbols=self.graph.symbols)
        self.open.append(self.graph)
        try:
            yield self.graph
        finally:
            self.open.pop()
            self.graph = self.open[-1]

    def add_input(self, name: str, t: Tensor, shape: tuple[int, ...]) -> None:
        """Declares an input of the graph."""
        self._mark(t, TraceValue(name, Spec(shape, t.dtype), home=self.graph.key))
        self.graph.inputs.append(t._traced)

    def _add_state(self, name: str, t: Tensor) -> None:
        value = TraceValue(name, Spec(tuple(t._data.shape), t.dtype), home=self.graph.key)
        self.states[name] = t, TraceState(name, value, value, from_array(t._data.copy()))
        self._mark(t, value)

    def _used_states(self) -> list[TraceState]:
        read = {id(v) for node in self.graph.all_nodes() for v in node.inputs} | {id(v) for v in self.graph.outputs}
        for t, state in self.states.values():
            state.after = self.value_of(t)
        return [state for _, state in self.states.values() if state.after is not state.before or id(state.before) in read]

    def add_node(
        self, operator: Operator, inputs: Sequence[TraceValue | None], results: Sequence[tuple[Tensor, Spec]]
    ) -> TraceNode:
        """Adds a node whose results are these tensors."""
        name, home, made = operator.name, self.graph.key, []
        for t, spec in results:
            value = t._traced = TraceValue(f"{name}_{next(self.counter)}", spec, None, None, home)
            self.kept.append(t)
            made.append(value)
        node = TraceNode(operator, tuple(inputs), tuple(made), self._place(), self.path[-1])
        self.graph.nodes.append(node)
        return node

    def _place(self) -> str:
        """As `user_line`, each line's text made once in a trace."""
        code = user_code_place()
        if code is None:
            return ""
        found = self.places.get(code)
        if found is None:
            found = self.places[code] = place_text(*code)
        return found

    def _mark(self, t: Tensor, value: TraceValue) -> None:
        t._traced = value
        self.kept.append(t)

    def record(self, operator: Operator, inputs: Sequence[Tensor | None], output: Any) -> None:
        """Adds a call whose result depends on an input or on a dynamic size; any other one is a constant."""
        for t in inputs:  # any(...) would make a generator for each call of the program
            if t is not None and t._traced is not None:
                break
        else:
            if not contains_symbol(operator):
                return
        if operator.is_random:
            self.refuse_random(operator.name)
        home = self.graph.key
        values = [
            None if t is None else t._traced if t._traced is not None and t._traced.home is home else self.value_of(t)
            for t in inputs
        ]
        specs = operator.infer(*[None if v is None else v.spec for v in values])
        outputs = output if isinstance(output, tuple) else (output,)
        results = list(zip(outputs, specs if isinstance(specs, tuple) else (specs,), strict=True))
        for t, spec in results:
            if tuple(spec.shape) != t._data.shape or spec.dtype is not t.dtype:
                raise AssertionError(f"{operator.name}: infer says {spec}, forward made {t._data.shape} {t.dtype}")
        if operator.is_view and outputs[0]._version is not None:
            self.shared.add(id(outputs[0]._version))
        self.add_node(operator, values, results)

    def value_of(self, t: Tensor) -> TraceValue:
        """The value of a tensor; one that no input led to becomes a constant."""
        traced = t._traced
        if traced is not None:
            if not any(traced.home is graph.key for graph in self.open):
                self.refuse_leak()
            return traced
        constant = self.constants.get(id(t))
        if constant is None:
            made, source = self.stale.get(id(t), (None, ""))
            if made is not None and made() is t:
                refusal.leak(f"a tensor of shape {tuple(t._data.shape)}", source, self.path[-1])
            name = self.state_names.get(id(t))
            spec = self._spec(t)
            constant = self.constants[id(t)] = TraceValue(name or f"constant_{next(self.counter)}", spec, t.detach(), name)
            self.kept.append(t)
        return constant

    def _spec(self, t: Tensor) -> Spec:
        """Of a constant; the layers of a model have few different ones."""
        data = t._data
        found = self.specs.get((data.shape, data.dtype))
        if found is None:
            found = self.specs[data.shape, data.dtype] = Spec(tuple(data.shape), t.dtype)
        return found

    def scalar(self, value: Any, dtype: DType) -> Tensor | None:
        """The tensor of a dynamic size that takes part in arithmetic; None for an ordinary number."""
        return apply(SymbolicScalar(value, dtype)) if isinstance(value, SymInt) else None

    def record_write(self, target: Tensor, value: Tensor, operation: str) -> None:
        """Turns a write in place into a new value of the same tensor.

        Raises:
            TraceError: the tensor is a parameter or buffer, or shares memory with a view.
        """
        if any(target._traced is value for value in self.open[0].inputs):
            self.refuse_write(
                target, f"{operation} changes the input {target._traced.name!r}; make a new tensor of it, or clone it first"
            )
        if id(target) in self.state_names and not any(target is t for t, _ in self.states.values()):
            self.refuse_write(target, f"{operation} changes the parameter or buffer {self.state_names[id(target)]!r}")
        if target._version is not None and id(target._version) in self.shared:
            self.refuse_write(target, f"{operation} writes into a tensor that has a view; use x[i] = v on a clone, or cat/where")
        if target._traced is not None and target._traced.home is not self.graph.key:
            self.refuse_write(target, f"{operation}, in a function of cond, while_loop or scan, changes a tensor from outside")
        if id(target) in self.constants:  # what was recorded so far used the old content
            self.constants.pop(id(target)).constant = from_array(target._data.copy())
        if value._traced is not None or target._traced is not None:
            self._mark(target, self.value_of(value))

    def refuse_write(self, target: Tensor, reason: str) -> None:
        refusal.write(reason, self.path[-1])

    def refuse_leak(self) -> None:
        raise TraceError(
            f"{user_line()}: a tensor that a function of cond, while_loop or scan computed is used outside of it; "
            "return it from the function, and use what cond, while_loop or scan returns"
        )

    def refuse_value(self, what: str, value: Tensor | None = None) -> None:
        refusal.value_read(what, self.path[-1], value)

    def refuse_data_shape(self, what: str) -> None:
        refusal.data_shape(what, self.path[-1])

    def refuse_random(self, what: str) -> None:
        refusal.random_numbers(what, self.path[-1])

    def refuse_gradient(self, what: str) -> None:
        raise TraceGradientError(
            f"{refusal.place(self.path[-1])}{what} computes gradients inside of the model; a trace records forward operators only. "
            "Write the derivative out, or export the forward alone"
        )

    def check_assignment(self, module: Any, name: str, value: Any) -> None:
        """Refuses a buffer that is replaced by a result."""
        if isinstance(value, Tensor) and value._traced is not None and module._buffers.get(name) is not value:
            path = ".".join(filter(None, (self.module_names.get(id(module), ""), name)))
            refusal.write(f"the assignment replaces the buffer or parameter {path!r}; return the new value instead", self.path[-1])

    def check_iteration(self, t: Tensor) -> None:
        size = t.shape[0]
        if isinstance(size, SymInt):
            refusal.iteration(size, self.path[-1])

    def finish(self, result: Any) -> TraceGraph:
        """Sets the outputs."""
        self.graph.output_tree = self._output(result)
        if not self.graph.outputs:
            raise TraceResultError(f"trace: the program must return tensors, came {result!r}; does forward end in a return?")
        self.graph.states = self._used_states()
        return self.graph

    def _output(self, result: Any) -> Any:
        if isinstance(result, Tensor):
            self.graph.outputs.append(self.value_of(result))
            return len(self.graph.outputs) - 1
        if isinstance(result, dict):
            return {self._key(key): self._output(part) for key, part in result.items()}
        if isinstance(result, (tuple, list)):
            return (
                type(result)(self._output(part) for part in result)
                if type(result) in (tuple, list)
                else tuple(map(self._output, result))
            )
        if result is None:
            return None
        raise TraceResultError(
            f"trace: the result must consist of tensors, came {type(result).__name__}; pl.tensor(...) makes a constant output of it"
        )

    def _key(self, key: Any) -> str:
        if isinstance(key, str) and key:
            return key
        raise TraceResultError(f"trace: the keys of a result are the names of the outputs: expected text, came {key!r}")

    def close(self) -> None:
        """Takes the marks off the tensors, so that they are ordinary again, and gives states their content back."""
        for t, state in self.states.values():
            t._data[...] = state.initial._data
        made = {id(value): node.source for node in self.graph.all_nodes() for value in node.outputs}
        for t in self.kept:
            if id(t._traced) in made:
                self.stale[id(t)] = (weakref.ref(t), made[id(t._traced)])
            t._traced = None


def trace(
    function: Callable[..., Any],
    inputs: Any,
    dynamic: Dynamic | None = None,
    names: Sequence[str] | None = None,
) -> TraceGraph:
    """Returns the graph of operators that `function` runs on its inputs.

    Args:
        function: a Module or any function of tensors; put modules in `eval()` first.
        inputs: example arguments: a tensor, a tuple of positional arguments, or a dict of keyword arguments. Each is a tensor,
            None, or tuples, lists and dicts of tensors, whose inputs are called "state.0", "state.h".
        dynamic: per input the dimensions that may vary, with names, sizes derived from names, or ranges:
            `{"x": {0: "batch", 1: "2*time"}, "y": {0: Dim("batch", max=64)}}`.
        names: of positional inputs; the names of the function's arguments by default.

    Raises:
        TraceInputError: the examples, names or dynamic dimensions do not fit the program.
        TraceError: the program reads values, draws random numbers, or writes into its state.
        DynamicShapeError: the program is another one at another size.
    """
    if mode.tracer is not None:
        raise TraceError("trace: a program under trace calls trace or export itself; export the inner module on its own")
    arguments = example_arguments(function, inputs, names)
    dims = dynamic_sizes(arguments.tensors, dynamic or {})
    return _Trace(function, arguments, dims).run()


class _Trace:
    """Two runs of a program, at two sizes, that must be one graph."""

    def __init__(self, function: Any, arguments: Arguments, dims: DynamicSizes) -> None:
        self.function, self.arguments, self.dims = function, arguments, dims
        self.stale: dict[int, tuple[weakref.ref[Tensor], str]] = {}

    def run(self) -> TraceGraph:
        first = self._run(self.dims.sizes, 0)
        failure: Exception | None = None
        equal: list[tuple[str, str]] = []
        for other in self.dims.others():
            try:
                second = self._run(other, 1)
            except TraceError:
                raise
            except (PenlightError, ValueError, IndexError) as error:
                failure = failure or error
                continue
            equal = self.dims.twins(other) if failure is not None else []
            if not equal:
                self._unify(first, second)
                return first
        assert failure is not None
        raise self._one_size_only(failure, equal) from failure

    def _one_size_only(self, failure: Exception, equal: list[tuple[str, str]]) -> TraceError:
        place = line_of(failure) or "trace"
        if equal:
            a, b = equal[0]
            return DynamicShapeError(
                f"{place}: the dimensions {a!r} and {b!r} must have one size: {failure}; give them one name in dynamic"
            )
        given = ", ".join(f"{name}={size}" for name, size in self.dims.sizes.items())
        return TraceError(
            f"{place}: the program runs at {given}, and fails at every other size that was tried: {failure}. "
            "Compute sizes from x.shape, or leave the dimension out of dynamic"
        )

    def _unify(self, first: TraceGraph, second: TraceGraph) -> None:
        from penlight.unify import unify  # late: unify.py compares what this module records

        try:
            unify(first, second)
        except DynamicShapeError:
            if self.dims.sizes:  # do the sizes make the difference, or the values? The same sizes with other values tell
                unify(first, self._run(self.dims.sizes, 1))
            raise

    def _run(self, sizes: Mapping[str, int], run: int) -> TraceGraph:
        tracer = Tracer(self.function, run)
        tracer.graph.symbols, tracer.graph.dims = dict(sizes), dict(self.dims.dims)
        tracer.stale = self.stale
        tensors = {}
        for name, example in self.arguments.tensors.items():
            shape = self.dims.shape(name, example, sizes)
            tensors[name] = _resized(example, tuple(map(int, shape)), run)
            tracer.add_input(name, tensors[name], shape)
        mode.tracer = tracer
        try:
            with no_grad():
                result = self.arguments.call(self.function, tensors)
            return tracer.finish(result)
        finally:
            mode.tracer = None
            tracer.close()


def _resized(example: Tensor, shape: tuple[int, ...], run: int) -> Tensor:
    """The example repeated or cut to a shape; the second run sees other values, in reversed order."""
    array = backend_of(example._data).to_numpy(example._data)
    count = int(np.prod(shape, dtype=np.int64))
    flat = np.resize(array.reshape(-1), count) if array.size else np.zeros(count, array.dtype)
    if run:
        flat = flat[::-1] if array.dtype.kind in "iub" else flat[::-1] + np.asarray(0.125).astype(array.dtype)
    return from_array(np.ascontiguousarray(flat).reshape(shape)).to(example.device)
