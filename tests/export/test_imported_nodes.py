# SPDX-License-Identifier: Apache-2.0
"""The ONNX project's own operator tests, through `import_module` and the framework's operators.

Every test must give the expected numbers or a clean refusal; `EXCEPTIONS` holds those that do neither, with the reason, and a line
that is no longer needed fails.
"""

import re
import warnings
from collections import Counter

import numpy as np
import pytest
from onnx_backend import outcome

pytestmark = pytest.mark.slow  # half a minute

FLOOR = 1630  # of 1,884
REFUSED = {  # operators without a handler; the list is complete
    "CausalConvWithState": "of operator set 27, a draft",
    "ImageDecoder": "reads files, not tensors",
    "LinearAttention": "of operator set 27, a draft",
    "MelWeightMatrix": "a table that exporters write as a constant",
    "RegexFullMatch": "strings",
    "Scan": "operator set 8's batch dimension was withdrawn",
    "StringConcat": "strings",
    "StringNormalizer": "strings",
    "StringSplit": "strings",
    "TfIdfVectorizer": "counts words, which no gradient flows through",
    "ai.penlight.StringIndex": "strings",
    "ai.penlight.TreeEnsemble": "compares, which no gradient flows through",
    "ai.onnx.preview.training.Adagrad": "a step of an optimizer: penlight.optim has them",
    "ai.onnx.preview.training.Adam": "a step of an optimizer: penlight.optim has them",
    "ai.onnx.preview.training.Momentum": "a step of an optimizer: penlight.optim has them",
}
EXCEPTIONS = {
    r"_bf16(_expanded)?$": "the expected numbers were rounded to bfloat16 after every step",
    r"attention_.*_(fp16|float16)(_expanded)?$": "the expected numbers were rounded to float16 after every step",
    r"test_bernoulli|test_training_dropout": "random numbers of another generator",
    r"float8|FLOAT8|float4|FLOAT4|_e4m3|_e5m2|e8m0|E8M0": "the framework has no floats of 8 bits or fewer",
    r"int4|INT4|int2|INT2": "the framework has no integers of 4 bits or fewer",
    r"(string|strings|STRING)": "the framework has no strings",
    r"test_col2im_5d$": "fold has two dimensions of space",
    r"test_basic_deform_conv_with_padding$": "an expected 0 is 2e-7 here, the tolerance there is 1e-7",
    r"test_resize_downsample_scales_(linear|cubic)_align_corners$": "fractional sizes; we do as onnxruntime",
    r"test_roialign_mode_max$": "not computed: nobody exports it",
}


@pytest.fixture(scope="module")
def outcomes():
    from onnx.backend.test.case.node import collect_testcases  # here: making the data takes seconds

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # numpy's and the framework's own of overflow, which the tests are about
        return {case.name: outcome(case) for case in collect_testcases(None)}


def test_enough_pass(outcomes, record_property):
    count = Counter(kind for kind, _ in outcomes.values())
    record_property("passed", count["pass"])
    print(f"ONNX node tests as modules: {count['pass']} of {len(outcomes)} pass, {count['refused']} are refused")
    assert count["pass"] >= FLOOR


def test_refusals_are_listed(outcomes):
    assert {words.split(" node ")[0] for kind, words in outcomes.values() if kind == "refused"} == set(REFUSED)


def test_failures_are_listed(outcomes):
    failed = {name: words for name, (kind, words) in outcomes.items() if kind == "fail"}
    unknown = {name: words[:150] for name, words in failed.items() if not any(re.search(pattern, name) for pattern in EXCEPTIONS)}
    assert not unknown


def test_no_exception_is_out_of_date(outcomes):
    failed = [name for name, (kind, _) in outcomes.items() if kind == "fail"]
    for pattern, reason in EXCEPTIONS.items():
        assert any(re.search(pattern, name) for name in failed), f"{pattern} ({reason}) is no longer needed"
