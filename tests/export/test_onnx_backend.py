# SPDX-License-Identifier: Apache-2.0
"""The ONNX project's own operator tests, through the importer, the .pen writer and the edge runtime.

Every test must give the expected numbers or a clean refusal; `EXCEPTIONS` holds those that do neither, with the reason, and a line
that is no longer needed fails. In many of these tests axes, shapes and pads are inputs that real models have as constants: the
runtime then finds the shapes while it runs.
"""

import re
import warnings
from collections import Counter

import numpy as np
import onnx
import pytest

import penlight_runtime
from penlight_export.edge.writer import write_program
from penlight_export.errors import UnsupportedFeatureError, UnsupportedOperatorsError
from penlight_export.graph import from_proto
from penlight_export.pipeline import edge_graph

FLOOR, STANDARD_FLOOR = 1640, 1460  # of 1,884 tests, and of the 1,495 whose inputs and outputs have standard dtypes

STANDARD_DTYPES = {onnx.TensorProto.DataType.Value(n) for n in ("FLOAT", "FLOAT16", "INT64", "INT32", "INT8", "UINT8", "BOOL")}

EXCEPTIONS = {
    r"test_resize_downsample_scales_(linear|cubic)_align_corners$": "fractional sizes; we do as onnxruntime",
    r"test_dft_inverse(_opset19)?$": "the expected zeros hold 2e-7 of float32 noise, the tolerance there is 1e-7",
    r"_bf16(_expanded)?$": "the expected numbers were rounded to bfloat16 after every step",
    r"attention_.*_fp16(_expanded)?$": "the expected numbers were rounded to float16 after every step",
}


def array_of(value):
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def program_of(model):
    return penlight_runtime.Program(b"".join(write_program(edge_graph(from_proto(model), "test"))))


def as_texts(array):
    return np.vectorize(lambda x: x.decode() if isinstance(x, bytes) else str(x), otypes=[object])(array).tolist()


def compare(case, session, arrays, expected):
    for found, reference in zip(session.run(arrays).values(), expected, strict=True):
        assert found.shape == reference.shape
        if reference.dtype.kind in "OU":
            assert found.tolist() == as_texts(reference)
            continue
        assert found.dtype == reference.dtype
        np.testing.assert_allclose(found.astype(np.float64), reference.astype(np.float64), rtol=case.rtol, atol=case.atol)


def run_case(case):
    program = program_of(case.model)
    for inputs, outputs in case.data_sets:
        arrays, expected = [array_of(x) for x in inputs], [array_of(x) for x in outputs]
        compare(case, program.session(), arrays, expected)


def is_standard(case):
    """Whether every input and output is a tensor of a dtype that phones and browsers have."""
    types = [value.type for value in (*case.model.graph.input, *case.model.graph.output)]
    return all(t.WhichOneof("value") == "tensor_type" and t.tensor_type.elem_type in STANDARD_DTYPES for t in types)


def refused_operator(words):
    """The operator that a refusal is about, or its first words."""
    found = re.search(r"no kernel for (\S+?)(-\d+)? |^node \d+ '.*?' \((\w+)\)", words)
    return next((name for name in (found[1], found[3]) if name), words[:60]) if found else words[:60]


REFUSALS = (
    UnsupportedOperatorsError,
    UnsupportedFeatureError,
    penlight_runtime.UnsupportedOperator,
    penlight_runtime.InvalidProgram,
    penlight_runtime.InvalidValue,
    penlight_runtime.ShapeMismatch,
)


def outcome(case):
    """'pass', 'refused' with the words, or 'fail' with the words."""
    try:
        run_case(case)
    except REFUSALS as error:
        return "refused", str(error)
    except Exception as error:  # anything else is a failure of ours, and listed
        return "fail", f"{type(error).__name__}: {error}"
    return "pass", ""


@pytest.fixture(scope="module")
def outcomes():
    from onnx.backend.test.case.node import collect_testcases  # here: making the data takes seconds

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return {case.name: (*outcome(case), is_standard(case)) for case in collect_testcases(None)}


def test_enough_pass(outcomes, record_property):
    passed = Counter(standard for kind, _, standard in outcomes.values() if kind == "pass")
    total = Counter(standard for *_, standard in outcomes.values())
    refused = Counter(refused_operator(words) for kind, words, standard in outcomes.values() if kind == "refused" and standard)
    record_property("passed", passed[True] + passed[False])
    record_property("passed_standard", passed[True])
    print(f"ONNX node tests on the edge runtime: {passed[True]} of {total[True]} with standard dtypes pass, ", end="")
    print(f"{passed[True] + passed[False]} of all {len(outcomes)}; refused of standard dtypes by operator:")
    print(", ".join(f"{name} {count}" for name, count in refused.most_common()))
    assert passed[True] >= STANDARD_FLOOR
    assert passed[True] + passed[False] >= FLOOR


def test_the_rest_is_refused_or_listed(outcomes):
    failed = {name: words for name, (kind, words, _) in outcomes.items() if kind == "fail"}
    unknown = {name: words[:100] for name, words in failed.items() if not any(re.search(pattern, name) for pattern in EXCEPTIONS)}
    assert not unknown


def test_no_exception_is_out_of_date(outcomes):
    failed = [name for name, (kind, *_) in outcomes.items() if kind == "fail"]
    for pattern, reason in EXCEPTIONS.items():
        assert any(re.search(pattern, name) for name in failed), f"{pattern} ({reason}) is no longer needed"
