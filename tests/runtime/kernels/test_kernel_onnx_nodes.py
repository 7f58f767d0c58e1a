# SPDX-License-Identifier: Apache-2.0
"""The node tests of the onnx package, each on the kernel alone."""

import numpy as np
import pytest
from kernel_runner import run_node
from onnx_nodes import LEFT_OUT, node_cases

import penlight_runtime

# Cast to float8, int4 and the like: dtypes that the runtime does not have.
OUTSIDE = ("FLOAT8", "FLOAT4", "INT4", "INT2")
# ONNX's reference scales by the fractional size here; we follow onnxruntime, which takes the whole one.
DIFFERENT = {f"test_resize_downsample_scales_{mode}_align_corners" for mode in ("linear", "cubic")}
# The expected numbers were rounded to bfloat16 in another order of sums.
DIFFERENT |= {"test_attention_4d_causal_padded_kv_bf16"}
CASES = [case for case in node_cases() if not any(word in case.name for word in OUTSIDE) and case.name not in DIFFERENT]


def run_case(case):
    options = {"domain": case.domain, "version": case.version, **case.attributes}
    try:
        return run_node(case.operator, case.inputs, case.outputs, **options)
    except penlight_runtime.RuntimeFailure:
        # shapes, axes and the like must be known before the run
        first = 0 if case.operator in ("Range", "ConstantOfShape", "NonZero") else 1
        return run_node(case.operator, case.inputs, case.outputs, known=range(first, len(case.inputs)), **options)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.removeprefix("test_"))
def test_node(case):
    try:
        results = run_case(case)
    except penlight_runtime.RuntimeFailure as failure:
        if any(reason in str(failure) for reason in LEFT_OUT):
            pytest.skip(str(failure))
        raise
    for ours, wanted in zip(results, (o for o in case.outputs if o is not None), strict=True):
        assert ours.shape == wanted.shape and ours.dtype == wanted.dtype
        half = wanted.dtype.itemsize == 2 and wanted.dtype.kind in "fV"
        # 16-bit floats have 8 to 11 bits of fraction
        rtol, atol = max(case.rtol, 1e-2 if half else 1e-5), max(case.atol, 1e-3 if half else 1e-6)
        exact = wanted.dtype.kind in "biu"
        if exact:
            np.testing.assert_array_equal(ours, wanted)
        else:
            np.testing.assert_allclose(ours.astype(np.float64), wanted.astype(np.float64), rtol=rtol, atol=atol)


def test_most_of_the_table_is_covered():
    """At least so many cases run; a filter that drops them silently would show here."""
    assert len(CASES) >= 770
    operators = {case.operator for case in CASES}
    table = {entry.name for entry in penlight_runtime.operators() if entry.domain == ""}
    assert table - operators <= {"Constant", "GlobalLpPool", "If", "Loop", "Scan"}  # no cases, or with subgraphs
