# SPDX-License-Identifier: Apache-2.0
"""Every exported operator at other dtypes, sizes and operator sets, by its own samples: the engines agree with eager."""

import numpy as np
import onnx
import pytest
from export_cases import CALLS, DTYPES, EXPORTED, TOLERANCE, Case, accepts, assert_equal, labelings, lowered, onnx_engine, run_onnx

from penlight.errors import PenlightError
from penlight.ops.operator import NotDifferentiable, NotExported
from penlight.ops.registry import operators
from penlight_export.edge.program import build_program
from penlight_export.graph import clone, to_proto
from penlight_export.onnx.lower import find_gap
from penlight_export.onnx.opsets import find_schema
from penlight_export.pipeline import edge_graph
from penlight_export.subjects import pen_subject

OPSETS = [pytest.param((17, 23), id="17-23"), pytest.param((19, 24), id="19-24", marks=pytest.mark.slow)]
BY_DTYPE = [
    pytest.param(cls, call, dtype, id=f"{name}-{dtype}-{call}", marks=[pytest.mark.slow] if dtype == "float64" else [])
    for dtype in DTYPES
    for name, cls, call in CALLS
    if accepts(cls, call, dtype)
]


@pytest.mark.parametrize(("cls", "call", "dtype"), BY_DTYPE)
def test_other_dtypes(cls, call, dtype):
    case = Case(cls, call, dtype)
    inputs = case.arrays()
    proto = to_proto(lowered(case.trace(), 21, cls.name))
    onnx.checker.check_model(proto, full_check=True)
    found, engine = run_onnx(proto, inputs)
    assert_equal(found, case.results(inputs), engine, TOLERANCE[dtype])


@pytest.mark.parametrize("opsets", OPSETS)
@pytest.mark.parametrize(("cls", "call"), [pytest.param(cls, call, id=f"{name}-{call}") for name, cls, call in CALLS])
def test_other_operator_sets(cls, call, opsets):
    case = Case(cls, call)
    inputs, graph = case.arrays(), case.trace()
    expected = case.results(inputs)
    known = versions(to_proto(lowered(graph, 21, cls.name)))
    for opset in (number for number in opsets if find_gap(case.operator, number) is None):
        proto = to_proto(lowered(graph, opset, cls.name))
        onnx.checker.check_model(proto)
        if versions(proto) != known:  # else it is the model that test_operator_table.py runs
            found, engine = run_onnx(proto, inputs)
            assert_equal(found, expected, f"{engine} at {opset}", TOLERANCE["float32"])


def versions(proto):
    """The graph, and the version of each operator in it."""
    opset = proto.opset_import[0].version
    return proto.graph.SerializeToString(deterministic=True), [
        find_schema("", n.op_type, opset).since_version for n in proto.graph.node
    ]


@pytest.mark.parametrize("name", EXPORTED)
def test_any_size(name):
    """Each way to make dimensions dynamic that the operator's fields allow gives a model for all sizes."""
    cls, tried, accepted = EXPORTED[name], 0, 0
    for call in cls.samples:
        case = Case(cls, call)
        for dynamic in labelings(case)[:3]:
            tried += 1
            try:
                graph = case.trace(dynamic)
                model = lowered(graph, 21, name)
            except (PenlightError, np.linalg.LinAlgError):  # an argument of the operator, or an attribute of ONNX, holds the size
                continue
            accepted += 1
            check_sizes(case, graph, model, dynamic, edge=accepted == 1)
    assert accepted or not tried or has_sizes(cls), f"{name}: no dimension may be dynamic"


def has_sizes(cls):
    """Whether arguments of the operator hold numbers that belong to sizes."""
    return bool({"shape", "size", "sizes", "length", "items", "kernel_size", "groups", "kernel"} & set(cls.field_names))


def check_sizes(case, graph, model, dynamic, edge):
    proto = to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    engines = [onnx_engine(proto)]
    inputs = case.arrays()
    expected = case.results(inputs)
    if edge and isinstance(case.cls.edge, str):
        engines.append(
            pen_subject(
                build_program(edge_graph(clone(model), "m"), {}, inputs, list(expected.values()), graph.symbols, 1e-5)
            ).engine
        )
    for more in (0, 3):
        sizes = {label: size + more for label, size in graph.symbols.items()}
        inputs = {name: resized(array, dynamic.get(name, {}), sizes) for name, array in case.arrays().items()}
        try:
            expected = case.results(inputs)
        except (PenlightError, ValueError, IndexError):  # sizes that divide, and the like
            continue
        for engine in engines:
            assert_equal(engine.run(inputs), expected, f"{engine.label} at {sizes}", TOLERANCE["float32"])


def resized(array, labels, sizes):
    shape = [sizes[labels[axis]] if axis in labels else size for axis, size in enumerate(array.shape)]
    if array.dtype.kind != "f" or not array.size:
        return np.resize(array, shape)
    return np.random.default_rng(1).uniform(array.min(), array.max(), shape).astype(array.dtype)


def test_nearly_every_operator_is_exported():
    """At least 95 in 100 of the differentiable ones; the others say why not."""
    differentiable = {n: cls for n, cls in operators().items() if not isinstance(cls.gradient, NotDifferentiable)}
    gaps = [name for name, cls in differentiable.items() if isinstance(cls.onnx, NotExported)]
    assert len(gaps) <= 0.05 * len(differentiable), gaps


def test_there_are_enough_cases():
    assert 2 * len(CALLS) + len(BY_DTYPE) + len(EXPORTED) >= 1500
