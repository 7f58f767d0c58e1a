# SPDX-License-Identifier: Apache-2.0
"""Products through cuBLASLt, against a library with the same C interface that computes on the CPU."""

import ctypes
import re
import shutil
import subprocess
import weakref
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import penlight as pl
import penlight.nn.functional as F
from penlight.autograd import grad
from penlight.backends import cuda
from penlight.backends.cuda import cublaslt, precision, products
from penlight.backends.cuda.cublaslt import Matrix, Products
from penlight.device import device
from penlight.errors import ArgumentError, DeviceError
from penlight.ops.dispatch import apply
from penlight.ops.operator import Gap
from penlight.ops.registry import operators
from penlight.ops.samples import build, of, sample
from penlight.tensor import from_numpy

pytest.importorskip("penlight._cublaslt", reason="compiled on Linux only")
GCC = shutil.which("gcc")
pytestmark = pytest.mark.skipif(GCC is None, reason="no gcc for the stand-in of the library")
SOURCE = Path(__file__).parents[2] / "support/cublaslt_stand_in.c"

TOLERANCE = {"float64": 1e-13, "float32": 1e-6, "float16": 2e-3, "bfloat16": 1.6e-2}
MORE = {
    "matmul": [
        sample(of(4, 3, 5), of(4, 5, 2)),
        sample(of(2, 3, 1, 7), of(2, 3, 7, 4)),
        sample(of(6, 1), of(1, 5)),
        sample(of(1, 6), of(6, 1)),
        sample(of(3, 4, 6, strided=True), of(3, 6, 2, strided=True)),
    ],
    "linear": [sample(of(2, 5, 3), of(4, 3), of(4)), sample(of(7, 1), of(1, 1), of(1))],
}


class Pointers:
    """The launcher of tests that pass NumPy arrays."""

    def pointer(self, array):
        return array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("cublaslt") / "libcublasLt.so"
    command = [GCC, "-O1", "-Wall", "-Werror", "-shared", "-fPIC", str(SOURCE), "-o", str(path), "-lm"]
    subprocess.run(command, check=True, timeout=600)
    return path


@pytest.fixture
def library(path, monkeypatch, fake_cuda):
    """The stand-in, with the products of the backend on it."""
    monkeypatch.setenv("PENLIGHT_CUBLASLT", str(path))
    cuda.backend().kernels.update(products.table(fake_cuda, Pointers()))
    stand_in = ctypes.CDLL(str(path))
    stand_in.stand_in_refuse(0)
    return stand_in


def cases():
    for name in ("matmul", "linear"):
        for call in (*operators()[name].samples, *MORE[name]):
            for dtype in TOLERANCE:
                yield pytest.param(name, call, dtype, id=f"{name}-{call}-{dtype}")


def run(name, call, dtype, place):
    tensors = [None if a is None else from_numpy(a).to(place) for a in build(call, dtype)]
    leaves = [t.requires_grad_(True) for t in tensors if t is not None]
    output = apply(operators()[name](**call.fields), *tensors)
    seed = np.random.default_rng(1).uniform(-1, 1, output.shape).astype(output.dtype.numpy)
    gradients = grad(output, leaves, from_numpy(seed).to(place))
    assert not isinstance(operators()[name].gradient, Gap) and output.device.type == device(place).type
    return [t.detach().cpu().numpy().astype(np.float64) for t in (output, *gradients)]


@pytest.mark.parametrize(("name", "call", "dtype"), list(cases()))
def test_products_and_their_gradients_are_those_of_the_cpu(library, name, call, dtype):
    before = library.stand_in_products()
    actual, expected = run(name, call, dtype, "cuda"), run(name, call, dtype, "cpu")
    for ours, reference in zip(actual, expected, strict=True):
        np.testing.assert_allclose(ours, reference, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * 4)
    given = [a for a in build(call, dtype) if a is not None]
    repeats = name == "matmul" and given[1].ndim > 2 and given[0].shape[:-2] != given[1].shape[:-2]
    assert library.stand_in_products() > before or repeats or not all(a.size for a in given)


def test_a_problem_is_planned_once(library):
    x, w, b = (pl.randn(*shape).to("cuda") for shape in ((4, 6), (5, 6), (5,)))
    F.linear(x, w, b)
    planned, computed = library.stand_in_heuristics(), library.stand_in_products()
    for _ in range(3):
        F.linear(x, w, b)
    assert (library.stand_in_heuristics(), library.stand_in_products()) == (planned, computed + 3)
    F.linear(x[:3], w, b)
    assert library.stand_in_heuristics() == planned + 1


def test_work_goes_to_the_current_stream(library, fake_cuda):
    x = pl.ones(2, 2, device="cuda")
    seen = library.stand_in_stream
    seen.restype = ctypes.c_size_t
    stream = fake_cuda.cuda.Stream(non_blocking=True)
    with stream:
        x @ x
    assert seen() == stream.ptr
    x @ x
    assert seen() in (0, None)


def test_tf32_is_a_switch_of_float32(library):
    computes = []
    for allowed in (False, True):
        pl.set_float32_matmul_precision("high" if allowed else "highest")
        try:
            assert cuda.matmul.allow_tf32 is allowed and pl.get_float32_matmul_precision() == ("high" if allowed else "highest")
            for dtype in (pl.float32, pl.bfloat16, pl.float64):
                x = pl.ones(2, 2, device="cuda", dtype=dtype)
                x @ x
                computes.append(library.stand_in_compute())
        finally:
            precision.matmul.allow_tf32 = False
    assert computes == [68, 68, 70, 77, 68, 70]
    with pytest.raises(ArgumentError, match="expected one of highest, high, medium, came 'low'"):
        pl.set_float32_matmul_precision("low")


def test_where_the_library_has_no_sum_of_gradients_they_are_summed_apart(library):
    library.stand_in_refuse(cublaslt.EPILOGUES["bgrad_b"])
    call = MORE["linear"][0]
    for ours, reference in zip(run("linear", call, "float32", "cuda"), run("linear", call, "float32", "cpu"), strict=True):
        np.testing.assert_allclose(ours, reference, rtol=1e-6, atol=1e-6)


def test_a_failed_description_leaves_nothing_behind_and_is_tried_again(library, fake_cuda):
    """Each of the library's calls for a plan fails once; the product after it works, and no object is lost."""
    a, b, d = (np.ones((2, 3, 3), np.float32) for _ in range(3))
    sides = [Matrix(x.ctypes.data, 3, False, 9) for x in (a, b, d)]
    alive, messages = library.stand_in_alive(), [""]
    while messages[-1] is not None:
        unit = Products(fake_cuda, Pointers())
        library.stand_in_fail(len(messages))
        messages.append(_error_of(lambda unit=unit: unit.multiply("float32", (2, 3, 3, 3), *sides)))
        assert library.stand_in_alive() == alive + 4 * unit.plan_count  # a description and three layouts
        library.stand_in_fail(0)
        assert unit.multiply("float32", (2, 3, 3, 3), *sides) and unit.plan_count == 1
        del unit
        assert library.stand_in_alive() == alive
    assert len(messages) > 15 and all(re.fullmatch(r"cublasLt\w+: status 7", message) for message in messages[1:-1])


def _error_of(call):
    try:
        assert call()
    except RuntimeError as error:
        return str(error)
    return None


def test_more_products_than_the_library_can_count_are_declined(library, fake_cuda):
    side = Matrix(16, 1, False, 0)
    unit = Products(fake_cuda, Pointers())
    assert unit.multiply("float32", (2**31, 1, 1, 1), side, side, side) is False and unit.plan_count == 0


M, N, K, LD = 6, 10, 5, 128


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def slope(x, step=1e-4):
    return (gelu(x + step) - gelu(x - step)) / (2 * step)


@pytest.fixture
def matrices():
    rng = np.random.default_rng(0)
    return rng.normal(size=(M, K)), rng.normal(size=(K, N)), rng.normal(size=N)


def product(fake_cuda, a, b, epilogue, bias=None, aux=None, dtype=np.float64):
    a, b = a.astype(dtype), b.astype(dtype)
    d = np.zeros((a.shape[0], b.shape[1]), dtype)
    sides = [Matrix(x.ctypes.data, x.shape[1], False, 0) for x in (a, b, d)]
    sizes = (1, a.shape[0], b.shape[1], a.shape[1])
    unit = Products(fake_cuda, Pointers())
    aux_ld = 0 if aux is None else LD if aux.dtype == np.uint8 else aux.shape[1]
    assert unit.multiply(np.dtype(dtype).name, sizes, *sides, epilogue=epilogue, bias=bias, aux=aux, aux_ld=aux_ld)
    assert unit.plan_count == 1
    return d


def test_epilogues_of_the_forward(library, fake_cuda, matrices):
    a, b, bias = matrices
    before = a @ b + bias
    close = {"rtol": 1e-12, "atol": 1e-12}
    np.testing.assert_allclose(product(fake_cuda, a, b, "relu"), np.maximum(a @ b, 0), **close)
    np.testing.assert_allclose(product(fake_cuda, a, b, "relu_bias", bias), np.maximum(before, 0), **close)
    np.testing.assert_allclose(product(fake_cuda, a, b, "gelu"), gelu(a @ b), **close)
    np.testing.assert_allclose(product(fake_cuda, a, b, "gelu_bias", bias), gelu(before), **close)
    aux = np.zeros((M, 16))
    np.testing.assert_allclose(product(fake_cuda, a, b, "gelu_aux_bias", bias, aux), gelu(before), **close)
    np.testing.assert_allclose(aux[:, :N], before, **close)
    bits = np.zeros((M, LD // 8), np.uint8)
    np.testing.assert_allclose(product(fake_cuda, a, b, "relu_aux_bias", bias, bits), np.maximum(before, 0), **close)
    np.testing.assert_array_equal(np.unpackbits(bits, axis=1, bitorder="little")[:, :N], before > 0)


def test_epilogues_of_the_gradient(library, fake_cuda, matrices):
    a, b, bias = matrices
    before, sums = a @ b + bias, np.zeros(N)
    aux = np.zeros((M, 16))
    aux[:, :N] = before
    np.testing.assert_allclose(product(fake_cuda, a, b, "dgelu", aux=aux), (a @ b) * slope(before), rtol=1e-6, atol=1e-8)
    actual = product(fake_cuda, a, b, "dgelu_bgrad", sums, aux)
    np.testing.assert_allclose(sums, actual.sum(0), rtol=1e-12)
    bits = np.packbits(np.pad(before > 0, ((0, 0), (0, LD - N))), axis=1, bitorder="little")
    expected = np.where(before > 0, a @ b, 0)
    np.testing.assert_allclose(product(fake_cuda, a, b, "drelu", aux=bits), expected, rtol=1e-12)
    np.testing.assert_allclose(product(fake_cuda, a, b, "drelu_bgrad", sums, bits), expected, rtol=1e-12)
    np.testing.assert_allclose(sums, expected.sum(0), rtol=1e-12)
    rows = np.zeros(M)
    product(fake_cuda, a, b, "bgrad_b", rows)
    np.testing.assert_allclose(rows, a.sum(1), rtol=1e-12)
    product(fake_cuda, a, b, "bgrad_a", sums)
    np.testing.assert_allclose(sums, b.sum(0), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_epilogues_in_other_types(library, fake_cuda, matrices, dtype):
    a, b, bias = (array.astype(dtype) for array in matrices)
    wide = a.astype(np.float64) @ b.astype(np.float64) + bias.astype(np.float64)
    close = {"rtol": TOLERANCE[np.dtype(dtype).name], "atol": 1e-2}
    np.testing.assert_allclose(product(fake_cuda, a, b, "gelu_bias", bias, dtype=dtype).astype(np.float64), gelu(wide), **close)


def test_without_the_library_the_reference_runs_and_the_error_says_where_was_looked(fake_cuda, monkeypatch):
    monkeypatch.setattr(cublaslt, "_NAMES", ("libcublasLt.so.none",))
    monkeypatch.delenv("PENLIGHT_CUBLASLT", raising=False)
    with pytest.raises(
        DeviceError, match=r"cuBLASLt cannot be loaded: .*libcublasLt\.so\.none.*pip install nvidia-cublas"
    ) as caught:
        cublaslt.load()
    assert caught.value.exit_code == 4
    cuda.backend().kernels.update(products.table(fake_cuda, Pointers()))
    x = pl.ones(2, 3, device="cuda")
    assert (x @ x.mT).cpu().tolist() == [[3.0, 3.0]] * 2


def test_a_library_that_is_none_is_refused(tmp_path, monkeypatch):
    empty = tmp_path / "libempty.so"
    subprocess.run([GCC, "-shared", "-fPIC", "-x", "c", "/dev/null", "-o", str(empty)], check=True, timeout=600)
    monkeypatch.setenv("PENLIGHT_CUBLASLT", str(empty))
    with pytest.raises(DeviceError, match="the library has no cublasLtCreate"):
        cublaslt.load()


def test_copies_of_operands_outlive_the_product(library, monkeypatch):
    """What is freed before the launch is the pool's, and may come back as the memory of the result."""
    alive, made = [], {}
    copy, multiply = products._contiguous, Products.multiply

    def note(xp, array):
        result = copy(xp, array)
        made[result.data.ptr] = weakref.ref(result)
        return result

    def check(self, dtype, sizes, a, b, d, **options):
        alive.extend(made[matrix.pointer]() is not None for matrix in (a, b))
        return multiply(self, dtype, sizes, a, b, d, **options)

    monkeypatch.setattr(products, "_contiguous", note)
    monkeypatch.setattr(Products, "multiply", check)
    a, b = (np.random.default_rng(seed).normal(size=(6, 6)).astype(np.float32) for seed in (0, 1))
    result = from_numpy(a).to("cuda")[::2, ::2] @ from_numpy(b).to("cuda")[::2, ::2]
    np.testing.assert_allclose(result.cpu().numpy(), a[::2, ::2] @ b[::2, ::2], rtol=1e-5)
    assert alive == [True, True]
