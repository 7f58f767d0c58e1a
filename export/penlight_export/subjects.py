# SPDX-License-Identifier: Apache-2.0
"""The models that a comparison compares, each opened on one of the engines that run its kind."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from penlight.errors import PenlightError
from penlight_export.edge.foreign import foreign_program
from penlight_export.edge.original import original_model
from penlight_export.edge.reader import PenFile, read_pen
from penlight_export.engines import (
    Arrays,
    EagerEngine,
    EdgeEngine,
    Engine,
    Port,
    ReferenceEngine,
    StatefulEngine,
    open_onnx,
    open_onnxruntime,
)
from penlight_export.errors import EngineError, OptionError
from penlight_export.graph import Model, infer_shapes, inline_functions, states_of, to_proto
from penlight_export.layers import Layer, onnx_layers, onnx_values, pen_layers, pen_values
from penlight_export.onnx.importer import REWRITTEN, load_onnx
from penlight_export.onnx.message import onnx_pieces
from penlight_export.onnx.strings import vocabulary
from penlight_export.onnx.weights import weight_bytes
from penlight_export.pieces import LARGEST_IN_MEMORY
from penlight_export.sampling import integer_bounds

# What can run which kind of model; the first one does when none is asked for.
ENGINES = {
    ".onnx": ("onnxruntime", "reference", "edge", "eager"),
    ".pen": ("edge", "onnxruntime", "reference", "eager"),
    "module": ("eager",),
}


@dataclass
class Subject:
    """A model that takes part in a comparison, with what layer-wise comparison needs of it."""

    engine: Engine
    proto: Callable[[], onnx.ModelProto] | None = None  # made when layers are looked at
    pen: PenFile | None = None
    bounds: Mapping[str, int] | None = None
    module: Any = None
    method: int = 0  # of `pen`
    imported: Any = None  # the module that runs a file's graph

    def layers(self) -> list[Layer]:
        """The values that can be looked at."""
        if self.proto is not None:
            return onnx_layers(self.proto())
        return [] if self.pen is None else pen_layers(self.pen, self.method)

    def values(self, names: list[str], inputs: Mapping[str, np.ndarray]) -> Arrays:
        """Named intermediate values for one input."""
        if self.imported is not None:
            return _imported_values(self.imported, names, inputs)
        if self.proto is not None:
            return onnx_values(self.proto(), names, inputs, isinstance(self.engine, ReferenceEngine))
        assert self.pen is not None
        return pen_values(self.pen, names, inputs, self.method)

    def golden(self) -> list[Arrays]:
        """The inputs that a .pen file carries for the method."""
        if self.pen is None:
            return []
        return [sample.inputs for sample in self.pen.program.golden() if sample.method == self.pen.methods[self.method].name]

    def at(self, inputs: Mapping[str, np.ndarray]) -> Any:
        """What can be looked into with these inputs: of a module, its trace."""
        return self if self.module is None else _traced(self.module, inputs)


def is_path(value: Any) -> bool:
    """A file's name, and not a module."""
    return isinstance(value, (str, os.PathLike))


def open_subject(path: str | os.PathLike[str], engine: str | None = None, method: str | None = None) -> Subject:
    """Opens a file by its suffix, on an engine of `ENGINES`; `method` is one of a .pen file, its first by default."""
    suffix = Path(path).suffix.lower()
    if suffix not in (".onnx", ".pen"):
        raise OptionError(f"{os.fspath(path)}: expected an .onnx or .pen file, came suffix '{suffix}'")
    engine = _checked_engine(suffix, engine, os.fspath(path))
    if suffix == ".pen":
        return _pen_on(read_pen(path), engine, method, os.fspath(path))
    if engine == "edge":
        return _converted(load_onnx(path), os.fspath(path))
    if engine == "eager":
        return eager_subject(load_onnx(path), os.fspath(path))
    return onnx_subject(load_onnx(path), os.fspath(path), engine)


def methods_of(model: Any) -> tuple[str, ...]:
    """The methods of a .pen file; () for everything else, which has one."""
    return tuple(read_pen(model).program.methods) if is_path(model) and Path(model).suffix.lower() == ".pen" else ()


def _checked_engine(kind: str, engine: str | None, what: str) -> str | None:
    if engine is not None and engine not in ENGINES[kind]:
        raise OptionError(f"{what}: expected the engine {' or '.join(ENGINES[kind])}, came {engine!r}")
    return engine


def onnx_subject(model: Model, path: str | None = None, engine: str | None = None) -> Subject:
    """A graph on onnxruntime; from its file when it came from one, since weights may lie beside it."""
    source = onnx_pieces(model).join() if path is None or model.meta.get(REWRITTEN) else path
    states = [state.initial for state in states_of(model)]
    large = weight_bytes(model) > LARGEST_IN_MEMORY
    return opened_onnx(source, lambda: to_proto(model), states, integer_bounds(model), vocabulary(model), engine, large)


def opened_onnx(
    source: bytes | str,
    proto: Callable[[], onnx.ModelProto],
    states: Sequence[np.ndarray] = (),
    bounds: Mapping[str, int] | None = None,
    texts: tuple[str, ...] = (),
    engine: str | None = None,
    large: bool = False,
) -> Subject:
    """An .onnx file, or its bytes, on an engine.

    Args:
        proto: makes the model for a look at its layers.
        states: the first contents of its last inputs, which are states.
        bounds: of integer inputs.
        texts: strings that mean something to it.
        large: a file whose weights should be in memory once at most.
    """
    opened: Engine
    if engine == "reference":
        opened = ReferenceEngine(source)
    else:
        opened = open_onnx(source, large) if engine is None else open_onnxruntime(source, large)
    if texts:
        opened.inputs = tuple(port._replace(texts=texts) for port in opened.inputs)
    if states:
        opened = StatefulEngine(opened, states)
    return Subject(opened, proto=proto, bounds=bounds)


def _pen_on(file: PenFile, engine: str | None, method: str | None, where: str) -> Subject:
    """A method of a program on the edge runtime, or as the ONNX model that it stands for."""
    own = pen_subject(file, method)
    if engine in (None, "edge"):
        return own
    model = original_model(file, file.methods[own.method].name, where)
    if engine == "reference":  # it does not expand functions of ONNX inside of functions
        inline_functions(model)
        infer_shapes(model)
    subject = eager_subject(model, where) if engine == "eager" else onnx_subject(model, None, engine)
    subject.bounds, subject.pen, subject.method = own.bounds, file, own.method
    return subject


def eager_subject(model: Model, where: str) -> Subject:
    """A graph computed by the framework's operators."""
    from penlight_export.eager import run_module  # here, as below
    from penlight_export.imported import module_of

    module = module_of(model, where)
    inputs, outputs = ([_value_port(value) for value in values] for values in (model.graph.inputs, model.graph.outputs))

    def run(arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        try:
            return run_module(module, [arrays[port.name] for port in inputs])
        except PenlightError as error:  # such as sizes that do not fit: others may
            raise EngineError(f"the framework failed: {error}") from error

    opened: Engine = EagerEngine(run, inputs, outputs)
    if states_of(model):
        opened = StatefulEngine(opened, [state.initial for state in states_of(model)])
    return Subject(opened, proto=lambda: to_proto(model), bounds=integer_bounds(model), imported=module)


def _value_port(value: Any) -> Port:
    if value.dtype is None or value.shape is None:
        raise EngineError(f"'{value.name}' is no tensor of a known type, which the eager engine cannot take or give")
    dtype = np.dtype(object) if value.dtype.name == "STRING" else value.dtype.numpy()
    return Port(value.name, dtype, tuple(size if isinstance(size, int) else size.value or "?" for size in value.shape))


def _imported_values(module: Any, names: list[str], inputs: Mapping[str, np.ndarray]) -> Arrays:
    """Values of an imported graph by name; one that it does not compute under this name cannot be looked at."""
    import penlight as pl  # here, as below

    if not set(module.input_names) <= set(inputs):
        raise EngineError("the values of a model with states cannot be looked at on the eager engine")
    try:
        with pl.no_grad():
            found = module.values(names, *(pl.tensor(inputs[name]) for name in module.input_names))
    except PenlightError as error:
        raise EngineError(f"the framework failed: {error}") from error
    missing = [name for name, value in found.items() if not isinstance(value, pl.Tensor)]
    if missing:
        raise EngineError(f"the imported module has no tensor '{missing[0]}'")
    return {name: value.detach().numpy() for name, value in found.items()}


def pen_subject(source: str | os.PathLike[str] | bytes | PenFile, method: str | None = None) -> Subject:
    """A method of a program, its first by default, on the edge runtime; its golden sample tells how large integers may be."""
    file = source if isinstance(source, PenFile) else read_pen(source)
    bounds: dict[str, int] = {}
    engine = EdgeEngine(file.program, method)
    number = 0 if method is None else file.program.methods.index(method)
    for sample in file.program.golden():
        if sample.method != file.program.methods[number]:
            continue
        for name, array in sample.inputs.items():
            if array.dtype.kind == "O" and array.size:
                known = tuple(dict.fromkeys(array.reshape(-1).tolist()))
                engine.inputs = tuple(port._replace(texts=known) if port.name == name else port for port in engine.inputs)
            if array.dtype.kind in "iu" and array.size:
                bounds[name] = max(bounds.get(name, 1), int(array.max()) + 1)
    return Subject(engine, pen=file, bounds=bounds, method=number)


def _converted(model: Model, name: str) -> Subject:
    """An .onnx file on the edge runtime, without a file in between."""
    subject = pen_subject(foreign_program(model, name).pieces().join())
    subject.bounds = integer_bounds(model)
    return subject


def example_interface(module: Any, arrays: Mapping[str, np.ndarray]) -> Engine:
    """What inputs and outputs a module has when it is called with these arrays, all sizes open."""
    from penlight_export.eager import run_module  # here, as below

    def ports(named: Mapping[str, np.ndarray]) -> list[Port]:
        return [Port(name, array.dtype, ("?",) * array.ndim) for name, array in named.items()]

    inputs = {name: np.asarray(array) for name, array in arrays.items()}
    outputs = run_module(module, list(inputs.values()))
    names = ["output"] if len(outputs) == 1 else [f"output_{k}" for k in range(len(outputs))]
    return EagerEngine(lambda given: outputs, ports(inputs), ports(dict(zip(names, outputs, strict=True))))


def module_subject(module: Any, like: Engine, engine: str | None = None) -> Subject:
    """A module of the framework, called with the inputs of the other model in their order."""
    from penlight_export.eager import run_module, state_reset  # here: comparing two files needs no framework

    _checked_engine("module", engine, type(module).__name__)
    names = [port.name for port in like.inputs]

    def run(inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        return run_module(module, [inputs[name] for name in names])

    return Subject(EagerEngine(run, like.inputs, like.outputs, state_reset(module)), module=module)


def _traced(module: Any, inputs: Mapping[str, np.ndarray]) -> Any:
    """A module's operators one by one, under the names that an export would give to their results."""
    import penlight as pl  # here, as above
    from penlight.tracing import trace
    from penlight_export.eager import evaluation
    from penlight_export.onnx.lower import TRACED, lower_trace
    from penlight_export.onnx.opsets import DEFAULT_EXPORT
    from penlight_export.replay import Replay

    with evaluation(module), pl.no_grad():
        graph = trace(module, tuple(map(pl.tensor, inputs.values())), names=list(inputs))
    return Replay(graph, lower_trace(graph, DEFAULT_EXPORT).graph.meta[TRACED])
