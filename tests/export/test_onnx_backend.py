# SPDX-License-Identifier: Apache-2.0
"""The ONNX project's own operator tests, through the importer, the .pen writer and the edge runtime.

Every test must give the expected numbers or a clean refusal; `EXCEPTIONS` holds those that do neither, `REFUSED` the refusals of
standard dtypes, each with the reason, and a line that is no longer needed fails. In many of these tests axes, shapes and pads are
inputs that real models have as constants: the runtime then finds the shapes while it runs.
"""

import re
import warnings
from collections import Counter

import numpy as np
import onnx
import pytest
from edge_backend import EdgeBackend

import penlight_runtime
from penlight_export.errors import UnsupportedFeatureError, UnsupportedOperatorsError

FLOOR, STANDARD_FLOOR = 1640, 1460  # of 1,884 tests, and of the 1,495 whose inputs and outputs have standard dtypes

STANDARD_DTYPES = {onnx.TensorProto.DataType.Value(n) for n in ("FLOAT", "FLOAT16", "INT64", "INT32", "INT8", "UINT8", "BOOL")}

EXCEPTIONS = {
    r"test_resize_downsample_scales_(linear|cubic)_align_corners$": "fractional sizes; we do as onnxruntime",
    r"test_dft_inverse(_opset19)?$": "the expected zeros hold 2e-7 of float32 noise, the tolerance there is 1e-7",
    r"_bf16(_expanded)?$": "the expected numbers were rounded to bfloat16 after every step",
    r"attention_.*_fp16(_expanded)?$": "the expected numbers were rounded to float16 after every step",
}

# Of the tests with standard dtypes; the others are refused for their dtype, or for sequences and optionals.
REFUSED = {
    r"test_(adagrad|adam|momentum|nesterov_momentum)": "steps of training: the runtime infers",
    r"test_(training_dropout|batchnorm_\w+_training_mode$)": "training mode: the runtime infers",
    r"test_image_decoder_": "JPEG, PNG and others: an image library's work, and its dangers",
    r"test_bernoulli_seed(_expanded)?$": "random numbers of an engine's own",
    r"test_causal_conv_with_state_(silu_)?with_past_state$": "its state, new in operator set 27, has no kernel yet",
    r"test_melweightmatrix$": "a table that a model has as a constant",
    r"test_scan_sum$": "Scan of operator set 8, which was withdrawn",
}


def array_of(value):
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def as_texts(array):
    return np.vectorize(lambda x: x.decode() if isinstance(x, bytes) else str(x), otypes=[object])(array).tolist()


def compare(case, results, expected):
    for found, reference in zip(results, expected, strict=True):
        assert found.shape == reference.shape
        if reference.dtype.kind in "OU":
            assert found.tolist() == as_texts(reference)
            continue
        assert found.dtype == reference.dtype
        np.testing.assert_allclose(found.astype(np.float64), reference.astype(np.float64), rtol=case.rtol, atol=case.atol)


def run_case(case):
    backend = EdgeBackend.prepare(case.model)
    for inputs, outputs in case.data_sets:
        arrays, expected = [array_of(x) for x in inputs], [array_of(x) for x in outputs]
        compare(case, backend.run(arrays), expected)


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


def test_refusals_of_standard_dtypes_are_listed(outcomes):
    refused = {name: words for name, (kind, words, standard) in outcomes.items() if kind == "refused" and standard}
    assert not {name: words[:100] for name, words in refused.items() if not any(re.match(pattern, name) for pattern in REFUSED)}
    passed = [name for name, (kind, _, standard) in outcomes.items() if kind == "pass" and standard]
    assert not [name for name in passed if any(re.match(pattern, name) for pattern in REFUSED)], "refused no longer"


def test_no_exception_is_out_of_date(outcomes):
    for kind, listed in (("fail", EXCEPTIONS), ("refused", REFUSED)):
        names = [name for name, (found, *_) in outcomes.items() if found == kind]
        for pattern, reason in listed.items():
            assert any(re.search(pattern, name) for name in names), f"{pattern} ({reason}) is no longer needed"
