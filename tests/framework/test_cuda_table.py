# SPDX-License-Identifier: Apache-2.0
"""The operator table with all CUDA kernels in the place of the CPU's: whole calls and their gradients through the tape."""

import cuda_host
import numpy as np
import pytest

import penlight.nn.functional  # noqa: F401  all operators are in the table after this
from penlight.autograd import grad
from penlight.backends.cpu import CPU, SMALL
from penlight.backends.cuda.cupy_backend import CudaBackend
from penlight.ops.dispatch import apply
from penlight.ops.operator import Gap
from penlight.ops.registry import operators
from penlight.ops.samples import build
from penlight.tensor import from_numpy

TOLERANCE = 2e-5  # float32, sums in another order
# Attention and convolution have tests of their own, and take a second to compile for the CPU.
OWN = ("attention", "flash_attention", "conv2d", "conv2d_input_grad", "conv2d_weight_grad", "fused_cross_entropy")


def names():
    """Operators with a kernel of ours."""
    known = {name.removesuffix(".backward") for name in CudaBackend(np, None).kernels}
    return sorted(known & {name for name, operator in operators().items() if not isinstance(operator.samples, Gap)} - {*OWN})


@pytest.fixture
def kernels(cuda_library):
    launcher = cuda_host.HostLauncher(cuda_library)
    table = CudaBackend(np, launcher).kernels
    ours = {name: kernel for name, kernel in table.items() if name.removesuffix(".backward") not in OWN}
    saved, small = dict(CPU.kernels), dict(SMALL)
    CPU.kernels.clear()
    SMALL.clear()
    yield ours, launcher
    CPU.kernels.clear()
    CPU.kernels.update(saved)
    SMALL.update(small)


def run(name, call):
    """Outputs, and gradients where there are any."""
    tensors = [None if a is None else from_numpy(a) for a in build(call)]
    operator = operators()[name](**call.fields)
    wanted = [t.requires_grad_(True) for t in tensors if t is not None and t.is_floating_point()]
    result = apply(operator, *tensors)
    outputs = list(result) if isinstance(result, tuple) else [result]
    gradients = []
    if wanted and outputs[0].requires_grad and not isinstance(operator.gradient, Gap):
        seed = np.random.default_rng(1).uniform(-1, 1, outputs[0].shape).astype(outputs[0].dtype.numpy)
        gradients = grad(outputs[0], wanted, from_numpy(np.asarray(seed)), allow_unused=True)
    return [None if t is None else t.detach().numpy() for t in (*outputs, *gradients)]


@pytest.mark.parametrize("name", names())
def test_calls_and_gradients_are_those_of_the_reference(kernels, name):
    table, launcher = kernels
    for call in operators()[name].samples:
        reference = run(name, call)
        CPU.kernels.update(table)
        actual = run(name, call)
        CPU.kernels.clear()
        for ours, expected in zip(actual, reference, strict=True):
            assert (ours is None) == (expected is None)
            if ours is None:
                continue
            assert (ours.shape, ours.dtype) == (expected.shape, expected.dtype)
            scale = max(1.0, np.abs(expected).max(initial=0)) if expected.dtype.kind == "f" else 0
            np.testing.assert_allclose(ours, expected, rtol=0, atol=TOLERANCE * scale)
    assert launcher.launched
