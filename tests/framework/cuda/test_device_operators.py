# SPDX-License-Identifier: Apache-2.0
"""The operator table on a device of the stand-in that is not the current one: references use nothing that CuPy refuses."""

import numpy as np
import pytest

import penlight.nn.functional  # noqa: F401  all operators are in the table after this
from penlight.autograd import grad
from penlight.backends.cpu import CPU, SMALL
from penlight.ops.dispatch import apply
from penlight.ops.operator import Gap
from penlight.ops.registry import operators
from penlight.ops.samples import build
from penlight.tensor import from_numpy

HOST_ONLY = {"as_strided"}  # looks into NumPy's memory; on a device it raises


def calls():
    for name, operator in operators().items():
        if not isinstance(operator.samples, Gap) and not operator.is_random and name not in HOST_ONLY:
            yield pytest.param(name, id=name)


@pytest.fixture
def reference(monkeypatch):
    """The CPU without kernels, which is what the device of these tests runs."""
    saved, small = dict(CPU.kernels), dict(SMALL)
    CPU.kernels.clear()
    SMALL.clear()
    yield
    CPU.kernels.update(saved)
    SMALL.update(small)


def run(name, call, place):
    tensors = [None if a is None else from_numpy(a).to(place) for a in build(call, "float32")]
    operator = operators()[name](**call.fields)
    wanted = [t.requires_grad_(True) for t in tensors if t is not None and t.is_floating_point()]
    result = apply(operator, *tensors)
    outputs = list(result) if isinstance(result, tuple) else [result]
    assert not tensors or all(o.device.type == place.partition(":")[0] for o in outputs)
    gradients = []
    if wanted and outputs[0].requires_grad and not isinstance(operator.gradient, Gap):
        seed = np.random.default_rng(1).uniform(-1, 1, outputs[0].shape)
        seed = from_numpy(seed.astype(outputs[0].dtype.numpy)).to(place)
        gradients = grad(outputs[0], wanted, seed, allow_unused=True)
    return [None if t is None else t.detach().cpu().numpy() for t in (*outputs, *gradients)]


@pytest.mark.slow
@pytest.mark.parametrize("name", list(calls()))
def test_operators_run_on_arrays_of_the_device(fake_cuda, reference, name):
    for call in operators()[name].samples:
        for ours, expected in zip(run(name, call, "cuda:1"), run(name, call, "cpu"), strict=True):
            if expected is not None:
                # Sums may run in another order where memory lies differently.
                np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-6, err_msg=str(call))
