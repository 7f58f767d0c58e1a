# SPDX-License-Identifier: Apache-2.0
"""The main rules of the array API namespace; the public suite with its 1,380 tests is run by tests/benchmarks/array_api.py."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest

import penlight as pl
from penlight import array_api as xp
from penlight.array_api import Array
from penlight.errors import ArgumentError, DTypeError, GradientError, InPlaceError, ShapeError

SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
FLOATS = ("float32", "float64")
COMPLEX = ("complex64", "complex128")
ALL = ("bool", *SIGNED, *UNSIGNED, *FLOATS, *COMPLEX)


def expected_promotion(a, b):
    """The table of the standard, or None where it defines nothing."""
    kinds = {"bool" if n == "bool" else "int" if n in SIGNED + UNSIGNED else "float" for n in (a, b)}
    if len(kinds) > 1 or ("uint64" in (a, b) and {a, b} & set(SIGNED)):
        return None
    return np.promote_types(a, b).name


@pytest.mark.parametrize(("a", "b"), list(itertools.product(ALL, ALL)))
def test_promotion_table(a, b):
    expected = expected_promotion(a, b)
    x, y = (xp.ones((2,), dtype=getattr(xp, n)) for n in (a, b))
    if expected is None:
        with pytest.raises(DTypeError, match="promot"):
            xp.result_type(x, y)
        with pytest.raises(DTypeError):
            xp.equal(x, y)
        return
    assert xp.result_type(x, y) is getattr(xp, expected)
    assert xp.result_type(x.dtype, y) is getattr(xp, expected)
    if "bool" not in (a, b):
        assert (x + y).dtype is getattr(xp, expected)
        assert xp.concat([x, y]).dtype is getattr(xp, expected)


def test_zero_dim_arrays_promote_like_all_others():
    """PyTorch would keep int8 here: a 0-dim tensor is weak there, and is not in the standard."""
    assert (xp.asarray([1], dtype=xp.int8) + xp.asarray(1, dtype=xp.int64)).dtype is xp.int64
    assert (pl.tensor([1], dtype=pl.int8) + pl.tensor(1, dtype=pl.int64)).dtype is pl.int8


@pytest.mark.parametrize(
    ("dtype", "scalar", "result"),
    [
        ("int8", 1, "int8"),
        ("float32", 1, "float32"),
        ("float32", 1.5, "float32"),
        ("float32", 1j, "complex64"),
        ("float64", 1j, "complex128"),
        ("complex64", 2, "complex64"),
        ("bool", True, "bool"),
        ("int8", 1.5, None),
        ("bool", 1, None),
        ("int8", True, None),
        ("float32", True, None),
        ("int64", 1j, None),
    ],
)
def test_python_scalars_never_widen_and_never_change_the_kind(dtype, scalar, result):
    x = xp.ones((2,), dtype=getattr(xp, dtype))
    if result is None:
        with pytest.raises(DTypeError, match="Python"):
            xp.equal(x, scalar)
        return
    assert xp.result_type(x, scalar) is getattr(xp, result)
    if dtype != "bool":
        assert (x * scalar).dtype is (scalar * x).dtype is getattr(xp, result)


def test_integers_do_not_divide_and_floats_have_no_bits():
    i, f, b = xp.asarray([1, 2]), xp.asarray([1.0, 2.0]), xp.asarray([True, False])
    for function, x in ((xp.divide, i), (xp.bitwise_and, f), (xp.logical_and, i), (xp.add, b), (xp.bitwise_left_shift, b)):
        with pytest.raises(DTypeError, match="expected a"):
            function(x, x)
    for function, x in ((xp.sqrt, i), (xp.bitwise_invert, f), (xp.floor, b), (xp.imag, f), (xp.signbit, i), (xp.logical_not, i)):
        with pytest.raises(DTypeError, match="expected a"):
            function(x)
    for function in (xp.mean, xp.var, xp.std):
        with pytest.raises(DTypeError, match="expected a"):
            function(i)


def test_only_arrays_are_taken():
    with pytest.raises(DTypeError, match="came list; use asarray"):
        xp.sqrt([1.0])
    with pytest.raises(DTypeError, match="at least one array"):
        xp.add(1, 2)
    with pytest.raises(TypeError):
        xp.asarray([1.0]) * [1.0]


def test_tensors_and_arrays_mix_and_the_result_is_an_array():
    t = pl.tensor([1.0, 2.0])
    for result in (xp.sqrt(t), xp.asarray(t) + t, t + xp.asarray(t), xp.reshape(t, (2, 1)), xp.sum(t), xp.asarray([3.0])[0]):
        assert type(result) is Array
    assert type(t) is pl.Tensor and type(t + 1) is pl.Tensor


def test_asarray_shares_or_copies_as_told():
    base = np.arange(3.0)
    shared, copied = xp.asarray(base), xp.asarray(base, copy=True)
    base[0] = 7
    assert float(shared[0]) == 7.0 and float(copied[0]) == 0.0
    t = pl.ones(2)
    xp.asarray(t)[0] = 5.0
    assert t.tolist() == [5.0, 1.0]
    with pytest.raises(ValueError, match="copy"):
        xp.asarray([1.0], copy=False)
    with pytest.raises(ValueError, match="copy"):
        xp.asarray(xp.ones(2), dtype=xp.float64, copy=False)


def test_default_dtypes():
    for value, dtype in ((True, xp.bool), (1, xp.int64), (1.0, xp.float32), (1j, xp.complex64)):
        assert xp.asarray(value).dtype is xp.asarray([value]).dtype is xp.full((2,), value).dtype is dtype
    assert xp.arange(3).dtype is xp.int64 and xp.arange(3.0).dtype is xp.linspace(0, 1, 3).dtype is xp.float32
    assert xp.asarray([]).dtype is xp.zeros(2).dtype is xp.eye(2).dtype is xp.float32


def test_sums_are_wide_and_floats_are_kept():
    for name in SIGNED:
        assert xp.sum(xp.ones(3, dtype=getattr(xp, name))).dtype is xp.int64
    for name in UNSIGNED:
        assert xp.prod(xp.ones(3, dtype=getattr(xp, name))).dtype is xp.uint64
    assert xp.sum(xp.ones(3)).dtype is xp.float32
    assert int(xp.sum(xp.full((300,), 1, dtype=xp.int8))) == 300
    assert float(xp.sum(xp.zeros(0))) == 0.0 and float(xp.prod(xp.zeros(0))) == 1.0 and math.isnan(float(xp.mean(xp.zeros(0))))


def test_in_place_operators_keep_the_array():
    x = xp.asarray([1.0, 2.0])
    view = x[:1]
    x += 1
    x *= x
    assert x.tolist() == [4.0, 9.0] and view.tolist() == [4.0]
    with pytest.raises(DTypeError, match=r"add=: the result is float64"):
        x += xp.ones(2, dtype=xp.float64)
    with pytest.raises(ShapeError, match=r"add=: the result has shape \(3, 2\)"):
        x += xp.ones((3, 2))
    i = xp.asarray([1, 2])
    with pytest.raises(DTypeError):
        i += 0.5
    with pytest.raises(DTypeError, match="does not combine with int64"):
        i[0] = 0.5
    with pytest.raises(InPlaceError):
        leaf = xp.asarray([1.0]).requires_grad_()
        leaf += 1


def test_indexing():
    x = xp.reshape(xp.arange(24), (2, 3, 4))
    n = np.arange(24).reshape(2, 3, 4)
    for key in (0, -1, (1, 2), slice(None, None, -1), (..., 0), (None, 1), (slice(0, 1), ..., slice(1, 3)), ()):
        np.testing.assert_array_equal(x[key].numpy(), n[key])
    np.testing.assert_array_equal(x[x % 2 == 0].numpy(), n[n % 2 == 0])
    np.testing.assert_array_equal(x[xp.asarray([1, 0]), xp.asarray([2, -1])].numpy(), n[[1, 0], [2, -1]])
    x[x > 20] = -1
    assert x[1, 2].tolist() == [20, -1, -1, -1]
    scalar = xp.asarray(3)
    assert scalar[xp.asarray(True)].shape == (1,) and scalar[xp.asarray(False)].shape == (0,)
    with pytest.raises(IndexError):
        x[2]


def test_attributes_and_conversions():
    x = xp.ones((2, 3), dtype=xp.int32)
    assert (x.shape, x.ndim, x.size, x.dtype, str(x.device)) == ((2, 3), 2, 6, xp.int32, "cpu")
    assert x.T.shape == x.mT.shape == (3, 2)
    with pytest.raises(ShapeError, match="2 dimensions"):
        _ = xp.ones((2, 2, 2)).T
    assert x.__array_namespace__() is xp and x.__array_namespace__(api_version="2024.12") is xp
    with pytest.raises(ArgumentError, match=r"2024\.12"):
        x.__array_namespace__(api_version="2031.12")
    assert (int(xp.asarray(3)), float(xp.asarray(3)), complex(xp.asarray(2.0)), bool(xp.asarray(0))) == (3, 3.0, 2 + 0j, False)
    assert range(5)[xp.asarray(3)] == 3
    for convert, value in ((float, 1j), (int, 1j), (range, 1.0), (range, True)):
        with pytest.raises(TypeError):
            convert(xp.asarray(value))
    assert hash(x) == hash(x)


def test_dlpack_both_ways():
    x = xp.asarray([1.0, 2.0])
    array = np.from_dlpack(x)
    array[0] = 9
    assert x.tolist() == [9.0, 2.0]
    again = xp.from_dlpack(np.arange(3))
    assert type(again) is Array and again.dtype is xp.int64
    with pytest.raises(GradientError, match="detach"):
        np.from_dlpack(x.requires_grad_())


SPECIAL = [
    (xp.floor_divide, (math.inf, 2.0), math.inf),
    (xp.floor_divide, (-3.0, math.inf), -0.0),
    (xp.expm1, (complex(math.inf, 0),), complex(math.inf, 0)),
    (xp.expm1, (complex(-math.inf, math.nan),), -1 + 0j),
    (xp.tanh, (complex(math.inf, 1),), 1 + 0j),
    (xp.sign, (math.nan,), math.nan),
    (xp.maximum, (math.nan, 1.0), math.nan),
    (xp.remainder, (-1.0, 3.0), 2.0),
    (xp.atan2, (-0.0, -1.0), -math.pi),
    (xp.pow, (math.nan, 0.0), 1.0),
    (xp.round, (2.5,), 2.0),
]


@pytest.mark.parametrize(("function", "arguments", "expected"), SPECIAL)
def test_special_values(function, arguments, expected):
    got = function(*(xp.asarray(a, dtype=xp.complex128 if isinstance(a, complex) else xp.float64) for a in arguments)).item()
    np.testing.assert_equal(got, expected)
    if isinstance(expected, float) and expected == 0:
        assert math.copysign(1, got) == math.copysign(1, expected)


def test_sets_sorting_and_searching():
    x = xp.asarray([[3.0, math.nan], [3.0, math.nan]])
    _, indices, inverse, counts = xp.unique_all(x)
    assert counts.tolist() == [2, 1, 1] and inverse.shape == (2, 2) and indices.dtype is xp.int64
    assert xp.unique_values(xp.asarray([2, 1, 2])).tolist() == [1, 2]
    y = xp.asarray([1, 3, 1, 2])
    assert xp.argsort(y, descending=True).tolist() == [1, 3, 0, 2]
    assert xp.sort(y, descending=True).tolist() == [3, 2, 1, 1]
    assert xp.searchsorted(xp.asarray([1, 2, 3]), xp.asarray([2]), side="right").tolist() == [2]
    assert xp.count_nonzero(y).item() == 4 and xp.nonzero(y)[0].tolist() == [0, 1, 2, 3]
    assert xp.cumulative_sum(y, include_initial=True).tolist() == [0, 1, 4, 5, 7]
    assert xp.diff(y).tolist() == [2, -2, 1]


def test_clip_takes_numbers_arrays_and_numbers_out_of_range():
    x = xp.asarray([-5, 0, 5], dtype=xp.int8)
    assert xp.clip(x, -1000, 3).tolist() == [-5, 0, 3] and xp.clip(x, -1000, 3).dtype is xp.int8
    assert xp.clip(x, xp.asarray([0, 1, 2], dtype=xp.int8)).tolist() == [0, 1, 5]
    assert xp.clip(x) is not x and xp.clip(x).tolist() == x.tolist()
    with pytest.raises(DTypeError):
        xp.clip(x, 0.5)


def test_inspection():
    info = xp.__array_namespace_info__()
    assert info.default_dtypes()["real floating"] is xp.float32
    assert list(info.dtypes(kind="unsigned integer")) == list(UNSIGNED)
    assert len(info.dtypes()) == 13 and info.default_device() in info.devices()
    assert xp.isdtype(xp.uint16, ("bool", "integral")) and not xp.isdtype(xp.float32, "complex floating")
    assert xp.can_cast(xp.int8, xp.int16) and not xp.can_cast(xp.int16, xp.int8) and not xp.can_cast(xp.int8, xp.float32)
    assert xp.finfo(xp.complex64).bits == 32 and xp.finfo(xp.float64).eps == 2**-52
    assert (xp.iinfo(xp.uint64).max, xp.iinfo(xp.int8).min) == (2**64 - 1, -128)
    with pytest.raises(DTypeError, match="imaginary"):
        xp.astype(xp.asarray(1j), xp.float32)


def test_extensions_have_all_functions_and_agree_with_numpy():
    names = (
        "cholesky cross det diagonal eigh eigvalsh inv matmul matrix_norm matrix_power matrix_rank matrix_transpose outer pinv qr "
    )
    names += "slogdet solve svd svdvals tensordot trace vecdot vector_norm"
    assert len(names.split()) == 23 and all(callable(getattr(xp.linalg, name)) for name in names.split())
    names = "fft ifft fftn ifftn rfft irfft rfftn irfftn hfft ihfft fftfreq rfftfreq fftshift ifftshift"
    assert all(callable(getattr(xp.fft, name)) for name in names.split())
    n = np.random.default_rng(0).standard_normal((4, 4)) + 4 * np.eye(4)
    a = xp.asarray(n)
    np.testing.assert_allclose(xp.linalg.inv(a).numpy(), np.linalg.inv(n))
    u, s, vh = xp.linalg.svd(a)
    np.testing.assert_allclose(((u * s) @ vh).numpy(), n)
    np.testing.assert_allclose(xp.linalg.solve(a, xp.ones(4, dtype=xp.float64)).numpy(), np.linalg.solve(n, np.ones(4)))
    np.testing.assert_allclose(xp.fft.rfft(a).numpy(), np.fft.rfft(n))
    assert xp.fft.fft(xp.asarray([1j])).dtype is xp.complex64
    assert xp.linalg.tensordot(a, a, axes=((0, 1), (0, 1))).shape == ()


RECORDED = {
    "chain": lambda x: xp.sum(xp.exp(x) * 2 - x / (x * x + 1.0)),
    "reductions": lambda x: xp.mean(x) * xp.max(x) + xp.min(xp.sum(x, axis=1)) + xp.prod(x, axis=0)[0],
    "moments": lambda x: xp.var(x, correction=1) + xp.std(x),
    "shapes": lambda x: xp.sum(xp.permute_dims(xp.concat([x, xp.flip(x)], axis=1), (1, 0))[1:4] ** 2),
    "products": lambda x: xp.sum(x @ x.mT) + xp.linalg.vecdot(x[0], x[1]) + xp.sum(xp.linalg.outer(x[0], x[1])),
    "choice": lambda x: xp.sum(xp.where(x > 1, x * x, -x)) + xp.sum(xp.clip(x, 0.5, 1.5) * x),
    "places": lambda x: xp.sum(xp.take(x, xp.asarray([0, 0]), axis=1)) + xp.sum(xp.sort(x, axis=1)[:, 0] ** 2),
    "running": lambda x: xp.sum(xp.cumulative_sum(x, axis=1) ** 2),
}


@pytest.mark.parametrize("name", RECORDED)
def test_gradients_flow_and_do_not_change_the_values(name):
    function = RECORDED[name]
    n = np.random.default_rng(3).uniform(0.4, 1.9, (2, 3))
    x = xp.asarray(n.copy()).requires_grad_()
    result = function(x)
    assert type(result) is Array and result.requires_grad
    np.testing.assert_allclose(result.item(), function(xp.asarray(n)).item(), rtol=1e-12)
    result.backward()
    for place in np.ndindex(n.shape):
        step = np.zeros_like(n)
        step[place] = 1e-6
        slope = (function(xp.asarray(n + step)).item() - function(xp.asarray(n - step)).item()) / 2e-6
        assert float(x.grad[place]) == pytest.approx(slope, rel=1e-5, abs=1e-7)


def test_what_has_no_gradient_says_so():
    x = xp.asarray([[2.0, 1.0], [1.0, 2.0]]).requires_grad_()
    for function in (xp.linalg.svd, xp.fft.rfft, xp.signbit):
        with pytest.raises(GradientError, match="no gradient"):
            function(x)
    with pl.no_grad():
        assert xp.linalg.det(x).item() == pytest.approx(3.0)


def test_a_model_written_for_the_standard_is_traced_as_the_framework_s_own():
    from penlight.tracing import trace

    def layer(x):
        namespace = x.__array_namespace__() if isinstance(x, Array) else xp
        return namespace.tanh(x @ weight + 1.0)

    weight = pl.ones(3, 2)
    graph = trace(layer, (pl.ones(4, 3),))
    assert [node.operator.name for node in graph.nodes] == ["matmul", "add", "tanh"]


def test_the_namespace_is_an_attribute_that_costs_nothing_until_used():
    code = "import sys, penlight; assert 'penlight.array_api' not in sys.modules; "
    code += "assert penlight.array_api.pi > 3; assert hasattr(penlight, 'array_api') and not hasattr(penlight, 'array_apis')"
    subprocess.run([sys.executable, "-c", code], check=True)
