# SPDX-License-Identifier: Apache-2.0
"""The ONNX project's node tests as calls of a module: values in, values out, and what is equal."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx

import penlight as pl
from penlight_export.errors import UnsupportedFeatureError, UnsupportedOperatorsError
from penlight_export.imported import import_module


def value_of(value: Any) -> Any:
    """Arrays, lists of arrays or None of what the onnx package stores."""
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    if isinstance(value, onnx.SequenceProto):
        return onnx.numpy_helper.to_list(value)
    if isinstance(value, onnx.OptionalProto):
        return onnx.numpy_helper.to_optional(value)
    return value if value is None or isinstance(value, list) else np.asarray(value)


def _tensors(value: Any) -> Any:
    if value is None:
        return None
    return [_tensors(each) for each in value] if isinstance(value, list) else pl.tensor(np.array(value))


def assert_equal(found: Any, expected: Any, rtol: float, atol: float) -> None:
    """Dtype, shape and numbers; of sequences one by one."""
    if expected is None:
        assert found is None
    elif isinstance(expected, list):
        for a, b in zip(found, expected, strict=True):
            assert_equal(a, b, rtol, atol)
    else:
        array, expected = found.detach().numpy(), np.asarray(expected)
        assert array.dtype == expected.dtype
        assert array.shape == expected.shape
        wide = np.complex128 if expected.dtype.kind == "c" else np.float64
        np.testing.assert_allclose(array.astype(wide), expected.astype(wide), rtol=rtol, atol=atol)


def run_case(case: Any) -> None:
    """Imports the model, and compares it on each of the test's data."""
    module = import_module(case.model)
    for inputs, outputs in case.data_sets:
        results = module(*(_tensors(value_of(value)) for value in inputs))
        results = results if isinstance(results, tuple) else (results,)
        for found, expected in zip(results, outputs, strict=True):
            assert_equal(found, value_of(expected), case.rtol, case.atol)


def outcome(case: Any) -> tuple[str, str]:
    """'pass', 'refused' with the operator, or 'fail' with the words."""
    try:
        run_case(case)
    except (UnsupportedOperatorsError, UnsupportedFeatureError) as error:
        found = re.search(r"no operators for (\S+)", str(error))
        return "refused", found[1] if found else str(error)
    except Exception as error:  # whatever a framework raises; the test lists it
        return "fail", f"{type(error).__name__}: {error}"
    return "pass", ""
