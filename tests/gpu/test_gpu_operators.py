# SPDX-License-Identifier: Apache-2.0
"""Every operator of the table on the GPU: values and gradients are those of the CPU, with and without kernels of our own."""

import numpy as np
import pytest

import penlight.nn.functional  # noqa: F401  all operators are in the table after this
from penlight.autograd import grad
from penlight.backends import get_backend
from penlight.backends.cuda.cupy_backend import CudaBackend
from penlight.device import device
from penlight.ops.dispatch import apply
from penlight.ops.operator import Gap
from penlight.ops.registry import operators
from penlight.ops.samples import build
from penlight.tensor import from_numpy

# Float32 on two machines: other orders of summation, other libraries' exp and erf; f16 and bf16 round results once more.
TOLERANCE = {"float32": 1e-5, "float64": 1e-12, "float16": 4e-3, "bfloat16": 3e-2}


def calls():
    for name, operator in operators().items():
        if not isinstance(operator.samples, Gap) and not operator.is_random:
            for call in operator.samples:
                yield pytest.param(name, call, id=f"{name}-{call}")


def run(name, call, dtype, place):
    """Outputs and, where there are any, gradients, in host memory."""
    tensors = [None if a is None else from_numpy(a).to(place) for a in build(call, dtype)]
    operator = operators()[name](**call.fields)
    wanted = [t.requires_grad_(True) for t in tensors if t is not None and t.is_floating_point()]
    result = apply(operator, *tensors)
    outputs = list(result) if isinstance(result, tuple) else [result]
    assert all(o.device.type == device(place).type for o in outputs)
    gradients = []
    if wanted and outputs[0].requires_grad and not isinstance(operator.gradient, Gap):
        seed = np.random.default_rng(1).uniform(-1, 1, outputs[0].shape)
        seed = from_numpy(seed.astype(outputs[0].dtype.numpy)).to(place)
        gradients = grad(outputs[0], wanted, seed, allow_unused=True)
    return [None if t is None else t.detach().to("cpu").numpy() for t in (*outputs, *gradients)]


def compare(actual, expected, tolerance):
    assert len(actual) == len(expected)
    for ours, reference in zip(actual, expected, strict=True):
        assert (ours is None) == (reference is None)
        if ours is None:
            continue
        assert (ours.shape, ours.dtype) == (reference.shape, reference.dtype)
        if ours.dtype.kind not in "fV":
            np.testing.assert_array_equal(ours, reference)
            continue
        ours, reference = ours.astype(np.float64), reference.astype(np.float64)
        scale = max(1.0, np.abs(reference[np.isfinite(reference)]).max(initial=0))
        np.testing.assert_allclose(ours, reference, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "call"), list(calls()))
def test_operator_as_on_the_cpu(gpu, name, call, dtype):
    compare(run(name, call, dtype, gpu), run(name, call, dtype, "cpu"), TOLERANCE[dtype])


@pytest.mark.parametrize(("name", "call"), list(calls()))
def test_reference_forward_runs_on_cupy(gpu, name, call, monkeypatch):
    """What a kernel of ours hides elsewhere."""
    backend = get_backend(device(gpu))
    for kernel in list(backend.kernels):
        monkeypatch.delitem(backend.kernels, kernel)
    compare(run(name, call, "float32", gpu), run(name, call, "float32", "cpu"), TOLERANCE["float32"])


def own_kernels():
    """The calls of operators that have a kernel of ours; which these are is known without a device."""
    names = {name.removesuffix(".backward") for name in CudaBackend(np, None).kernels}
    return [parameters for parameters in calls() if parameters.values[0] in names]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(("name", "call"), own_kernels())
def test_own_kernels_in_half_precision(gpu, name, call, dtype):
    compare(run(name, call, dtype, gpu), run(name, call, dtype, "cpu"), TOLERANCE[dtype])


@pytest.mark.parametrize("rows", [1, 7, 300])
@pytest.mark.parametrize("columns", [1, 31, 32, 33, 1024, 1025, 5000])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_rows_of_every_length(gpu, name, rows, columns):
    x = np.random.default_rng(0).normal(0, 5, (rows, columns)).astype(np.float32)
    ours = apply(operators()[name](1), from_numpy(x).to(gpu)).to("cpu").numpy()
    exact = apply(operators()[name](1), from_numpy(x.astype(np.float64))).numpy()
    np.testing.assert_allclose(ours, exact, rtol=3e-6, atol=1e-7 if name == "softmax" else 5e-6)


@pytest.mark.parametrize("shape", [(1, 1), (3, 33), (1000, 64), (70_000, 8), (4, 5000)])
def test_layer_norm_parameters_at_every_size(gpu, shape):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=s) for s in (shape, shape[1:], shape[1:])]
    seed = rng.normal(size=shape)

    def gradients(dtype, place):
        tensors = [from_numpy(a.astype(dtype)).to(place).requires_grad_(True) for a in arrays]
        result = apply(operators()["layer_norm"](1, 1e-5), *tensors)[0]
        return [t.to("cpu").numpy() for t in grad(result, tensors, from_numpy(seed.astype(dtype)).to(place))]

    for ours, exact in zip(gradients("float32", gpu), gradients("float64", "cpu"), strict=True):
        # Sums over up to 70,000 rows in float32.
        np.testing.assert_allclose(ours, exact, rtol=0, atol=3e-5 * max(1.0, np.abs(exact).max()))
