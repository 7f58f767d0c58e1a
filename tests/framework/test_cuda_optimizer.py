# SPDX-License-Identifier: Apache-2.0
"""The multi-tensor kernels on the CPU: steps of whole optimizers, skipped steps, clipping and unscaling."""

import gc

import cuda_host
import ml_dtypes
import numpy as np
import pytest

from penlight.backends.cpu import CPU
from penlight.backends.cuda import optimizer, source
from penlight.nn.clip_grad import clip_grad_norm_
from penlight.optim import SGD, Adam, AdamW
from penlight.tensor import from_numpy

TOLERANCE = {"float32": 5e-6, "float16": 2e-3, "bfloat16": 1.6e-2}
# More entries than one launch takes, one that needs several blocks, one element, none.
SHAPES = [(3, 5), (40_000,), (0,), (1,), *[(7,)] * source.ENTRIES_COUNT]
OPTIMIZERS = {
    "adamw": lambda p: AdamW(p, lr=0.01, weight_decay=0.1),
    "adam": lambda p: Adam(p, lr=0.01, weight_decay=0.1),
    "sgd": lambda p: SGD(p, lr=0.1),
    "momentum": lambda p: SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda p: SGD(p, lr=0.1, momentum=0.9, nesterov=True),
}


class Owner:
    """As much of an optimizer as the kernels ask for."""

    def __init__(self, group):
        self.param_groups = [group]


@pytest.fixture
def launcher(cuda_library):
    return cuda_host.HostLauncher(cuda_library)


@pytest.fixture
def kernels(launcher, monkeypatch):
    """Ours in the place of the CPU's."""
    ours = optimizer.table(cuda_host.Arrays(), launcher)
    for name in ("adamw", "sgd"):
        monkeypatch.delitem(CPU.kernels, name, raising=False)
    for name, kernel in ours.items():
        monkeypatch.setitem(CPU.kernels, name, kernel)
    return ours


def kind_of(dtype):
    return np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)


def parameters_of(dtype, shapes=SHAPES):
    rng = np.random.default_rng(3)
    return [from_numpy(rng.normal(size=shape).astype(kind_of(dtype))).requires_grad_(True) for shape in shapes]


def give_gradients(parameters, step):
    rng = np.random.default_rng(step)
    for parameter in parameters:
        values = rng.normal(size=tuple(parameter.shape))
        parameter.grad = from_numpy(values.astype(parameter.dtype.numpy))


def train(name, dtype, steps=3):
    parameters = parameters_of(dtype)
    stepper = OPTIMIZERS[name](parameters)
    for step in range(steps):
        give_gradients(parameters, step)
        stepper.param_groups[0]["lr"] *= 0.9
        stepper.step()
    return stepper, parameters


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_are_those_of_the_reference(kernels, launcher, monkeypatch, name):
    ours, parameters = train(name, "float32")
    kind = "adamw" if name.startswith("adam") else "sgd"
    assert set(launcher.launched) == ({"adamw_advance", "adamw_step"} if kind == "adamw" else {"sgd_step"})
    assert launcher.launched.count(f"{kind}_step") == 3 * 2
    for kernel in kernels:
        monkeypatch.delitem(CPU.kernels, kernel)
    exact, expected = train(name, "float64")
    for parameter, reference in zip(parameters, expected, strict=True):
        np.testing.assert_allclose(parameter.detach().numpy(), reference.detach().numpy(), rtol=0, atol=2e-5)
        for key, value in exact.state.get(reference, {}).items():
            np.testing.assert_allclose(ours.state[parameter][key].numpy(), value.numpy(), rtol=3e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_parameters_are_stepped_by_the_kernels_themselves(kernels, dtype):
    """Without the optimizer's detour through float32: what a backend's caller may do."""
    (p,), (reference,) = parameters_of(dtype, [(50,)]), parameters_of("float64", [(50,)])
    group = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.0, "nesterov": False}
    owner = Owner(group)
    gradient = np.linspace(-1, 1, 50).astype(kind_of(dtype))
    expected = p._data.astype(np.float64) - 0.1 * gradient.astype(np.float64)
    assert kernels["sgd_on_device"]([p._data], [gradient], None, owner=owner, group=group) is None
    np.testing.assert_allclose(p._data.astype(np.float64), expected, rtol=0, atol=4 * TOLERANCE[dtype])
    assert reference.shape == p.shape


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_flag_in_device_memory_skips_the_step(kernels, name):
    parameters = parameters_of("float32", [(5,), (3, 2)])
    stepper = OPTIMIZERS[name](parameters)
    assert stepper._step_supports_amp_scaling
    give_gradients(parameters, 0)
    stepper.step()
    before = [p.detach().numpy().copy() for p in parameters]
    states = [[v.numpy().copy() for v in stepper.state.get(p, {}).values()] for p in parameters]
    stepper.found_inf = np.ones((), np.float32)
    stepper.step()
    for p, value, state in zip(parameters, before, states, strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), value)
        assert all(np.array_equal(a.numpy(), b) for a, b in zip(stepper.state.get(p, {}).values(), state, strict=True))
    stepper.found_inf = np.zeros((), np.float32)
    stepper.step()
    assert not np.array_equal(parameters[0].detach().numpy(), before[0])


def test_counts_of_parameters_that_join_late(kernels):
    parameters = parameters_of("float32", [(5,), (5,)])
    stepper = OPTIMIZERS["adamw"](parameters)
    give_gradients(parameters, 0)
    parameters[1].grad = None
    stepper.step()
    give_gradients(parameters, 1)
    stepper.step()
    assert [float(stepper.state[p]["step"].numpy()) for p in parameters] == [2, 1]


def test_what_the_kernels_do_not_take(kernels, launcher):
    strided, plain = np.zeros((4, 4), np.float32).T[1:], np.zeros((3, 4), np.float32)
    group = {"lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.0, "momentum": 0.0, "nesterov": False}
    owner = Owner(group)
    step = kernels["adamw_on_device"]
    steps = [np.zeros((), np.float32)]
    for parameter, gradient in ((strided, plain), (plain, plain.astype(np.float64))):
        assert step([parameter], [gradient], [plain], [plain], steps, owner=owner, group=group) is NotImplemented
    assert kernels["sgd_on_device"]([strided], [plain], None, owner=owner, group=group) is NotImplemented
    assert kernels["unscale"]([strided], steps[0], steps[0]) is NotImplemented
    assert kernels["clip_grad_norm"]([strided], 1.0) is kernels["clip_grad_norm"]([], 1.0) is NotImplemented
    assert not AdamW(parameters_of("float32", [(2,)]), amsgrad=True)._step_supports_amp_scaling
    assert not SGD(parameters_of("float32", [(2,)]), momentum=0.9, dampening=0.1)._step_supports_amp_scaling
    assert launcher.launched == []


def test_settings_die_with_their_optimizer(kernels):
    parameters = parameters_of("float32", [(5,)])
    stepper = OPTIMIZERS["sgd"](parameters)
    give_gradients(parameters, 0)
    stepper.step()
    feeds = kernels["sgd_on_device"].__self__._feeds
    assert len(feeds._feeds) == 1
    del stepper
    gc.collect()
    assert feeds._feeds == {}


@pytest.mark.parametrize("max_norm", [0.5, 1e6])
def test_clipping(kernels, launcher, monkeypatch, max_norm):
    ours, reference = parameters_of("float32"), parameters_of("float32")
    give_gradients(ours, 1)
    give_gradients(reference, 1)
    norm = clip_grad_norm_(ours, max_norm)
    assert set(launcher.launched) == {"gradient_squares", "gradient_norm", "gradient_scale"}
    monkeypatch.delitem(CPU.kernels, "clip_grad_norm")
    np.testing.assert_allclose(norm.numpy(), clip_grad_norm_(reference, max_norm).numpy(), rtol=1e-5)
    for a, b in zip(ours, reference, strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-5)


def test_clipping_mixed_types_and_nan(kernels):
    half = [np.float16([3]), np.float32([4]), np.zeros(0, np.float32)]
    assert kernels["clip_grad_norm"](half, 1.0) == 5
    np.testing.assert_allclose([half[0][0], half[1][0]], [0.6, 0.8], rtol=1e-3)
    broken = [np.float32([1, np.nan])]
    assert np.isnan(kernels["clip_grad_norm"](broken, 1.0)) and np.isnan(broken[0]).all()
    large = [np.float32([3e38, 3e38])]
    assert kernels["clip_grad_norm"](large, 1.0) == np.inf


@pytest.mark.parametrize("dtype", ["float32", *(pytest.param(name, marks=pytest.mark.slow) for name in ("float16", "bfloat16"))])
def test_unscaling_finds_infinities(kernels, dtype):
    found, inverse = np.zeros((), np.float32), np.float32([0.25])
    gradients = [np.array([4, -8, 12] * 5).astype(kind_of(dtype)), np.array([2.0]).astype(kind_of(dtype))]
    kernels["unscale"](gradients, inverse, found)
    assert found == 0 and gradients[0][:3].astype(float).tolist() == [1, -2, 3] and float(gradients[1][0]) == 0.5
    gradients[0][7] = np.inf
    kernels["unscale"](gradients, inverse, found)
    assert found == 1
    kernels["unscale"](gradients[1:], inverse, found)
    assert found == 1


def test_every_kernel_is_launched_by_something(kernels, launcher):
    train("adamw", "float32", 1)
    train("sgd", "float32", 1)
    give = [np.ones(3, np.float32)]
    kernels["clip_grad_norm"](give, 1.0)
    kernels["unscale"](give, np.ones(1, np.float32), np.zeros(1, np.float32))
    assert set(launcher.launched) == set(source.kernels("optimizer"))
