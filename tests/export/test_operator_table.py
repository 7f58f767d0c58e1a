# SPDX-License-Identifier: Apache-2.0
"""Every operator of the framework, by its own samples: eager, onnxruntime and the edge runtime give the same numbers."""

import numpy as np
import onnx
import pytest

import penlight as pl
import penlight.nn.functional  # every operator is in the table after this
from penlight.ops.dispatch import apply
from penlight.ops.operator import NotExported, NotOnEdge, NotSampled
from penlight.ops.registry import operators
from penlight.ops.samples import build
from penlight.tracing import trace
from penlight_export.compare import difference
from penlight_export.edge.kernels import find_missing
from penlight_export.edge.program import build_program
from penlight_export.engines import OnnxEngine
from penlight_export.errors import UnsupportedOperatorsError
from penlight_export.graph import clone, to_proto
from penlight_export.onnx.composites.registry import composite_names
from penlight_export.onnx.lower import find_gap, lower_trace
from penlight_export.onnx.lowerings.registry import lowering_names
from penlight_export.pipeline import edge_graph
from penlight_export.subjects import pen_subject

TOLERANCE = 1e-5  # float32 functions differ by a few units in the last place between engines
RANDOM = {name for name, cls in operators().items() if cls.is_random}

CALLS = [
    pytest.param(cls, call, id=f"{name}-{call}")
    for name, cls in operators().items()
    if not isinstance(cls.onnx, NotExported) and not isinstance(cls.samples, NotSampled) and name not in RANDOM
    for call in cls.samples
]


def traced(cls, call):
    """The trace of one call, its inputs by name and its results."""
    operator = cls(**call.fields)
    tensors = [None if array is None else pl.tensor(np.array(array, order="C")) for array in build(call)]
    present = [t for t in tensors if t is not None]

    def function(*given):
        rest = iter(given)
        results = apply(operator, *(None if t is None else next(rest) for t in tensors))
        return results[: len(results) - cls.private_outputs] if isinstance(results, tuple) else results

    names = [f"x{number}" for number in range(len(present))]
    graph = trace(function, tuple(present), names=names)
    results = function(*present)
    arrays = [t.numpy() for t in (results if isinstance(results, tuple) else (results,))]
    return graph, {name: t.numpy() for name, t in zip(names, present, strict=True)}, arrays


def assert_equal(found, expected, engine):
    for name, reference in expected.items():
        gap = difference(reference, found[name])
        assert gap.scaled <= TOLERANCE, f"{engine}: output {name}: {gap}"


@pytest.mark.parametrize(("cls", "call"), CALLS)
def test_three_engines_agree(cls, call):
    graph, inputs, arrays = traced(cls, call)
    outputs = [f"y{number}" for number in range(len(arrays))]
    expected = dict(zip(outputs, arrays, strict=True))
    model = lower_trace(graph, 21, cls.name, output_names=outputs)
    proto = to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    assert_equal(OnnxEngine(proto.SerializeToString()).run(inputs), expected, "onnxruntime")
    if isinstance(cls.edge, NotOnEdge):
        assert find_missing(clone(model)), f"{cls.name} runs on the edge: take its gap away"
        return
    program = build_program(edge_graph(model, cls.name), {}, inputs, arrays, {}, TOLERANCE)
    subject = pen_subject(program)
    subject.pen.program.self_test()
    assert_equal(subject.engine.run(inputs), expected, "edge")


def test_every_operator_has_a_form_or_a_reason():
    silent = [
        name
        for name, cls in operators().items()
        if cls.onnx == "custom" and name not in RANDOM | lowering_names() | composite_names()
    ]
    assert not silent, f"write a lowering or NotExported(reason) for {silent}"


def test_no_lowering_without_its_operator():
    assert lowering_names() | composite_names() <= set(operators())
    assert not lowering_names() & composite_names()


GAPS = [
    n
    for n, c in operators().items()
    if isinstance(c.onnx, NotExported) and not isinstance(c.samples, NotSampled) and n not in RANDOM
]


@pytest.mark.parametrize("name", GAPS)
def test_gaps_are_reported_with_their_reason(name):
    cls = operators()[name]
    graph, _, _ = traced(cls, cls.samples[0])
    with pytest.raises(UnsupportedOperatorsError) as caught:
        lower_trace(graph, 21)
    assert cls.onnx.reason in str(caught.value)
    assert name in str(caught.value)
    assert "test_operator_table.py:" in str(caught.value)


def test_all_unsupported_operators_are_listed_at_once(monkeypatch):
    for name in ("exp", "tanh"):
        monkeypatch.setattr(operators()[name], "onnx", NotExported(f"no {name} today"))
    graph = trace(lambda x: pl.tanh(pl.exp(x).exp()), (pl.ones(2),), names=["x"])
    with pytest.raises(UnsupportedOperatorsError) as caught:
        lower_trace(graph, 21)
    message = str(caught.value)
    assert "exp at " in message
    assert "tanh at " in message
    assert message.count("test_operator_table.py:") == 2  # one line, named once for each operator


@pytest.mark.parametrize("opset", [17, 18, 19, 20, 22, 23, 24])
@pytest.mark.parametrize("name", ["gelu", "sum", "mean", "amax", "topk", "pad", "layer_norm", "attention", "batch_norm_training"])
def test_lowerings_at_other_operator_sets(name, opset):
    cls = operators()[name]
    for call in cls.samples:
        graph, inputs, arrays = traced(cls, call)
        assert find_gap(graph.nodes[0].operator, opset) is None
        outputs = [f"y{number}" for number in range(len(arrays))]
        proto = to_proto(lower_trace(graph, opset, cls.name, output_names=outputs))
        onnx.checker.check_model(proto, full_check=True)
        assert_equal(OnnxEngine(proto.SerializeToString()).run(inputs), dict(zip(outputs, arrays, strict=True)), "onnxruntime")
