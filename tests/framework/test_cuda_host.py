# SPDX-License-Identifier: Apache-2.0
"""The CUDA kernels and their launchers, run on the CPU in place of the CPU's own: whole calls, tape and optimizer included."""

import cuda_host
import numpy as np
import pytest

import penlight.nn.functional  # noqa: F401  all operators are in the table after this
from penlight.autograd import grad
from penlight.backends.cpu import CPU, SMALL
from penlight.backends.cuda import launch, source
from penlight.backends.cuda.cupy_backend import CudaBackend
from penlight.ops.dispatch import apply
from penlight.ops.registry import operators
from penlight.ops.samples import build, of, sample
from penlight.tensor import Tensor, from_numpy

# Rounding of the result alone: every kernel computes in float.
TOLERANCE = {"float32": 5e-6, "float16": 2e-3, "bfloat16": 1.6e-2}
NAMES = ("relu", "leaky_relu", "sigmoid", "tanh", "silu", "gelu", "softmax", "log_softmax", "cross_entropy", "layer_norm")

# Beside the operators' own samples: more than a warp, more than a block's row, several rows to a warp's block, odd sizes.
LARGER = {
    "softmax": [sample(of(11, 37), dim=1), sample(of(2, 1500), dim=1), sample(of(2, 1), dim=1)],
    "log_softmax": [sample(of(11, 37), dim=1), sample(of(2, 1500), dim=1)],
    "layer_norm": [sample(of(300, 33), of(33), of(33)), sample(of(2, 2, 1030), of(2, 1030), of(2, 1030), dims=2)],
    "gelu": [sample(of(3, 700)), sample(of(3, 700), approximate="tanh")],
}


@pytest.fixture
def launcher(cuda_library, monkeypatch):
    """The kernels stand where the CPU's own are; the launcher remembers what ran."""
    launcher = cuda_host.HostLauncher(cuda_library)
    monkeypatch.setattr(CPU, "kernels", CPU.kernels)
    saved, small = dict(CPU.kernels), dict(SMALL)
    CPU.kernels.clear()
    CPU.kernels.update(CudaBackend(np, launcher).kernels)
    SMALL.clear()
    yield launcher
    CPU.kernels.clear()
    CPU.kernels.update(saved)
    SMALL.update(small)


def calls():
    for name in NAMES:
        for call in (*operators()[name].samples, *LARGER.get(name, ())):
            yield pytest.param(name, call, id=f"{name}-{call}")


def run(name, call, arrays):
    """Outputs and gradients of one call, as float64."""
    tensors = [None if a is None else from_numpy(a) for a in arrays]
    wanted = [t for t in tensors if t is not None and t.is_floating_point()]
    for t in wanted:
        t.requires_grad_(True)
    result = apply(operators()[name](**call.fields), *tensors)
    first = result[0] if isinstance(result, tuple) else result
    seed = np.random.default_rng(7).uniform(-1, 1, first.shape).astype(arrays[0].dtype)
    gradients = grad(first, wanted, from_numpy(seed))
    results = [result] if isinstance(result, Tensor) else list(result)
    return [t.detach().numpy().astype(np.float64) for t in (*results, *gradients)]


@pytest.mark.parametrize("dtype", source.ELEMENTS)
@pytest.mark.parametrize(("name", "call"), list(calls()))
def test_outputs_and_gradients(launcher, name, call, dtype):
    arrays = build(call, dtype)
    actual = run(name, call, arrays)
    launched = set(launcher.launched)
    CPU.kernels.clear()
    exact = [a.astype(np.float64) if a is not None and a.dtype.kind in "fV" else a for a in arrays]
    for ours, reference in zip(actual, run(name, call, exact), strict=True):
        assert ours.shape == reference.shape
        scale = max(1.0, np.abs(reference).max(initial=0))
        np.testing.assert_allclose(ours, reference, rtol=0, atol=TOLERANCE[dtype] * scale)
    if arrays[0].size and call.fields.get("dim", -1) in (-1, arrays[0].ndim - 1):
        assert launched >= {f"{name}_forward", f"{name}_backward"}


@pytest.mark.parametrize("shape", [(), (0,), (1,), (8,), (9,), (1000,)])
def test_elements_at_odd_addresses(launcher, shape):
    storage = np.linspace(-3, 3, 1009, dtype=np.float32)
    x = storage[1 : 1 + int(np.prod(shape))].reshape(shape)
    np.testing.assert_array_equal(apply(operators()["relu"](), from_numpy(x)).numpy(), np.maximum(x, 0))


@pytest.mark.parametrize(
    "row",
    [
        [-np.inf] * 40,
        [-np.inf] * 39 + [2.0],
        [np.nan] + [1.0] * 39,
        [np.inf] + [1.0] * 39,
        [3e38] * 40,
        [-3e38] * 39 + [3e38],
    ],
)
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_special_values_as_the_reference(launcher, name, row):
    x = from_numpy(np.array([row, list(range(40))], np.float32))
    actual = apply(operators()[name](1), x).numpy()
    CPU.kernels.clear()
    expected = apply(operators()[name](1), x).numpy()
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_relu_keeps_nan(launcher):
    x = from_numpy(np.array([np.nan, -0.0, -1, np.inf], np.float32))
    np.testing.assert_array_equal(apply(operators()["relu"](), x).numpy(), [np.nan, 0, 0, np.inf])


@pytest.mark.parametrize("target", [-1, 3, 2**62])
def test_cross_entropy_of_a_class_outside_is_nan_there(launcher, target):
    x = from_numpy(np.zeros((2, 3), np.float32)).requires_grad_(True)
    losses, _ = apply(operators()["cross_entropy"](-100, 0.0), x, from_numpy(np.array([target, 1])))
    np.testing.assert_allclose(losses.detach().numpy(), [np.nan, np.log(3)], rtol=1e-6)
    gradient = grad(losses, [x], from_numpy(np.ones(2, np.float32)))[0].numpy()
    assert np.isnan(gradient[0]).all() and np.isfinite(gradient[1]).all()


def test_float64_and_mixed_dtypes_take_the_reference(launcher):
    x = from_numpy(np.linspace(-1, 1, 12).reshape(3, 4))
    assert apply(operators()["gelu"](), x).numpy().dtype == np.float64
    apply(operators()["layer_norm"](1, 1e-5), x.to("float32"), x[0], x[0])
    assert launcher.launched == []


def test_every_kernel_belongs_to_an_operator_or_optimizer(launcher):
    for name in CPU.kernels:
        is_step = name.endswith("_on_device") or name in ("clip_grad_norm", "unscale", "dropout_mask")
        assert is_step or name.removesuffix(".backward") in operators(), name


def test_every_kernel_is_launched_by_something():
    wrapped = {f"{name}_{way}" for name in NAMES for way in ("forward", "backward")}
    wrapped |= {"layer_norm_partial", "layer_norm_parameters"}
    wrapped |= {"rms_norm_forward", "rms_norm_backward"}  # launched in test_cuda_transformer.py
    families = ("activation", "softmax", "loss", "norm")
    assert {kernel for family in families for kernel in source.kernels(family)} == wrapped


@pytest.mark.parametrize("count", [0, 1, 31, 10**9])
@pytest.mark.parametrize("columns", [1, 32, 1024, 1025, 50_000])
def test_launch_sizes_are_what_the_kernels_expect(count, columns):
    grid = launch.rows(count, columns)
    threads, rows, depth = grid.threads
    assert threads % launch.WARP == 0 and threads & (threads - 1) == 0 and threads <= launch.MAX_THREADS
    assert depth == 1 and (rows == 1 or threads == launch.WARP)
    assert grid.is_empty == (count == 0) and grid.blocks[0] <= launch.MAX_BLOCKS
    elements = launch.elements(count, 2)
    assert elements.is_empty == (count == 0) and elements.blocks[0] <= launch.MAX_BLOCKS
