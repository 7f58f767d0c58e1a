# SPDX-License-Identifier: Apache-2.0
"""The module that an imported model becomes: its nodes in order, each computed by a handler of the table."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import penlight as pl
from penlight import nn
from penlight.errors import TraceError
from penlight.tape import mode
from penlight_export.errors import ExportError, ImportedNodeError
from penlight_export.imported.registry import Handler
from penlight_export.imported.symbolic import compute_sizes
from penlight_export.imported.values import Sizes, as_known, as_tensor, folded, is_known

Scope = dict[str, Any]  # value name -> value


@dataclass(eq=False)
class Step:
    """One node.

    Attributes:
        operator, name: for messages.
        inputs, outputs: names of values, "" where one is left out.
        attributes: by name; graphs are `Block`s.
        owner: the part of the module that has the node's parameters; its path goes into traces.
        captured: values that its bodies read.
        released: values that no later step of the block reads.
    """

    operator: str
    name: str
    handler: Handler
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    owner: nn.Module
    domain: str = ""
    captured: tuple[str, ...] = ()
    released: tuple[str, ...] = ()
    scope: Scope = field(default_factory=dict, repr=False)

    @property
    def training(self) -> bool:
        """Whether the part of the module that the node belongs to is in training mode."""
        return bool(self.owner.training)

    @property
    def count(self) -> int:
        """How many outputs are asked for, with those left out in between."""
        return len(self.outputs)


@dataclass(eq=False)
class Block:
    """A graph: the main one, or the body of If, Loop or Scan.

    Attributes:
        inputs, outputs: names of values.
        steps: in the order of computation.
        constants: arrays by name.
        tensors: parameters and buffers by name: the part that holds each and its name there.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    steps: list[Step] = field(default_factory=list)
    constants: Scope = field(default_factory=dict)
    tensors: dict[str, tuple[nn.Module, str]] = field(default_factory=dict)

    def run(self, arguments: Sequence[Any], outer: Scope | None = None, watched: Scope | None = None) -> list[Any]:
        """Computes the outputs; `outer` are the values of the graphs around it, `watched` is filled with those that it names."""
        scope: Scope = dict(outer or {}) | self.constants
        scope.update((name, getattr(*place)) for name, place in self.tensors.items())
        scope.update(zip(self.inputs, arguments, strict=False))
        for step in self.steps:
            scope.update(zip(step.outputs, run_step(step, scope), strict=False))
            if watched is not None:
                watched.update((name, scope[name]) for name in step.outputs if name in watched)
            for name in step.released:
                scope.pop(name, None)
        return [scope[name] for name in self.outputs]


def run_step(step: Step, scope: Scope) -> tuple[Any, ...]:
    """The results of one node."""
    values = [scope[name] if name else None for name in step.inputs]
    try:
        if mode.tracer is None:
            result = compute(step, values, scope)
        else:
            path = mode.tracer.path
            path.append(mode.tracer.module_names.get(id(step.owner), path[-1]))
            try:
                result = compute(step, values, scope)
            finally:
                path.pop()
    except (TraceError, ExportError):
        raise
    except (pl.PenlightError, ValueError, TypeError, IndexError, NotImplementedError, ArithmeticError) as error:
        raise ImportedNodeError(f"{step.operator} node '{step.name}' of the imported model failed: {error}") from error
    return result if isinstance(result, tuple) else (result,)


def compute(step: Step, values: list[Any], scope: Scope) -> Any:
    """Calls the handler with values of the kinds that it takes."""
    handler = step.handler
    if not step.domain and any(isinstance(value, Sizes) for value in values):
        found = compute_sizes(step.operator, values, step.attributes)
        if found is not NotImplemented:
            return found
    extra = step.attributes
    if handler.wants_node:
        step.scope = scope
        extra = {**extra, "node": step}
    if handler.raw:
        return handler.function(*values, **extra)
    given = [as_known(value) if place in handler.known else as_tensor(value) for place, value in enumerate(values)]
    if not handler.random and all(map(is_known, values)):
        with pl.no_grad():
            return folded(handler.function(*given, **extra))
    return handler.function(*given, **extra)


class Part(nn.Module):
    """Parameters and buffers whose names in the file begin alike: a layer, where the exporter kept the names of layers."""

    def forward(self, *inputs: Any) -> Any:
        """A part computes nothing by itself: the imported module does."""
        raise TypeError("a part of an imported module holds parameters; call the imported module itself")


class ImportedModule(nn.Module):
    """A model of an .onnx file. Call it with the file's inputs, in order or by name.

    Returns a tensor, or a tuple where the file has several outputs. Weights are parameters under their names in the file, running
    statistics are buffers. A new one is in evaluation mode; in training mode BatchNormalization uses and updates statistics, and
    Dropout drops.

    Attributes:
        input_names, output_names: as in the file.
        opset: the operator set of ai.onnx that the file was written for.
    """

    def __init__(self, block: Block, opset: int) -> None:
        super().__init__()
        self.block, self.opset = block, opset
        self.input_names, self.output_names = list(block.inputs), list(block.outputs)
        object.__setattr__(self, "forward", NamedForward(self))

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Computes the outputs; see the class."""
        return NamedForward(self)(*inputs, **named)

    def run(self, *inputs: Any) -> Any:
        """Computes the outputs of all inputs in order."""
        results = tuple(map(_outward, self.block.run(inputs)))
        return results[0] if len(results) == 1 else results

    def values(self, names: Sequence[str], *inputs: Any) -> dict[str, Any]:
        """Tensors in the middle of the graph by their names in the file."""
        watched: Scope = dict.fromkeys(names)
        self.block.run(inputs, None, watched)
        return {name: as_tensor(value) for name, value in watched.items()}

    def extra_repr(self) -> str:
        """Inputs, outputs and the number of nodes."""
        return f"{', '.join(self.input_names)} -> {', '.join(self.output_names)}; {len(self.block.steps)} nodes"


class NamedForward:
    """The forward of an imported module, with the names of the file's inputs in its signature."""

    def __init__(self, module: ImportedModule) -> None:
        self.module = module
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        self.__signature__ = inspect.Signature([inspect.Parameter(n, kind) for n in argument_names(module.input_names)])

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        known = dict(zip(self.module.input_names, self.__signature__.parameters, strict=True))
        bound = self.__signature__.bind(*inputs, **{known.get(name, name): value for name, value in named.items()})
        return self.module.run(*bound.args)


def _outward(value: Any) -> Any:
    """A result as users get it; sequences are lists of tensors."""
    return [as_tensor(each) for each in value] if isinstance(value, list) else as_tensor(value)


def argument_names(names: Sequence[str]) -> list[str]:
    """Names of inputs as Python's, each once: "input.1" becomes "input_1"."""
    found: list[str] = []
    for name in names:
        word = re.sub(r"\W", "_", name) or "_"
        word = f"_{word}" if not word.isidentifier() else word
        while word in found:
            word += "_"
        found.append(word)
    return found


def all_steps(block: Block) -> Iterator[Step]:
    """The steps of a block and of the bodies inside."""
    for step in block.steps:
        yield step
        for value in step.attributes.values():
            if isinstance(value, Block):
                yield from all_steps(value)
