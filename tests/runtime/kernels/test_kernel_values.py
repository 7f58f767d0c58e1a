# SPDX-License-Identifier: Apache-2.0
"""Elementwise kernels against NumPy in float64: sizes around the vector widths, every dtype, special values."""

import math

import ml_dtypes
import numpy as np
import pytest
from kernel_runner import check, one, rand

SIZES = [0, 1, 3, 4, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 1000, 40_003]
FLOATS = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]
INTEGERS = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]
SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45, 3.4e38, -3.4e38, 1.0, -1.0, 88.8, -104.0, 0.5, -0.5, 2.5, 8388609.0]


erf = np.vectorize(math.erf, otypes=[np.float64])


def sigmoid(x):
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.logaddexp(0, x)


UNARY = {
    "Abs": (np.abs, {}),
    "Neg": (np.negative, {}),
    "Exp": (np.exp, {}),
    "Log": (np.log, {}),
    "Sqrt": (np.sqrt, {}),
    "Reciprocal": (lambda x: 1 / x, {}),
    "Floor": (np.floor, {}),
    "Ceil": (np.ceil, {}),
    "Round": (np.rint, {}),
    "Sign": (np.sign, {}),
    "Sin": (np.sin, {}),
    "Cos": (np.cos, {}),
    "Tanh": (np.tanh, {}),
    "Sigmoid": (sigmoid, {}),
    "Erf": (erf, {}),
    "Softplus": (softplus, {}),
    "Relu": (lambda x: np.maximum(x, 0), {}),
    "LeakyRelu": (lambda x: np.where(x < 0, 0.1 * x, x), {"alpha": 0.1}),
    "Elu": (lambda x: np.where(x < 0, 1.5 * np.expm1(np.minimum(x, 0)), x), {"alpha": 1.5}),
    "Selu": (lambda x: 1.05070098 * np.where(x > 0, x, 1.67326324 * np.expm1(np.minimum(x, 0))), {}),
    "Celu": (lambda x: np.maximum(x, 0) + np.minimum(0, 2 * np.expm1(np.minimum(x, 0) / 2)), {"alpha": 2.0}),
    "ThresholdedRelu": (lambda x: np.where(x > 0.5, x, np.where(np.isnan(x), x, 0)), {"alpha": 0.5}),
    "HardSigmoid": (lambda x: np.clip(0.3 * x + 0.4, 0, 1), {"alpha": 0.3, "beta": 0.4}),
    "HardSwish": (lambda x: x * np.clip(x / 6 + 0.5, 0, 1), {}),
    "Mish": (lambda x: x * np.tanh(softplus(x)), {}),
    "Swish": (lambda x: x * sigmoid(1.5 * x), {"alpha": 1.5}),
    "Gelu": (lambda x: x * 0.5 * (1 + erf(x / math.sqrt(2))), {}),
    "Softsign": (lambda x: x / (1 + np.abs(x)), {}),
}


@pytest.mark.parametrize("name", UNARY)
def test_unary_sizes(name):
    function, attributes = UNARY[name]
    for size in SIZES:
        low = 1e-3 if name in ("Log", "Sqrt", "Reciprocal") else -8.0
        x = rand(size, low=low, high=9.0)
        # absolute: near their zeros the differences of these functions lose relative accuracy, as NumPy's float32 ones do
        check(name, [x], function(x.astype(np.float64)).astype(np.float32), rtol=1e-6, atol=5e-7, threads=2, **attributes)


@pytest.mark.parametrize("name", UNARY)
def test_unary_special_values(name):
    function, attributes = UNARY[name]
    x = np.resize(np.array(SPECIAL, np.float32), 40)
    with np.errstate(all="ignore"):
        reference = function(x.astype(np.float64)).astype(np.float32)
        # what NumPy makes of -inf * 0 does not matter: these have limits there, both answers are used
        open_ends = np.isinf(x) if name in ("HardSwish", "Swish", "Mish", "Gelu", "Softsign", "Sin", "Cos") else np.zeros(40, bool)
    result = one(name, [x], reference, **attributes)
    assert np.array_equal(np.isnan(result)[~open_ends], np.isnan(reference)[~open_ends])
    np.testing.assert_allclose(result[~open_ends], reference[~open_ends], rtol=2e-6, atol=2e-7)
    if name in ("Neg", "Floor", "Ceil", "Round"):
        np.testing.assert_array_equal(np.signbit(result[~np.isnan(x)]), np.signbit(reference[~np.isnan(x)]))


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("dtype", [np.float64, np.float16, ml_dtypes.bfloat16], ids=["f64", "f16", "bf16"])
def test_unary_floats(name, dtype):
    function, attributes = UNARY[name]
    x = rand(1030, low=0.5, high=3.0, dtype=dtype)
    x[::3] = -x[::3] if name not in ("Log", "Sqrt") else x[::3]
    rtol = {8: 2e-7 if name in ("Selu", "LeakyRelu", "HardSigmoid") else 1e-12}.get(x.itemsize, 1e-2)
    check(name, [x], function(x.astype(np.float64)).astype(dtype), rtol=rtol, atol=rtol, **attributes)


@pytest.mark.parametrize("dtype", INTEGERS, ids=lambda d: d.__name__)
def test_integers(dtype):
    x, y = rand(3, 50, dtype=dtype), rand(3, 50, dtype=dtype, seed=1)
    edge = np.iinfo(dtype).max
    x[0, :2] = edge
    y[y == 0] = 1
    with np.errstate(over="ignore"):
        check("Add", [x, y], (x + y).astype(dtype))
        check("Sub", [x, y], (x - y).astype(dtype))
        check("Mul", [x, y], (x * y).astype(dtype))
    # towards zero, unlike NumPy's //; exact in Python's integers
    pairs = zip(x[1:].ravel().tolist(), y[1:].ravel().tolist(), strict=True)
    quotient = np.array([abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1) for a, b in pairs]).reshape(x[1:].shape)
    check("Div", [x[1:], y[1:]], quotient.astype(dtype))
    check("Mod", [x, y], np.mod(x, y))
    check("Max", [x, y], np.maximum(x, y))
    check("Min", [x, y], np.minimum(x, y))
    check("Less", [x, y], x < y)
    check("GreaterOrEqual", [x, y], x >= y)
    check("Equal", [x, y], x == y)
    check("Clip", [x, np.array(1, dtype), np.array(3, dtype)], np.clip(x, 1, 3))
    check("Abs", [x], np.abs(x))
    check("Sign", [x], np.sign(x))
    check("ArgMax", [x], x.argmax(0)[None], axis=0)
    check("CumSum", [x[1:], np.array(1)], x[1:].cumsum(1, dtype=dtype), known=[1])


@pytest.mark.parametrize("dtype", FLOATS, ids=["f32", "f64", "f16", "bf16"])
@pytest.mark.parametrize(
    "shapes", [((5,), (5,)), ((3, 1, 7), (4, 1)), ((), (9,)), ((2, 3, 4), ()), ((0, 3), (1, 3)), ((6, 1), (1, 33))]
)
def test_arithmetic_broadcasts(shapes, dtype):
    x, y = rand(*shapes[0], dtype=dtype), rand(*shapes[1], low=0.5, dtype=dtype, seed=1)
    rtol = {4: 1e-6, 8: 1e-14}.get(np.dtype(dtype).itemsize, 1e-2)
    a, b = x.astype(np.float64), y.astype(np.float64)
    for name, wanted in {
        "Add": a + b,
        "Sub": a - b,
        "Mul": a * b,
        "Div": a / b,
        "Max": np.maximum(a, b),
        "Min": np.minimum(a, b),
    }.items():
        check(name, [x, y], wanted.astype(dtype), rtol=rtol, atol=rtol)
    check("Pow", [np.abs(x), y], (np.abs(a) ** b).astype(dtype), rtol=max(rtol, 1e-5), atol=rtol)
    check("Where", [rand(*shapes[0]) > 0, x, y], np.where(rand(*shapes[0]) > 0, x, y))
    check("Mean", [x, y, x], ((a + b + a) / 3).astype(dtype), rtol=max(rtol, 1e-6) * 3, atol=max(rtol, 1e-6))


def test_extrema_keep_nan_of_either_side():
    x = np.array([np.nan, 1, -0.0, np.inf] * 9, np.float32)
    y = np.array([0, np.nan, 1, -np.inf] * 9, np.float32)
    check("Max", [x, y], np.maximum(x, y))
    check("Min", [x, y], np.minimum(x, y))
    check("ReduceMax", [x], np.array([np.nan], np.float32), keepdims=1)


@pytest.mark.parametrize("source", [*FLOATS, *INTEGERS, np.bool_], ids=lambda d: np.dtype(d).name)
def test_casts(source):
    x = rand(3, 11, low=0, high=100, dtype=source) if source is not np.bool_ else rand(3, 11) > 0
    onnx_types = {"float32": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7, "bool": 9, "float16": 10}
    onnx_types |= {"float64": 11, "uint32": 12, "uint64": 13, "bfloat16": 16}
    for target in [*FLOATS, *INTEGERS, np.bool_]:
        wanted = (
            x.astype(np.float32).astype(target)
            if np.dtype(source).itemsize == 2 and np.dtype(source).kind in "fV"
            else x.astype(target)
        )
        check("Cast", [x], wanted, rtol=0, atol=0, to=onnx_types[np.dtype(target).name])


def test_half_precision_is_rounded_to_even_and_back_exactly():
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = halves[np.isfinite(halves)].astype(np.float32)
    check("Cast", [finite.astype(np.float16)], finite, rtol=0, atol=0, to=1)
    middles = (finite[:-1] + finite[1:]) / 2  # ties, and the floats on both sides of them
    x = np.concatenate([middles, np.nextafter(middles, np.float32(np.inf)), np.nextafter(middles, np.float32(-np.inf))])
    check("Cast", [x], x.astype(np.float16), rtol=0, atol=0, to=10)
    edges = np.array([65519, 65520, 1e9, -1e9, 1e-8], np.float32)
    check("Cast", [edges], np.array([65504, np.inf, np.inf, -np.inf, 0], np.float16), rtol=0, atol=0, to=10)
