# SPDX-License-Identifier: Apache-2.0
"""The engines that verification compares, behind one face: inputs and outputs by name, arrays in, arrays out."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx

import penlight_runtime
from penlight.errors import SaveError
from penlight_export.errors import EngineError
from penlight_export.onnx.beside import copy_with_weights_beside
from penlight_export.work import reference_work

Arrays = dict[str, np.ndarray]

NOT_OPTIMIZED = ", not optimized"  # behind the label of an engine that `as_written` returns
MOST_REFERENCE_WORK = 1_000_000_000  # multiply-accumulates of a run that nobody asked for: a few seconds
# Fusions of onnxruntime 1.31 that take any scales and biases for those of columns: wrong shapes, wrong numbers, reads behind the
# end of a tensor up to a crash of the process. Without them the operators of the model run one by one.
_UNSAFE_FUSIONS = ["DynamicQuantizeMatMulFusion", "MatMulIntegerToFloatFusion"]
_QUANTIZED = ("quantize", "qlinear", "integer", "nbits")  # in the names of operators


class Port(NamedTuple):
    """An input or output: sizes that vary are names, strings have the dtype object, and `texts` are some that mean something."""

    name: str
    dtype: np.dtype
    shape: tuple[int | str, ...]
    texts: tuple[str, ...] = ()


class Engine(ABC):
    """Something that computes a model's outputs.

    Attributes:
        label: how reports name it.
        inputs, outputs: in the model's order.
        has_states: it keeps tensors from run to run, so that one run does not show all.
        note: what a report should say of it, "" for nothing.
    """

    label: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    has_states = False
    note = ""

    @abstractmethod
    def run(self, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """Returns all outputs by name.

        Raises:
            EngineError: the engine refused; its own message follows.
        """

    def reset(self) -> None:  # noqa: B027  # most engines keep nothing
        """Gives tensors that are kept from run to run their first content; without them there is nothing to do."""

    def as_written(self) -> Engine | None:
        """The same model computed operator by operator, where this engine's own rewriting may cost precision; else None.

        Raises:
            EngineError: the engine refuses the model in this form.
        """
        return None

    def on_reference(self) -> Engine | None:
        """The same model on ONNX's reference implementation, where this engine's own kernels may be wrong; else None.

        It refuses runs of more than `MOST_REFERENCE_WORK`.

        Raises:
            EngineError: there is no such implementation of the model.
        """
        return None

    def first_wrong(self, inputs: Mapping[str, np.ndarray]) -> str:
        """For the end of a sentence: the first layer that is not as `on_reference` says, and why; "" where nobody can tell."""
        return ""


class StatefulEngine(Engine):
    """A model whose last inputs and last outputs are states, with the states fed back from run to run."""

    has_states = True

    def __init__(self, model: Engine, initial: Sequence[np.ndarray]) -> None:
        self.model, self.initial, self.label, self.note = model, list(initial), model.label, model.note
        self.inputs = model.inputs[: len(model.inputs) - len(self.initial)]
        self.outputs = model.outputs[: len(model.outputs) - len(self.initial)]
        self.reset()

    def reset(self) -> None:
        """The next run starts from the first content."""
        self._current = {p.name: array for p, array in zip(self.model.inputs[len(self.inputs) :], self.initial, strict=True)}

    def run(self, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """Runs the model on the inputs and the states, and keeps the new states."""
        results = self.model.run({**inputs, **self._current})
        after = self.model.outputs[len(self.outputs) :]
        self._current = {name: results[port.name] for name, port in zip(self._current, after, strict=True)}
        return {port.name: results[port.name] for port in self.outputs}

    def as_written(self) -> Engine | None:
        """The model so, with the same first states."""
        plain = self.model.as_written()
        if plain is None:
            return None
        engine = StatefulEngine(plain, self.initial)
        engine.label = self.label + NOT_OPTIMIZED
        return engine

    def on_reference(self) -> Engine | None:
        """The model so, with the same first states."""
        model = self.model.on_reference()
        return None if model is None else StatefulEngine(model, self.initial)

    def first_wrong(self, inputs: Mapping[str, np.ndarray]) -> str:
        """From the first states."""
        self.reset()
        return self.model.first_wrong({**inputs, **self._current})


class EagerEngine(Engine):
    """The framework itself, or any function from named arrays to a list of arrays in the outputs' order."""

    label = "eager"

    def __init__(
        self,
        function: Callable[[Mapping[str, np.ndarray]], Sequence[np.ndarray]],
        inputs: Sequence[Port],
        outputs: Sequence[Port],
        reset: Callable[[], None] | None = None,
    ) -> None:
        self._function, self._reset = function, reset
        self.inputs, self.outputs, self.has_states = tuple(inputs), tuple(outputs), reset is not None

    def reset(self) -> None:
        """Gives buffers that the module writes their first content."""
        if self._reset is not None:
            self._reset()

    def run(self, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """Runs the module without a tape."""
        return {port.name: np.asarray(array) for port, array in zip(self.outputs, self._function(inputs), strict=True)}


class OnnxEngine(Engine):
    """onnxruntime on the CPU."""

    label = "onnxruntime"

    def __init__(self, model: bytes | str, optimize: bool = True, options: Any = None) -> None:
        import onnxruntime  # here, since .pen files alone need it not

        self._model, self._is_optimized = model, optimize
        options = options or onnxruntime.SessionOptions()
        options.log_severity_level = 4  # refusals come as exceptions, and are ours to word
        if not optimize:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        choices = {"providers": ["CPUExecutionProvider"], "disabled_optimizers": _UNSAFE_FUSIONS}
        self._open = functools.partial(onnxruntime.InferenceSession, model, options, **choices)
        try:
            self._session = self._open()
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise EngineError(f"onnxruntime refuses the model: {_one_line(error)}") from error
        self.inputs = tuple(_onnx_port(entry) for entry in self._session.get_inputs())
        self.outputs = tuple(_onnx_port(entry) for entry in self._session.get_outputs())

    def run(self, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """Runs the session."""
        try:
            results = self._session.run([port.name for port in self.outputs], dict(inputs))
        except Exception as error:  # as above
            raise EngineError(f"onnxruntime failed: {_one_line(error)}") from error
        return dict(zip((port.name for port in self.outputs), results, strict=True))

    def as_written(self) -> Engine | None:
        """Of a quantized model: onnxruntime's optimizer sums layers of 8 bits in lower precision than the model says."""
        if not self._is_optimized or not _is_quantized(self._model):
            return None
        engine = self._not_optimized()
        engine.label = self.label + NOT_OPTIMIZED
        return engine

    def _not_optimized(self) -> OnnxEngine:
        return OnnxEngine(self._model, optimize=False)

    def on_reference(self) -> Engine | None:
        """Of a quantized model: onnxruntime's sums of bytes may saturate, depending on the processor."""
        if not _is_quantized(self._model):
            return None
        engine = ReferenceEngine(self._model, MOST_REFERENCE_WORK)
        engine.label += self.label.removeprefix(OnnxEngine.label)  # which of two files it is
        return engine

    def first_wrong(self, inputs: Mapping[str, np.ndarray]) -> str:
        """Of all values, computed by onnxruntime without its optimizer."""
        from penlight_export.layers import first_wrong_layer  # here: layers run on these engines

        return first_wrong_layer(read_proto(self._model), inputs)

    def end_profiling(self) -> str:
        """Stops a profile that `options` asked for; returns the path of its file."""
        return str(self._session.end_profiling())


class LargeOnnxEngine(OnnxEngine):
    """onnxruntime on a file whose weights it maps; a session lives for one run, so that there is memory for the next engine."""

    def __init__(self, path: str, optimize: bool = True) -> None:
        import onnxruntime  # here, as above

        copy, folder = _copy_for_onnxruntime(Path(path))
        remove = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.disable_prepacking", "1")  # it copies every weight
        try:
            super().__init__(os.fspath(copy), optimize, options)
        except BaseException:  # the exception keeps this object, and with it gigabytes of a disk
            remove()
            raise
        self._path, self._session = path, None

    def _not_optimized(self) -> OnnxEngine:
        return LargeOnnxEngine(self._path, optimize=False)

    def run(self, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """Opens a session, which takes far less time than a run, and runs it."""
        self._session = self._open()
        try:
            return super().run(inputs)
        finally:
            self._session = None


def _copy_for_onnxruntime(path: Path) -> tuple[Path, Path]:
    """What `copy_with_weights_beside` returns, and the new folder of it: beside the file, where there is room for such files; else
    where the system keeps temporary ones, which may be memory.

    Raises:
        EngineError: neither can be written.
    """
    refused = []
    for place in (path.parent, Path(tempfile.gettempdir())):
        try:
            folder = Path(tempfile.mkdtemp(prefix=".penlight-", dir=place))
        except OSError as error:
            refused.append(f"{place}: {error.strerror}")
            continue
        try:
            return copy_with_weights_beside(path, folder), folder
        except SaveError as error:
            shutil.rmtree(folder, ignore_errors=True)
            refused.append(f"{place}: {error}")
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    raise EngineError(
        f"onnxruntime needs a copy of {path} whose weights it can map, {path.stat().st_size:,} bytes, and there is no room for it "
        f"({'; '.join(refused)}); free some, set TMPDIR to a folder with room, or do without the comparison"
    )


class ReferenceEngine(Engine):
    """ONNX's reference implementation, for models that onnxruntime does not know yet."""

    label = "onnx reference"

    def __init__(self, model: bytes | str, most_work: int | None = None) -> None:
        """`most_work`: of a run, in multiply-accumulates as `reference_work` counts them; None is any."""
        from onnx.reference import ReferenceEvaluator  # here: slow to import and rarely needed

        self._proto, self._most_work = read_proto(model), most_work
        proto = self._proto
        try:
            self._evaluator = ReferenceEvaluator(proto)
        except Exception as error:  # of many kinds, for operators that it lacks
            raise EngineError(f"the reference implementation of ONNX refuses the model: {_one_line(error)}") from error
        constants = {tensor.name for tensor in proto.graph.initializer}
        self.inputs = tuple(_proto_port(value) for value in proto.graph.input if value.name not in constants)
        self.outputs = tuple(_proto_port(value) for value in proto.graph.output)

    def run(self, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """Evaluates node by node."""
        if self._most_work is not None:
            self._check_work(inputs, self._most_work)
        try:
            with np.errstate(all="ignore"):
                results = self._evaluator.run(None, dict(inputs))
        except Exception as error:  # NumPy raises many kinds
            raise EngineError(f"the reference implementation of ONNX failed: {_one_line(error)}") from error
        arrays = {port.name: np.asarray(array) for port, array in zip(self.outputs, results, strict=True)}
        return {name: array.astype(object) if array.dtype.kind in "US" else array for name, array in arrays.items()}

    def _check_work(self, inputs: Mapping[str, np.ndarray], most: int) -> None:
        work = reference_work(self._proto, inputs)
        if work is None:
            raise EngineError("the reference implementation of ONNX was not asked: the data decide how long it takes")
        if work > most:
            raise EngineError(f"the reference implementation of ONNX was not asked: {work:,} steps of work, above {most:,}")


class EdgeEngine(Engine):
    """The edge runtime."""

    label = "edge"

    def __init__(self, program: penlight_runtime.Program, method: str | None = None) -> None:
        """`method`: the program's first by default."""
        name = program.methods[0] if method is None else method
        self.program = program
        self.session = program.session(name)
        self.inputs = tuple(map(edge_port, program.inputs(name)))
        self.outputs = tuple(map(edge_port, program.outputs(name)))
        self.has_states = bool(self.session.states())

    def reset(self) -> None:
        """Gives the session's states their first content."""
        self.session.reset()

    def run(self, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """Runs the method."""
        try:
            return self.session.run(inputs)
        except penlight_runtime.RuntimeFailure as error:
            raise EngineError(f"the edge runtime failed: {error}") from error
        finally:
            self.program.release_pages()  # the other engines want memory for the same weights


def open_onnxruntime(model: bytes | str, large: bool = False) -> OnnxEngine:
    """onnxruntime on a serialized model, or on a path. `large`: weights of the file should be in memory once at most."""
    return LargeOnnxEngine(model) if large and isinstance(model, str) else OnnxEngine(model)


def open_onnx(model: bytes | str, large: bool = False) -> Engine:
    """onnxruntime, or the reference implementation where it refuses (very new operator sets), whose note then says why.

    Args:
        model: a serialized model, or its path when it has external data.
        large: as in `open_onnxruntime`.
    """
    try:
        return open_onnxruntime(model, large)
    except EngineError as refused:
        try:
            engine = ReferenceEngine(model)
        except Exception:  # whatever the reference lacks, onnxruntime's word is the better one
            raise refused from None
        engine.note = f"ONNX's reference implementation ran the model: {refused}"
        return engine


_ORT_TYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(bool)": "bool",
    "tensor(string)": "object",
    **{f"tensor({name})": name for name in ("float16", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")},
}


def read_proto(model: bytes | str, with_weights: bool = True) -> onnx.ModelProto:
    """A serialized model, or one in a file, with the weights that lie beside it or without them."""
    return onnx.load_from_string(model) if isinstance(model, bytes) else onnx.load(model, load_external_data=with_weights)


def dtype_text(dtype: np.dtype) -> str:
    """How people call a dtype; of a .pen file's strings with their limit."""
    return f"string (at most {dtype.itemsize} bytes)" if dtype.kind == "S" else "string" if dtype.kind == "O" else str(dtype)


def edge_port(info: penlight_runtime.TensorInfo) -> Port:
    """What a program declares, strings of any width alike."""
    return Port(info.name, np.dtype(object) if info.dtype.kind == "S" else info.dtype, info.shape)


def _onnx_port(entry: Any) -> Port:
    if entry.type not in _ORT_TYPES:
        raise EngineError(f"'{entry.name}' has type {entry.type}, which cannot be compared")
    shape = tuple(size if isinstance(size, (int, str)) else "?" for size in entry.shape)
    return Port(entry.name, np.dtype(_ORT_TYPES[entry.type]), shape)


def _proto_port(value: onnx.ValueInfoProto) -> Port:
    tensor = value.type.tensor_type
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in tensor.shape.dim)
    return Port(value.name, np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)), shape)


def _is_quantized(model: bytes | str) -> bool:
    """Some operator, in a body or a function as well, has to do with integers that stand for floats."""
    proto = read_proto(model, with_weights=False)
    return any(map(_holds_quantized, (proto.graph, *proto.functions)))


def _holds_quantized(part: onnx.GraphProto | onnx.FunctionProto) -> bool:
    for node in part.node:
        if any(word in node.op_type.lower() for word in _QUANTIZED):
            return True
        if any(_holds_quantized(body) for attribute in node.attribute for body in (attribute.g, *attribute.graphs)):
            return True
    return False


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:400]
