# SPDX-License-Identifier: Apache-2.0
"""Every operator of the framework, by its own samples: eager, onnxruntime and the edge runtime give the same numbers."""

import onnx
import pytest
from export_cases import CALLS, RANDOM, TOLERANCE, Case, assert_equal, lowered, onnx_engine

import penlight as pl
import penlight.nn.functional  # every operator is in the table after this
from penlight.ops.operator import NotExported, NotOnEdge, NotSampled
from penlight.ops.registry import operators
from penlight.tracing import trace
from penlight_export.edge.kernels import find_missing
from penlight_export.edge.program import build_program
from penlight_export.errors import UnsupportedOperatorsError
from penlight_export.graph import clone, to_proto
from penlight_export.onnx.composites.registry import composite_names
from penlight_export.onnx.lower import lower_trace
from penlight_export.onnx.lowerings.registry import lowering_names
from penlight_export.pipeline import edge_graph
from penlight_export.subjects import pen_subject


@pytest.mark.parametrize(("cls", "call"), [pytest.param(cls, call, id=f"{name}-{call}") for name, cls, call in CALLS])
def test_three_engines_agree(cls, call):
    case = Case(cls, call)
    inputs, model = case.arrays(), lowered(case.trace(), 21, cls.name)
    expected = case.results(inputs)
    proto = to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    assert_equal(onnx_engine(proto).run(inputs), expected, "onnxruntime", TOLERANCE["float32"])
    if isinstance(cls.edge, NotOnEdge):
        assert find_missing(clone(model)), f"{cls.name} runs on the edge: take its gap away"
        return
    program = build_program(edge_graph(model, cls.name), {}, inputs, list(expected.values()), {}, TOLERANCE["float32"])
    subject = pen_subject(program)
    subject.pen.program.self_test()
    assert_equal(subject.engine.run(inputs), expected, "edge", TOLERANCE["float32"])


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
    graph = Case(cls, cls.samples[0]).trace()
    with pytest.raises(UnsupportedOperatorsError) as caught:
        lower_trace(graph, 21)
    assert cls.onnx.reason in str(caught.value)
    assert name in str(caught.value)
    assert "export_cases.py:" in str(caught.value)


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
