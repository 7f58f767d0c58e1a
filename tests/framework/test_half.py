# SPDX-License-Identifier: Apache-2.0
"""float16 and bfloat16 on the CPU: conversions bit by bit, every operator against float64, gradients, layouts."""

import math

import ml_dtypes
import numpy as np
import pytest

import penlight as pl
from penlight.backends import half
from penlight.dtype import as_dtype
from penlight.ops.dispatch import apply
from penlight.ops.operator import NotDifferentiable, NotSampled, Spec
from penlight.ops.registry import operators
from penlight.ops.samples import build
from penlight.tensor import from_array

TYPES = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
EVERY = np.arange(65536, dtype=np.uint16)


def ulp(exact, dtype):
    """The distance of neighbours of a half type at float64 values; that of its smallest normal number below it."""
    info = ml_dtypes.finfo(dtype)
    size = np.maximum(np.abs(exact), float(info.smallest_normal))
    return 2.0 ** np.floor(np.log2(size)) * float(info.eps)


def assert_within(result, exact, dtype, ulps):
    """Every element within `ulps` of float64 values; what is beyond the largest number must be infinite."""
    result, exact = np.asarray(result).astype(np.float64), np.asarray(exact, np.float64)
    largest = float(ml_dtypes.finfo(dtype).max)
    near = np.abs(exact) < largest
    assert np.array_equal(np.isnan(result), np.isnan(exact))
    error = np.abs(result[near] - exact[near]) / ulp(exact[near], dtype)
    assert error.size == 0 or error.max() <= ulps, f"{error.max()} ulp at {exact[near].flat[error.argmax()]}"
    far = ~near & ~np.isnan(exact)
    assert (np.sign(result[far]) == np.sign(exact[far])).all()
    assert (np.abs(result[far]) >= largest).all()


@pytest.mark.parametrize("dtype", TYPES.values(), ids=TYPES)
def test_widening_is_exact_for_every_bit_pattern(dtype):
    x = EVERY.view(dtype)
    with np.errstate(all="ignore"):
        expected = x.astype(np.float32)
    np.testing.assert_array_equal(half.widened(x), expected)
    np.testing.assert_array_equal(np.signbit(half.widened(x)), np.signbit(expected))


@pytest.mark.parametrize("dtype", TYPES.values(), ids=TYPES)
def test_rounding_is_to_nearest_even(dtype):
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 200_000, dtype=np.uint32)
    halves = EVERY.astype(np.uint32) << 16  # numbers of bfloat16 and the ties between them
    ties = (np.arange(2**16, dtype=np.uint32) << 13) + np.uint32(0x38000000)  # and those of float16
    values = np.concatenate([bits, halves, halves | 0x8000, halves | 0x7FFF, ties, ties | 0x1000]).view(np.float32)
    with np.errstate(all="ignore"):
        expected = values.astype(dtype)
    result = half.rounded(values, dtype)
    nan = np.isnan(values)
    np.testing.assert_array_equal(result[~nan].view(np.uint16), expected[~nan].view(np.uint16))
    assert np.isnan(result[nan].astype(np.float32)).all()


erf = np.vectorize(math.erf, otypes=[float])
FUNCTIONS = {
    "abs": np.abs,
    "neg": np.negative,
    "exp": np.exp,
    "sqrt": np.sqrt,
    "reciprocal": lambda x: 1 / x,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.rint,
    "tanh": np.tanh,
    "sigmoid": lambda x: np.where(x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x)))),
    "erf": erf,
    "relu": lambda x: np.where(x > 0, x, np.where(np.isnan(x), x, 0)),
    "sin": np.sin,
    "log": np.log,
}


@pytest.mark.parametrize("dtype", TYPES.values(), ids=TYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_every_number_within_one_ulp(name, dtype):
    x = EVERY.view(dtype)
    with np.errstate(all="ignore"):
        exact = FUNCTIONS[name](x.astype(np.float64))
        result = getattr(pl, name)(from_array(x))._data
    assert result.dtype == dtype
    if name == "sigmoid":  # float32 numbers below the smallest normal one become 0
        exact, result = (np.where(np.abs(v) < 1.2e-38, 0, v) for v in (exact, result.astype(np.float64)))
    assert_within(result, exact, dtype, 1)


@pytest.mark.parametrize("dtype", TYPES.values(), ids=TYPES)
@pytest.mark.parametrize("name", ["gelu", "silu", "elu", "leaky_relu", "gelu_tanh", "hardswish", "softplus"])
def test_activations_of_numbers_within_one_ulp(name, dtype):
    F = pl.nn.functional
    x = np.linspace(-12, 12, 20_011).astype(dtype)  # far below, GELU cancels: its float32 form has few digits there too
    wide = x.astype(np.float64)
    exact = {
        "gelu": lambda: wide * 0.5 * (1 + erf(wide / math.sqrt(2))),
        "gelu_tanh": lambda: wide * 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3))),
        "silu": lambda: wide / (1 + np.exp(-wide)),
        "elu": lambda: np.where(wide > 0, wide, np.expm1(wide)),
        "leaky_relu": lambda: np.where(wide > 0, wide, 0.01 * wide),
        "hardswish": lambda: wide * np.clip(wide + 3, 0, 6) / 6,
        "softplus": lambda: np.log1p(np.exp(wide)),
    }[name]()
    call = (lambda t: F.gelu(t, approximate="tanh")) if name == "gelu_tanh" else getattr(F, name)
    result = call(from_array(x))._data.astype(np.float64)
    # one ulp, and 3e-7 (a few float32 epsilons of 1) where terms near 1 cancel
    assert (np.abs(result - exact) <= ulp(exact, dtype) + 3e-7).all()


@pytest.mark.parametrize("dtype", TYPES.values(), ids=TYPES)
@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "maximum", "minimum"])
def test_arithmetic_is_rounded_correctly(name, dtype):
    rng = np.random.default_rng(1)
    a, b = (rng.integers(0, 65536, 40_000, dtype=np.uint16).view(dtype) for _ in range(2))
    function = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}.get(name, getattr(np, name, None))
    with np.errstate(all="ignore"):
        exact = function(a.astype(np.float64), b.astype(np.float64))
        result = getattr(pl, name)(from_array(a), from_array(b))._data
    assert result.dtype == dtype
    assert_within(result, exact, dtype, 0.5)  # float32 has more than twice the digits, so rounding twice does no harm


PAIRS = [((7, 5), (5,)), ((5,), (7, 5)), ((3, 1100), ()), ((), (3, 1100)), ((4, 1, 5), (3, 1)), ((2, 3, 700), (3, 700)),
         ((0, 3), (3,)), ((1,), (4, 1)), ((6, 33), (1, 33)), ((2, 1), (1, 1))]  # fmt: skip


@pytest.mark.parametrize("dtype", TYPES.values(), ids=TYPES)
@pytest.mark.parametrize(("left", "right"), PAIRS, ids=str)
def test_arithmetic_broadcasts(left, right, dtype):
    rng = np.random.default_rng(2)
    a, b = (np.asarray(rng.standard_normal(s)).astype(dtype) for s in (left, right))
    for name, function in {"sub": np.subtract, "div": np.divide}.items():
        exact = function(a.astype(np.float64), b.astype(np.float64))
        result = getattr(pl, name)(from_array(a), from_array(b))._data
        assert result.shape == exact.shape and result.dtype == dtype
        assert_within(result, exact, dtype, 0.5)


@pytest.mark.parametrize("dtype", TYPES.values(), ids=TYPES)
@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 1025), (1, 7), (40_000,), (0, 3), (3, 0)], ids=str)
def test_reductions(shape, dtype):
    x = np.random.default_rng(3).standard_normal(shape).astype(dtype)
    t, wide = from_array(x), x.astype(np.float64)
    for keepdim in (False, True):
        assert_within(t.sum(-1, keepdim=keepdim)._data, wide.sum(-1, keepdims=keepdim), dtype, 1)
        if shape[-1]:
            assert_within(t.mean(-1, keepdim=keepdim)._data, wide.mean(-1, keepdims=keepdim), dtype, 1)
            assert_within(t.amax(-1, keepdim=keepdim)._data, wide.max(-1, keepdims=keepdim), dtype, 0)
            assert_within(t.amin(-1, keepdim=keepdim)._data, wide.min(-1, keepdims=keepdim), dtype, 0)
    assert_within(t.sum()._data, wide.sum(), dtype, 1)
    assert_within(t.sum(0)._data, wide.sum(0), dtype, 1)


@pytest.mark.parametrize("dtype", TYPES.values(), ids=TYPES)
def test_extremes_keep_nan_wherever_it_stands(dtype):
    for size in (1, 5, 33, 64, 1025, 2100):
        for place in {0, size // 2, size - 1}:
            x = np.linspace(-1, 1, size).astype(dtype)
            x[place] = np.nan
            assert math.isnan(from_array(x).amax(0).item()) and math.isnan(from_array(x).amin(0).item())


@pytest.mark.parametrize("dtype", TYPES.values(), ids=TYPES)
def test_results_keep_the_order_of_memory(dtype):
    x = from_array(np.random.default_rng(4).standard_normal((2, 5, 4, 3)).astype(dtype)).permute(0, 3, 1, 2)
    for result in (x.exp(), x + x, x * 2, 1 - x, x.float(), pl.sin(x), x.float().to(x.dtype)):
        assert result.stride() == x.stride()
    sliced = x[:, ::2]
    assert_within((sliced + sliced)._data, sliced._data.astype(np.float64) * 2, dtype, 0)


CALLS = [
    pytest.param(cls, call, id=f"{name}-{call}")
    for name, cls in operators().items()
    if not isinstance(cls.samples, NotSampled) and any(i and i.dtype == "float" for c in cls.samples for i in c.inputs)
    for call in cls.samples
]


def as_tuple(value):
    return value if isinstance(value, tuple) else (value,)


def halves(call, dtype):
    """The sample's inputs in a half type, and the same numbers in float64."""
    arrays = [None if a is None else np.asarray(a) for a in build(call, dtype.name)]
    return arrays, [a.astype(np.float64) if a is not None and a.dtype == dtype else a for a in arrays]


@pytest.mark.parametrize("dtype", TYPES.values(), ids=TYPES)
@pytest.mark.parametrize(("cls", "call"), CALLS)
def test_every_operator_against_float64(cls, call, dtype):
    operator = cls(**call.fields)
    arrays, wide = halves(call, dtype)
    results = as_tuple(apply(operator, *(None if a is None else from_array(a) for a in arrays)))
    specs = as_tuple(operator.infer(*(None if a is None else Spec(a.shape, as_dtype(a.dtype)) for a in arrays)))
    with np.errstate(all="ignore"):
        exact = as_tuple(operator.forward(np, *wide))
    for result, spec, reference in zip(results, specs, exact, strict=True):
        assert (result.shape, result.dtype) == (spec.shape, spec.dtype)
        if result.dtype.numpy in TYPES.values():
            # one ulp, or four float32 epsilons where float32 terms of size up to 20 cancel
            error = np.abs(result._data.astype(np.float64) - reference)
            assert (error <= ulp(reference, dtype) + 1e-5).all(), error.max()
        elif result.dtype.kind >= 2:
            np.testing.assert_allclose(result._data, reference, rtol=1e-5, atol=1e-5)
        else:
            np.testing.assert_array_equal(result._data, reference)


DIFFERENTIABLE = [c for c in CALLS if not isinstance(c.values[0].gradient, NotDifferentiable)]


@pytest.mark.parametrize("dtype", TYPES.values(), ids=TYPES)
@pytest.mark.parametrize(("cls", "call"), DIFFERENTIABLE)
def test_every_gradient_against_float64(cls, call, dtype):
    operator = cls(**call.fields)
    arrays, wide = halves(call, dtype)
    found, exact = _gradients(operator, arrays, dtype), _gradients(operator, wide, dtype)
    for result, reference in zip(found, exact, strict=True):
        assert (result is None) == (reference is None)
        if result is not None:
            assert result._data.dtype == dtype
            # outputs that the gradient reads were rounded once (eps / 2), and so is the result
            tolerance = 4 * float(ml_dtypes.finfo(dtype).eps)
            scale = np.abs(reference._data).max(initial=1.0)
            np.testing.assert_allclose(result._data.astype(np.float64), reference._data, rtol=tolerance, atol=tolerance * scale)


def _gradients(operator, arrays, dtype):
    tensors = [None if a is None else from_array(np.asarray(a)) for a in arrays]
    leaves = [t.requires_grad_() for t in tensors if t is not None and t.dtype.is_floating_point]
    rng = np.random.default_rng(5)
    outputs = [o for o in as_tuple(apply(operator, *tensors)) if o.dtype.is_floating_point and o.requires_grad]
    seeds = [from_array(np.asarray(rng.integers(-8, 9, o.shape) / 8).astype(o.dtype.numpy)) for o in outputs[:1]]
    return pl.autograd.grad(outputs[:1], leaves, seeds, allow_unused=True)


def test_layers_of_two_types():
    """A 16-bit input with float32 parameters, as autocast makes them: computed in float32, rounded to the input's type."""
    F, rng = pl.nn.functional, np.random.default_rng(6)
    x = from_array(rng.standard_normal((3, 4, 5)).astype(TYPES["bfloat16"])).requires_grad_()
    weight = from_array(rng.standard_normal(5).astype(np.float32)).requires_grad_()
    y = F.layer_norm(x, (5,), weight, weight)
    expected = F.layer_norm(x.float(), (5,), weight, weight)
    assert y.dtype is pl.bfloat16
    np.testing.assert_array_equal(y._data, expected.to(pl.bfloat16)._data)
    y.sum().backward()
    assert x.grad.dtype is pl.bfloat16 and weight.grad.dtype is pl.float32
    with pytest.raises(pl.errors.DTypeError, match="linear: expected inputs of one dtype, came bfloat16, float32"):
        F.linear(x, weight.reshape(1, 5))


@pytest.mark.parametrize("dtype", [pl.bfloat16, pl.float16, pl.float32])
def test_batch_norm_of_nothing_is_nothing(dtype):
    F, nothing = pl.nn.functional, pl.empty(0, dtype=dtype)
    assert F.batch_norm(nothing, nothing.clone(), nothing.clone(), training=True).shape == (0,)
    with pytest.raises(pl.errors.ShapeError, match=r"expected \(N, C, ...\), came \(5,\); did you mean x.unsqueeze\(0\)"):
        F.batch_norm(pl.ones(5, dtype=dtype), None, None, training=True)


def test_statistics_of_batch_norm_are_not_rounded():
    x = pl.tensor([[256.0, 2.0], [258.0, 2.0], [258.0, 4.0]]).to(pl.bfloat16)
    mean, var = pl.zeros(2), pl.ones(2)
    pl.nn.functional.batch_norm(x, mean, var, training=True, momentum=1.0)
    np.testing.assert_array_equal(mean.numpy(), x.float().mean(0).numpy())


@pytest.mark.parametrize("dtype", TYPES.values(), ids=TYPES)
def test_gradients_that_meet_are_added_and_rounded(dtype):
    rng = np.random.default_rng(7)
    for a, b in [
        (rng.random((3, 5)), rng.random((3, 5))),
        (rng.random((3, 5)), rng.random((5, 3)).T),
        (np.array(1.5), np.array(0.25)),
    ]:
        a, b = a.astype(dtype), np.asarray(b, order="K").astype(dtype)
        assert_within(half.add(a, b), a.astype(np.float64) + b.astype(np.float64), dtype, 0.5)
    x = pl.tensor([1.0, 2.0, 3.0]).to(as_dtype(dtype)).requires_grad_()
    (x * x + x).sum().backward()
    assert x.grad.tolist() == [3.0, 5.0, 7.0] and x.grad.dtype.numpy == dtype
