# SPDX-License-Identifier: Apache-2.0
"""Cases for export tests, made from the samples of the operator table: sizes, dtypes and operator sets."""

import numpy as np
import onnxruntime

import penlight as pl
from penlight.errors import PenlightError
from penlight.ops.dispatch import apply
from penlight.ops.operator import CUSTOM, NotExported, NotSampled, Spec, parse_onnx
from penlight.ops.registry import operators
from penlight.ops.samples import build
from penlight.tracing import trace
from penlight_export.compare import difference
from penlight_export.engines import OnnxEngine, ReferenceEngine
from penlight_export.errors import EngineError
from penlight_export.onnx.lower import lower_trace
from penlight_export.onnx.opsets import find_schema

DTYPES = ("float16", "float64", "int64")
# float32: functions differ by a few units in the last place between engines; float16 by a unit per operator of a lowering;
# float64: polynomials of lowerings are good to float32's digits only.
TOLERANCE = {"float32": 1e-5, "float16": 1e-2, "float64": 2e-6, "int64": 0.0}
RANDOM = {name for name, cls in operators().items() if cls.is_random}
# Neither onnxruntime nor ONNX's reference computes these in float64; integers to a negative power are undefined.
NO_ENGINE = {(name, "float64") for name in ("rnn", "gru", "lstm", "conv2d_input_grad")} | {("pow", "int64")}
# Families whose operators move elements of any dtype.
MOVING = {"shape", "index", "gather", "scatter", "rearrange", "sort", "compare"}
EXPORTED = {
    name: cls
    for name, cls in operators().items()
    if not isinstance(cls.onnx, NotExported) and not isinstance(cls.samples, NotSampled) and name not in RANDOM
}
CALLS = [(name, cls, call) for name, cls in EXPORTED.items() for call in cls.samples]


class Case:
    """One call of an operator as a program: the function, its inputs by name and its results."""

    def __init__(self, cls, call, dtype="float32"):
        self.cls = cls
        self.operator = cls(**call.fields)
        self.tensors = [None if array is None else pl.tensor(np.array(array, order="C")) for array in build(call, dtype)]
        self.present = tuple(t for t in self.tensors if t is not None)
        self.names = [f"x{number}" for number in range(len(self.present))]

    def __call__(self, *given):
        rest = iter(given)
        results = apply(self.operator, *(None if t is None else next(rest) for t in self.tensors))
        if not isinstance(results, tuple):
            return pl.view_as_real(results) if results.is_complex() else results  # no output of a model is complex
        return results[: len(results) - self.cls.private_outputs]

    def trace(self, dynamic=None):
        return trace(self, self.present, dynamic, self.names)

    def arrays(self):
        return {name: t.numpy() for name, t in zip(self.names, self.present, strict=True)}

    def results(self, inputs):
        """What eager mode gives for arrays by name."""
        found = self(*(pl.tensor(inputs[name]) for name in self.names))
        return {f"y{number}": t.numpy() for number, t in enumerate(found if isinstance(found, tuple) else (found,))}


def accepts(cls, call, dtype):
    """Whether the operator computes in this dtype, without a warning of NumPy."""
    if not any(given is not None and given.dtype == "float" for given in call.inputs) or (cls.name, dtype) in NO_ENGINE:
        return False
    if dtype == "int64" and not takes_integers(cls):
        return False
    try:
        with np.errstate(all="raise"):
            case = Case(cls, call, dtype)
            results = case.results(case.arrays())
            specs = case.operator.infer(*(None if t is None else Spec(t.shape, t.dtype) for t in case.tensors))
    except (PenlightError, TypeError, ValueError, IndexError, FloatingPointError, np.linalg.LinAlgError):
        return False
    dtypes = [spec.dtype.numpy for spec in (specs if isinstance(specs, tuple) else (specs,))]
    plain = all((np.abs(array.astype(np.float64)) < 2**31).all() for array in results.values() if array.dtype.kind in "fi")
    return plain and all(array.dtype == wanted for array, wanted in zip(results.values(), dtypes, strict=False))


def takes_integers(cls):
    """Whether the ONNX form computes in int64: by the schema of a one-to-one form, by the family else."""
    if cls.onnx == CUSTOM:
        return cls.__module__.rpartition(".")[2] in MOVING
    formal = find_schema("", parse_onnx(cls.onnx)[0], 21)
    return formal is not None and "tensor(int64)" in formal.inputs[0].types


def lowered(graph, opset, name):
    """The model of a trace, with outputs y0, y1, ..."""
    return lower_trace(graph, opset, name, output_names=[f"y{number}" for number in range(len(graph.outputs))])


def onnx_engine(proto):
    """onnxruntime with one thread; ONNX's own reference where it has no kernel for a dtype."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        return OnnxEngine(proto.SerializeToString(), options=options)
    except EngineError as error:
        if "NOT_IMPLEMENTED" in str(error) or "is under development" in str(error):
            return ReferenceEngine(proto.SerializeToString())
        raise


def run_onnx(proto, inputs):
    """(results, engine's name); onnxruntime finds out late that it lacks some kernels."""
    engine = onnx_engine(proto)
    try:
        return engine.run(inputs), engine.label
    except EngineError as error:
        if "MLFloat16 data type is not supported" not in str(error):
            raise
        engine = ReferenceEngine(proto.SerializeToString())
        return engine.run(inputs), engine.label


def assert_equal(found, expected, engine, tolerance):
    for name, reference in expected.items():
        assert found[name].dtype == reference.dtype, f"{engine}: output {name} is {found[name].dtype}"
        gap = difference(reference, found[name])
        assert gap.scaled <= tolerance, f"{engine}: output {name}: {gap}"


def labelings(case):
    """Ways to name dynamic dimensions: equal sizes share a name, or one dimension alone."""
    axes = [
        (name, axis, size)
        for name, t in zip(case.names, case.present, strict=True)
        for axis, size in enumerate(t.shape)
        if size > 1
    ]
    together = {}
    for name, axis, size in axes:
        together.setdefault(name, {})[axis] = f"n{size}"
    return [together, *({name: {axis: "n"}} for name, axis, _ in axes)] if axes else []
