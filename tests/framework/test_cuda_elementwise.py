# SPDX-License-Identifier: Apache-2.0
"""The elementwise kernels on the CPU over the operator table: every expression, strided, broadcast, in packs and at odd sizes."""

import cuda_host
import ml_dtypes
import numpy as np
import pytest

import penlight.nn.functional  # noqa: F401  all operators are in the table after this
from penlight.backends.cuda import elementwise, source
from penlight.dtype import as_dtype
from penlight.ops.operator import Gap
from penlight.ops.registry import operators
from penlight.ops.samples import build, of, sample

# Rounding of the result alone: every kernel computes in float.
TOLERANCE = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 1.6e-2}
HALVES = [pytest.param(name, marks=pytest.mark.slow) for name in ("float16", "bfloat16")]  # six seconds of compiling
FORWARD = ("unary", "binary", "fraction", "compare", "test")
WHOLE = ("add", "sub", "mul", "maximum", "minimum", "eq", "ne", "lt", "le", "gt", "ge")

# Beside the operators' own samples: runs of 16 bytes with a rest, rows whose length is no multiple, every kind of broadcast.
LARGER = (
    ((67,), (67,)),
    ((4, 8), (8,)),
    ((4, 8), (4, 1)),
    ((3, 7), (7,)),
    ((2, 1, 3, 1, 2), (1, 4, 1, 5, 2)),
    ((), (2, 8)),
)


@pytest.fixture
def launcher(cuda_library):
    return cuda_host.HostLauncher(cuda_library)


@pytest.fixture
def kernels(launcher):
    return elementwise.table(np, launcher)


def listed(*lists):
    return [name for each in lists for name in source.expressions()[each]]


def kind_of(dtype):
    return np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)


def exact(array):
    return array.astype(np.float64) if array.dtype.kind in "fV" else array


def close(ours, reference, dtype):
    assert ours.shape == reference.shape
    if ours.dtype.kind in "fV":
        scale = np.maximum(1.0, np.abs(reference))
        np.testing.assert_allclose(exact(ours) / scale, reference / scale, rtol=0, atol=TOLERANCE[dtype])
    else:
        np.testing.assert_array_equal(ours, reference)


def calls(name):
    """The table's samples, and their first two inputs' ranges in larger shapes."""
    operator = operators()[name]
    yield from operator.samples
    first = operator.samples[0]
    for shapes in LARGER if len(first.inputs) == 2 else [(shape,) for shape, _ in LARGER]:
        inputs = [
            of(*shape, dtype=i.dtype, low=i.low, high=i.high, distinct=i.distinct)
            for shape, i in zip(shapes, first.inputs, strict=True)
        ]
        yield sample(*inputs, **first.fields)


@pytest.mark.parametrize("dtype", ["float32", *HALVES])
@pytest.mark.parametrize("name", listed(*FORWARD))
def test_every_expression_is_its_operator(kernels, launcher, name, dtype):
    operator = operators()[name]
    for call in calls(name):
        arrays = build(call, dtype)
        ours = kernels[name](operator(**call.fields), *arrays)
        if any(a.dtype.kind in "iu" for a in arrays) and name in source.expressions()["fraction"]:
            assert ours is NotImplemented
            continue
        with np.errstate(all="ignore"):
            close(ours, operator(**call.fields).forward(np, *map(exact, arrays)), dtype)
    assert set(launcher.launched) == {f"{each}_{name}" for each in FORWARD if name in source.expressions()[each]}


@pytest.mark.parametrize("dtype", ["float32", *HALVES])
@pytest.mark.parametrize("name", listed("slope"))
def test_every_slope_is_its_gradient(kernels, name, dtype):
    operator = operators()[name]
    for call in calls(name):
        (x,) = build(call, dtype)
        grad = np.linspace(-1, 1, x.size).reshape(x.shape).astype(x.dtype)
        output = np.asarray(operator(**call.fields).forward(np, exact(x)))
        (ours,) = kernels[f"{name}.backward"](operator(**call.fields), (True,), grad, output.astype(x.dtype), x)
        output = exact(output.astype(x.dtype))  # as the tape keeps it
        (reference,) = operator(**call.fields).backward(np, (True,), exact(grad), output, exact(x))
        close(ours, reference, dtype)


@pytest.mark.parametrize("dtype", ["int64", pytest.param("int32", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", WHOLE)
def test_integers_are_computed_as_they_are(kernels, name, dtype):
    a = np.array([[2**30 + 1, -7, 0, 5]] * 3, dtype) * (1 if dtype == "int32" else 2**31)
    b = np.array([3, -7, 1, 2], dtype)
    np.testing.assert_array_equal(kernels[name](operators()[name](), a, b), operators()[name]().forward(np, a, b))


@pytest.mark.parametrize("name", ["exp", "sqrt", "floor", "maximum", "minimum", "add", "div", "lt", "eq", "isnan", "isinf", "sign"])
def test_special_values_as_the_reference(kernels, name):
    values = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1.0, -1.0, 3e38, 1e-38, 2.5], np.float32)
    arrays = (values,) if len(operators()[name].samples[0].inputs) == 1 else (values[:, None], values)
    with np.errstate(all="ignore"):
        expected = operators()[name]().forward(np, *arrays)
    np.testing.assert_allclose(kernels[name](operators()[name](), *arrays), expected, rtol=1e-6)


@pytest.mark.parametrize(("name", "a", "b"), [("remainder", -7.5, 2.0), ("remainder", 4.0, -2.0), ("floor_divide", 7.0, -2.0)])
def test_division_rounds_down_as_in_python(kernels, name, a, b):
    ours = kernels[name](operators()[name](), np.float32([a]), np.float32([b]))
    expected = operators()[name]().forward(np, np.float32([a]), np.float32([b]))
    np.testing.assert_array_equal(ours, expected)
    assert np.signbit(ours[0]) == np.signbit(expected[0])


@pytest.mark.parametrize("target", listed("cast"))
@pytest.mark.parametrize("dtype", ["float32", "int64", pytest.param("int32", marks=pytest.mark.slow), "bool", *HALVES])
def test_casts(kernels, dtype, target):
    x = np.array([[0, 1, -2.75, 3.5, 65, 0, 1, 2, 3]] * 2).astype(kind_of(dtype))
    operator = operators()["cast"](as_dtype(target))
    for view in (x, x.T, x[:, 1:]):
        ours = kernels["cast"](operator, view)
        assert ours.dtype == kind_of(target)
        np.testing.assert_array_equal(ours, view.astype(kind_of(target)))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8", "bool", HALVES[0]])
def test_copies_keep_bits_and_order(kernels, dtype):
    x = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5).astype(dtype)
    last = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    clone, copied = kernels["clone"], kernels["contiguous"]
    assert clone(None, last).strides == last.strides and clone(None, x).strides == x.strides
    assert kernels["channels_last"](None, x).strides == last.strides
    assert copied(None, x) is x and copied(None, last).flags.c_contiguous
    for result in (clone(None, last), copied(None, last), kernels["channels_last"](None, x), clone(None, x[:, ::2, 1:])):
        np.testing.assert_array_equal(result, x if result.shape == x.shape else x[:, ::2, 1:])
    np.testing.assert_array_equal(clone(None, np.broadcast_to(x[:1], x.shape)), np.broadcast_to(x[:1], x.shape))


@pytest.mark.parametrize("shape", [(40, 70), (3, 33, 64), (2, 9, 5, 7)])
@pytest.mark.parametrize("is_reversed", [False, True])
def test_transposes_go_by_tiles(kernels, launcher, shape, is_reversed):
    launcher.is_reversed = is_reversed
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    if len(shape) == 4:
        result = kernels["channels_last"](None, x)
        assert np.moveaxis(result, 1, -1).flags.c_contiguous
        np.testing.assert_array_equal(result, x)
    else:
        np.testing.assert_array_equal(kernels["contiguous"](None, x.swapaxes(-1, -2)), x.swapaxes(-1, -2))
        part = x[..., 1:].swapaxes(-1, -2)[..., ::2]
        np.testing.assert_array_equal(kernels["contiguous"](None, part), part)
    assert set(launcher.launched) == {"transpose"}


def test_results_keep_channels_last(kernels):
    x = np.moveaxis(np.linspace(-1, 1, 48, dtype=np.float32).reshape(2, 2, 4, 3), -1, 1)
    bias = np.float32([[[1]], [[2]], [[3]]])
    for result in (kernels["exp"](operators()["exp"](), x), kernels["add"](None, x, bias), kernels["add"](None, bias, x)):
        assert result.strides == x.strides
    np.testing.assert_array_equal(kernels["add"](None, bias, x), bias + x)


@pytest.mark.parametrize("name", ["cat", "pad", "where"])
def test_operators_of_several_places(kernels, launcher, name):
    for call in operators()[name].samples:
        arrays = build(call)
        operator = operators()[name](**call.fields)
        np.testing.assert_array_equal(kernels[name](operator, *arrays), operator.forward(np, *arrays))
    assert set(launcher.launched) == {"where" if name == "where" else "copy"}


def test_what_has_no_instance_takes_the_reference(kernels, launcher):
    wide = np.ones((2, 3))
    assert kernels["exp"](operators()["exp"](), wide) is NotImplemented
    assert kernels["add"](None, wide, np.float32(1)) is NotImplemented
    assert kernels["div"](None, np.arange(3), np.arange(3)) is NotImplemented
    many = np.ones((2,) * 14, np.float32)[::2].transpose((*range(1, 14, 2), *range(0, 14, 2)))
    assert kernels["add"](None, many, np.broadcast_to(np.float32(1), many.shape).copy()) is NotImplemented
    assert kernels["clone"](None, np.ones(3, np.complex128)) is NotImplemented
    assert launcher.launched == []


def test_every_name_is_an_operator(kernels):
    for name in kernels:
        assert not isinstance(operators()[name.removesuffix(".backward")], Gap)
